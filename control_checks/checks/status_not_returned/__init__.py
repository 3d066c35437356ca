"""The check `status_not_returned`."""
