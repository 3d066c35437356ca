"""The check `stale_dimension`."""
