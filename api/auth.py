"""Who may ask: API keys, several at a time, compared in constant time. No endpoint but health is open."""

import hmac
import logging
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import failed, no_key, response
from collector.errors import Misconfigured
from collector.settings.load import Configuration, resolve

OPEN = frozenset({"/healthz", "/readyz"})
"""What a load balancer may ask without a key."""
KEY_CHARACTERS_MIN = 16
KEY_BYTES = 32
KEY_FILE = "api.key"

_log = logging.getLogger(__name__)


class Keys:
    """The keys in force. Only their hashes are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def admit(self, presented: bytes) -> bool:
        """Say whether a key is one of them; how long that takes tells nothing of any."""
        given = sha256(presented).digest()
        admitted = False
        for known in self._hashes:
            admitted |= hmac.compare_digest(given, known)
        return admitted


def configured_keys(configuration: Configuration) -> list[str]:
    """Return the keys that the configuration refers to.

    Raises:
        Misconfigured: one cannot be resolved, or is too short to be a secret.
    """
    keys = [resolve(text, configuration.folder) for text in configuration.settings.api.keys]
    for number, key in enumerate(keys):
        if len(key) < KEY_CHARACTERS_MIN:
            raise Misconfigured(
                f"api.keys.{number}: the key is shorter than {KEY_CHARACTERS_MIN} characters. "
                "Make one with: openssl rand -base64 32"
            )
    return keys


def own_key(data_dir: Path) -> tuple[str, Path]:
    """Return the key of a data folder and where it is kept, 0600; made at first use.

    Raises:
        Misconfigured: the file cannot be written or read, is open to others, or is not whole.
    """
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _make(path)
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123 -- by descriptor: no link is followed
            mode = os.fstat(file).st_mode
            key = opened.read().strip()
    except OSError as error:
        raise Misconfigured(
            f"The API key in {path} cannot be read or made: {error.strerror}. "
            "Mend the folder's rights, or configure `api.keys`."
        ) from error
    if mode & 0o077:
        raise Misconfigured(f"{path} is open to other users. Remove it: a new key will be made.")
    if len(key) < KEY_CHARACTERS_MIN:
        raise Misconfigured(f"{path} holds no key. Remove it: a new key will be made.")
    return key, path


def _make(path: Path) -> None:
    """Make the file with a new key unless it is there: whole or not at all, and by one process only."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, f"{secrets.token_urlsafe(KEY_BYTES)}\n".encode())
        os.fsync(file)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(file)
        draft.unlink()


class Guard:
    """Stands before everything: asks for the key, sets the headers, catches what nobody foresaw."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        path: str = scope["path"]
        key = presented(Headers(scope=scope))
        if path not in OPEN and (key is None or not self._keys.admit(key)):
            return await response(no_key(), path)(scope, receive, guarded)
        scope.setdefault("state", {})["api_key"] = key
        try:
            return await self._app(scope, receive, guarded)
        except Exception:
            _log.exception("A request of %s failed.", path)
            if started:
                raise
            return await response(failed(), path)(scope, receive, guarded)


def presented(headers: Headers) -> bytes | None:
    """Return the key that a request carries."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1") if key else None
