"""A notice as a webhook, signed as Standard Webhooks 1.0 says (symmetric, `v1`).

The id stays the same however often a notice is sent, so a receiver can tell what it has had; the
timestamp is that of the attempt.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime

import msgspec

from collector.model.reference import digest
from control_checks.notify.notice import Notice

TEST_TYPE = "alert.test"


def body(notice: Notice) -> bytes:
    """Write a notice, the same bytes each time."""
    return msgspec.json.encode(notice)


def test_notice(now: datetime) -> Notice:
    """Make a notice that says nothing but that it arrived."""
    at: str = msgspec.to_builtins(now)
    return {"type": TEST_TYPE, "timestamp": at, "data": {"summary": "Tieout reaches this webhook."}}


def message_id(content: bytes) -> str:
    """Return the id of a message: it names the content, and with it the control, run and time."""
    return f"msg_{digest('webhook', content.decode()).hex()}"


def headers(keys: Iterable[bytes], content: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that sign a message sent now, with each key."""
    message = message_id(content)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signature(key, message, now, content) for key in keys),
    }


def signature(key: bytes, message: str, now: datetime, content: bytes) -> str:
    """Sign the content of a message of an id."""
    signed = b".".join([message.encode(), str(int(now.timestamp())).encode(), content])
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
