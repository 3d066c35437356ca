"""What a stream's `read:` section may say, and what a file turned out to be."""

import codecs
import re
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, StrictBool, field_validator, model_validator

from collector.settings.mapping import Definition

RECORD_BYTES_MAX = 16 << 20
"""The longest line or record that is held in memory."""

Format = Literal["csv", "json", "jsonl", "xml", "xes", "text"]

Header = StrictBool | Annotated[int, Field(ge=1)] | list[str] | None
"""There is one, the number of its line, there is none, or the names; None: look for it."""

LINE_FORMATS = frozenset({"csv", "jsonl", "text"})
_ONLY_FOR: dict[str, frozenset[str]] = {
    "delimiter": frozenset({"csv"}),
    "quote": frozenset({"csv"}),
    "header": frozenset({"csv"}),
    "records": frozenset({"json", "xml"}),
    "context": frozenset({"json", "xml"}),
    "split": frozenset({"xml"}),
    "pattern": frozenset({"text"}),
    "starts": frozenset({"text"}),
}


class FilesOptions(Definition):
    """The files of a stream and how they are read; what is left out is sniffed and stated."""

    path: str | list[str] = Field(
        description="Path or glob, or a list, relative to the configuration", examples=["in/*.csv"]
    )
    format: Format | None = Field(
        None, description="`csv`, `json`, `jsonl`, `xml`, `xes` or `text`; by default looked for"
    )
    follow: bool = Field(False, description="Tail: expect more, and wait for a line to be whole")
    encoding: str | None = Field(
        None,
        description="Name of the encoding; by default looked for",
        examples=["utf-8", "cp1252", "iso-8859-15", "utf-16"],
    )
    delimiter: str | None = Field(
        None,
        description="What separates columns; by default looked for",
        min_length=1,
        max_length=1,
    )
    quote: str | None = Field(
        None, max_length=1, description="Quote character; empty where nothing is quoted"
    )
    header: Header = Field(
        None, description="true, the number of the header's line, false, or the column names"
    )
    records: str | None = Field(
        None, description="Path of a record, matched at its end", examples=["Stmt/Ntry", "items"]
    )
    context: dict[str, str] = Field(
        {}, description="Values from around a record", examples=[{"iban": "Stmt/Acct/Id/IBAN"}]
    )
    split: str | None = Field(
        None,
        description="XML: path inside a record of which each element makes a record of its own",
        examples=["NtryDtls/TxDtls"],
    )
    pattern: str | None = Field(None, description="Regular expression with named groups")
    starts: str | None = Field(None, description="Regular expression: a line that starts a record")
    record_bytes_max: int = Field(
        RECORD_BYTES_MAX, description="The longest line or record that is read", ge=1, le=1 << 30
    )
    settle_s: float = Field(
        5.0, description="Quiet time after which the last multi-line record is taken as whole", ge=0
    )

    file_name: str | None = Field(
        None,
        description="Regular expression for the whole name of a file; its named groups become fields of each record",
        examples=[r"csks_(?P<as_of>\d{8})\.csv"],
    )
    file_time: str | None = Field(
        None, description="The field of each record that holds when its file was last changed"
    )

    @property
    def paths(self) -> list[str]:
        """The path or paths as a list."""
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str | list[str]) -> str | list[str]:
        if not path or not all(path):
            raise ValueError("`path` is empty: name a file or a glob such as in/*.csv")
        return path

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            name = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(
                f"`encoding: {encoding}` is unknown: write for example utf-8, cp1252 or iso-8859-15"
            ) from None
        if name in {"utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"}:
            return name[:6] if name.startswith("utf-16") else "utf-8"
        if name.startswith("utf-32") or not "\n".encode(name) == b"\n":
            raise ValueError(f"`encoding: {encoding}` is not supported: convert the file to utf-8")
        return name

    @field_validator("pattern", "starts", "file_name")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error}): correct it") from None
        return pattern

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.follow and self.format is not None and self.format not in LINE_FORMATS:
            raise ValueError(
                f"`follow: true` needs a format of lines (csv, jsonl, text), not {self.format}:"
                " remove `follow`; a changed document is read again anyway"
            )
        for key, formats in _ONLY_FOR.items():
            if key in self.model_fields_set and self.format and self.format not in formats:
                raise ValueError(
                    f"`{key}` means nothing for `format: {self.format}`, only for"
                    f" {' and '.join(sorted(formats))}: remove it or change `format`"
                )
        for key in ("pattern", "file_name"):
            pattern = getattr(self, key)
            if pattern is not None and not re.compile(pattern).groupindex:
                raise ValueError(f"`{key}` has no named group: write (?P<name>…) around each value")
        return self


class Layout(msgspec.Struct, frozen=True):
    """What a file is, as stated or sniffed; kept in the cursor so that a restart reads it alike.

    `start` is the offset of the first line with data, `fields` the columns of CSV, `records` the
    path of a record in JSON or XML.
    """

    format: str
    encoding: str = "utf-8"
    start: int = 0
    newline: str = "\n"
    delimiter: str = ","
    quote: str = '"'
    fields: list[str] = []
    records: str = ""
    notes: dict[str, str] = {}
