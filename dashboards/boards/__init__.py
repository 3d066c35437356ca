"""The boards: one module each, and its JSON beside it."""
