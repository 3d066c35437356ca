"""The check `weak_key`."""
