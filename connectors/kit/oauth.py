"""OAuth2 client credentials (RFC 6749, section 4.4): requests that carry a bearer token."""

from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from pydantic import SecretStr

from collector.clock import Clock
from collector.http import Decode, Http, NotAuthenticated

T = TypeVar("T")

MARGIN: Final = timedelta(seconds=30)
"""A token is not used in the last moments before it expires: a request takes a while to arrive."""


class Grant(msgspec.Struct, frozen=True):
    """What the token endpoint answers; `expires_in` in seconds, None where it does not say."""

    access_token: str
    expires_in: int | None = None


class Client(msgspec.Struct, frozen=True):
    """Who asks, and where tokens are got."""

    token_url: str
    client_id: str
    client_secret: SecretStr


class BearerHttp:
    """Asks `http` with a token from `issuer`, which is kept until it expires or is refused."""

    def __init__(self, http: Http, issuer: Http, client: Client, clock: Clock) -> None:
        self._http = http
        self._issuer = issuer
        self._client = client
        self._clock = clock
        self._token = ""
        self._until: datetime | None = None

    @property
    def server_time(self) -> datetime | None:
        """What the server's clock said with its last answer."""
        return self._http.server_time

    def get(self, url: str, decode: Decode[T]) -> T:
        """Return the decoded body of `url`; a token that is refused is got anew, once.

        Raises:
            NotAuthenticated: the client is not accepted, or its fresh token is not.
        """
        if not self._token or (self._until is not None and self._clock() >= self._until):
            self._renew()
        try:
            return self._http.get(url, decode, headers=self._headers())
        except NotAuthenticated:
            self._renew()
        return self._http.get(url, decode, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    def _renew(self) -> None:
        client = self._client
        grant = self._issuer.post_form(
            client.token_url,
            _decode_grant,
            {"grant_type": "client_credentials"},
            basic=(client.client_id, client.client_secret.get_secret_value()),
        )
        self._token, self._until = grant.access_token, None
        if grant.expires_in is not None:
            self._until = self._clock() + max(timedelta(seconds=grant.expires_in) - MARGIN, MARGIN)


def _decode_grant(body: bytes) -> Grant:
    try:
        return msgspec.json.decode(body, type=Grant)
    except msgspec.MsgspecError:
        raise ValueError("it holds no access_token") from None
