"""The check `approved_not_paid`."""
