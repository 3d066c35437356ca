"""The check `duplicate_posting`."""
