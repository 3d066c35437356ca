"""The check `stuck_transaction`."""
