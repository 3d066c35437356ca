"""control_checks."""
