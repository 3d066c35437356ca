"""The check `approved_not_posted`."""
