"""The check `posted_not_approved`."""
