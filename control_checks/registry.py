"""The checks there are: one line each, sorted by name."""
CHECKS = {}
