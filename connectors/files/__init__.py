"""The `files` connector: CSV, JSON, JSON Lines, XML, XES and text logs, read once or tailed."""
