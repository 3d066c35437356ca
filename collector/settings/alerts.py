"""The definitions of `alerts:`: who is told when a control's verdict or exceptions change."""

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from collector.settings.mapping import Definition
from collector.settings.secrets import resolved
from collector.settings.tree import Loc

SECRET_PREFIX = "whsec_"  # noqa: S105 -- Standard Webhooks' mark of a secret, not one
SECRET_BYTES = (24, 64)
"""How long Standard Webhooks lets a secret be."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Alertmanager(Definition):
    """A Prometheus Alertmanager: it is told what fires, again and again, by its API v2.

    `headers` may refer to secrets: `Authorization: "Bearer ${env:NAME}"`.
    """

    to: Literal["alertmanager"]
    url: str = Field(min_length=1, examples=["http://127.0.0.1:9093"])
    headers: dict[str, str] = {}


class Webhook(Definition):
    """An HTTPS address that is told each change once, signed as Standard Webhooks says.

    While a secret is changed, `old_secret` signs as well: the receiver may know either.
    """

    to: Literal["webhook"]
    url: str = Field(min_length=1, examples=["https://cases.example.com/tieout"])
    secret: str = Field(
        min_length=1,
        description="whsec_ and 24 to 64 bytes in base64, as ${env:NAME} or ${file:PATH}",
    )
    old_secret: str | None = Field(
        None, min_length=1, description="The secret before it, while receivers still know that"
    )

    @property
    def secrets(self) -> dict[str, str]:
        """What signs, by its key, the new one first."""
        old = {"old_secret": self.old_secret} if self.old_secret is not None else {}
        return {"secret": self.secret, **old}


Destination = Annotated[Alertmanager | Webhook, Field(discriminator="to")]


def signing_key(secret: str) -> bytes:
    """Return the key that a webhook's secret stands for.

    Raises:
        ValueError: it is none; the message does not repeat it.
    """
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    least, most = SECRET_BYTES
    if not secret.startswith(SECRET_PREFIX) or not least <= len(key) <= most:
        raise ValueError(
            f"is no secret for signing: {SECRET_PREFIX} and {least} to {most} bytes in base64"
        )
    return key


def wrong(destination: Alertmanager | Webhook, folder: Path) -> Iterator[tuple[Loc, str, str]]:
    """Say what is wrong with a destination, its references replaced: (place, what, remedy), no secrets.

    A reference that leads nowhere is not judged here.
    """
    url = str(resolved(destination.url, folder))
    if "${" not in url and (said := _address(url, encrypted=isinstance(destination, Webhook))):
        yield (("url",), *said)
    if isinstance(destination, Alertmanager):
        for name, value in destination.headers.items():
            text = str(resolved(value, folder))
            if not (text.isascii() and text.isprintable()):
                yield ("headers", name), "is no header's value", "Write printable ASCII only."
    if isinstance(destination, Webhook):
        for key, reference in destination.secrets.items():
            if why := _no_secret(str(resolved(reference, folder))):
                yield (key,), why, "Make one: echo whsec_$(openssl rand -base64 32)"


def _no_secret(secret: str) -> str | None:
    try:
        if "${" not in secret:
            signing_key(secret)
    except ValueError as error:
        return str(error)
    return None


def _address(url: str, *, encrypted: bool) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if not host or parts.scheme not in ("http", "https") or parts.fragment:
        return "is no address", "Write for example https://alerts.example.com/tieout."
    if encrypted and parts.scheme == "http" and host not in _LOOPBACK:
        return "is not encrypted", "Write https://: what is told there is business."
    return None
