"""Errors are instructions to the caller.

    TieoutError
    ├── Transient        try again, perhaps after `wait_s`
    ├── Permanent        the same input fails the same way: do not retry
    ├── NotConnected     the store or a source is out of reach
    ├── Misconfigured    the configuration is wrong: the message names the key and the remedy
    └── Refused          another process holds what was asked for

The message is one or more sentences for the user; `detail` is for the engineer and goes to the log.
A record that cannot be read or mapped is not an error: it is a value (`collector.connector.Fault`).
"""


class TieoutError(Exception):
    """Base of everything that Tieout raises on purpose."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class Transient(TieoutError):
    """May succeed later: retry, after `wait_s` seconds where that is known."""

    def __init__(self, message: str, *, wait_s: float | None = None, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.wait_s = wait_s


class Permanent(TieoutError):
    """Fails again for the same input."""


class NotConnected(TieoutError):
    """The store or a source cannot be reached."""


class Misconfigured(TieoutError):
    """The configuration is wrong; the message says where and how to mend it."""


class Refused(TieoutError):
    """Somebody else holds what was asked for; the message says who."""
