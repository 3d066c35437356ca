"""The check `amount_differs`."""
