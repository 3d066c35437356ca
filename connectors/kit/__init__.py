"""What connectors share: byte streams, whole lines, file identity, unreadable records."""
