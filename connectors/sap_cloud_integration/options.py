"""What a stream's `read:` section may say."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from collector.settings.definitions import Instant
from collector.settings.mapping import Definition

OVERLAP_MINUTES_MIN = 10
"""Entries appear up to so long after the instant that they carry."""

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class MessagesOptions(Definition):
    """The tenant, who asks, and from when on."""

    base_url: str = Field(
        description="Root of the OData API, from the service key of plan `api`",
        examples=["https://acme.it-cpi001.cfapps.eu10.hana.ondemand.com/api/v1"],
    )
    token_url: str = Field(
        description="Where tokens are got (OAuth2 client credentials)",
        examples=["https://acme.authentication.eu10.hana.ondemand.com/oauth/token"],
    )
    client_id: str = Field(
        description="`clientid` of the service key", min_length=1, examples=["${env:CPI_CLIENT_ID}"]
    )
    client_secret: SecretStr = Field(
        description="`clientsecret` of the service key, by reference: `${env:NAME}` or `${file:PATH}`",
        min_length=1,
        examples=["${env:CPI_CLIENT_SECRET}"],
    )
    start: Instant | None = Field(
        None, description="Read what ended from then on; by default all that the tenant keeps"
    )
    overlap_minutes: int = Field(
        OVERLAP_MINUTES_MIN,
        ge=OVERLAP_MINUTES_MIN,
        le=24 * 60,
        description="Each instant is asked for again after so long, for what appears late",
    )
    retention_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="How long the tenant keeps messages: after that they are lost",
    )

    @property
    def overlap(self) -> timedelta:
        """After what time an instant is asked for again."""
        return timedelta(minutes=self.overlap_minutes)

    @property
    def retention(self) -> timedelta:
        """How long the tenant keeps messages."""
        return timedelta(days=self.retention_days)

    @field_validator("base_url", "token_url")
    @classmethod
    def _encrypted(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            parts, host = urlsplit(""), None
        if not host or parts.query or parts.fragment:
            raise ValueError("is no address; write for example https://tenant.example.com/api/v1")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise ValueError("is not encrypted; write https://: credentials are sent there")
        return url

    @field_validator("start")
    @classmethod
    def _aware(cls, start: datetime | None) -> datetime | None:
        if start is not None and start.tzinfo is None:
            raise ValueError("has no offset; write for example 2026-01-31T00:00:00+01:00")
        return start
