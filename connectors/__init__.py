"""Connectors: one package per kind of system, listed in `registry`; `kit` holds what they share."""
