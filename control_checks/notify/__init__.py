"""Alerts: what a run changed, in words and figures, and the telling of it.

`standing` decides what is open after a run, `notice` says what changed, `alertmanager` and `webhook` put
that into the form that a destination takes, `courier` delivers.
"""
