"""The check `approval_missing`."""
