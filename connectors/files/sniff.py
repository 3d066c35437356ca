"""Find out from its content what a file is: format, encoding, record path, binary or not."""

import codecs
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

import msgspec
from lxml import etree

from connectors.files.dialect import csv_layout, looks_like_csv
from connectors.files.options import LINE_FORMATS, FilesOptions, Layout
from connectors.kit.streams import BLOCK_BYTES, CutOffError, Stream

SAMPLE_BYTES: Final = 1 << 18
"""Looked at to recognise format and dialect."""

SCANNED_BYTES_MAX: Final = 64 << 20
"""Scanned for the first characters that are not ASCII."""

_BOM_UTF8 = codecs.BOM_UTF8
_BOMS_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AS: Final = "save each sheet as CSV (File, Save as, CSV UTF-8) and name those files"
_MAGIC: Final = {
    b"PK\x03\x04": "a ZIP archive: unpack it and name the files in it",
    b"%PDF": "a PDF, made for reading: ask for the same as CSV, XML or JSON (a bank: as camt.053) and name that file",
    b"PAR1": "a Parquet file: export it as CSV or JSON Lines",
    b"\xd0\xcf\x11\xe0": f"an old Office document (.xls): {_SAVE_AS}",
    b"BZh": "compressed with bzip2: decompress it, or use gzip",
    b"\xfd7zXZ": "compressed with xz: decompress it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: decompress it, or use gzip",
}
Elements: TypeAlias = "Iterator[tuple[str, etree._Element]]"  # noqa: SLF001 -- lxml has no public name
"""Events with their elements."""

_EURO_LATIN9: Final = 0xA4  # the euro sign of ISO 8859-15, a rare sign in cp1252
_C1_CONTROLS: Final = frozenset(range(0x80, 0xA0))  # letters and quotes of cp1252 only
_XES_ROOT = re.compile(rb"<(?:\w+:)?log\b[^>]*xes", re.IGNORECASE)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"


def binary_kind(sample: bytes) -> str | None:
    """Say what a binary file is and what to do; None where it is text."""
    if sample.startswith(b"PK\x03\x04") and b"xl/" in sample:
        return f"an Excel workbook (.xlsx): {_SAVE_AS}"
    for magic, what in _MAGIC.items():
        if sample.startswith(magic):
            return what
    if not sample or sample.startswith(_BOMS_UTF16):
        return None
    odd = len(sample) - len(sample.translate(None, _CONTROL))
    if odd * 20 > len(sample):
        return "binary: name only files with text in `path`, or state `format` and `encoding`"
    return None


def is_utf16(sample: bytes) -> bool:
    """Tell whether the sample begins with a UTF-16 byte order mark."""
    return sample.startswith(_BOMS_UTF16)


def encoding_of(stream: Stream) -> str:
    """Return utf-8, utf-16, cp1252 or iso-8859-15 by what is found in the first 64 MiB.

    A file in which most characters beyond ASCII are good UTF-8 is UTF-8 with a few bad lines.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = scanned = 0
    high = set[int]()
    while scanned < SCANNED_BYTES_MAX and (block := _next(stream)):
        if not scanned and block.startswith(_BOMS_UTF16):
            return "utf-16"
        if not scanned and block.startswith(_BOM_UTF8):
            return "utf-8"
        scanned += len(block)
        if block.isascii():
            continue
        high.update(block)
        text = decoder.decode(block)
        bad += text.count("\ufffd")
        good += sum(not c.isascii() for c in text) - text.count("\ufffd")
    if bad <= good:
        return "utf-8"
    return "iso-8859-15" if _EURO_LATIN9 in high and not high & _C1_CONTROLS else "cp1252"


def _next(stream: Stream) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except CutOffError:
        return b""


def format_of(sample: bytes, name: str, options: FilesOptions) -> str:
    """Guess the format of a text by its beginning (UTF-8 or a superset of ASCII)."""
    text = sample.removeprefix(_BOM_UTF8).lstrip()
    if options.pattern or options.starts:
        return "text"
    if text.startswith(b"<"):
        return "xes" if _XES_ROOT.search(text[:8192]) else "xml"
    if text.startswith((b"{", b"[")):
        return _json_or_lines(text, options)
    delimited = options.delimiter or options.header or options.quote is not None
    return "csv" if delimited or looks_like_csv(sample, name) else "text"


def _json_or_lines(text: bytes, options: FilesOptions) -> str:
    """Tell a document from lines: the first line is a whole object, and the next begins one."""
    if options.records:
        return "json"
    first, _, rest = text.partition(b"\n")
    if not first.startswith(b"{"):
        return "text" if _is_log(first) else "json"
    try:
        msgspec.json.decode(first.decode("latin-1"))  # its structure does not depend on it
    except (msgspec.DecodeError, RecursionError):
        return "jsonl" if rest.lstrip().startswith(b"{") and b'"' in first else "json"
    return "jsonl"


def _is_log(first: bytes) -> bool:
    """Tell a log line in brackets, `[2024-01-01 …] …`, from a JSON list."""
    return bool(re.match(rb"\[\s*(\d{4}-\d\d-\d\d|\d\d/|[A-Z]{4,})", first))


def layout_of(sample: bytes, encoding: str, name: str, options: FilesOptions) -> Layout | None:
    """Return what the file is; None where there is not yet enough to tell (a tail).

    `sample` is the beginning of the file, as UTF-8 where the file is UTF-16.
    """
    if options.follow and b"\n" not in sample:
        return None
    kind = None if options.format else binary_kind(sample)
    if kind is not None:
        return Layout("binary", notes={"format": kind})
    format_ = options.format or format_of(sample, name, options)
    notes = {"format": format_ + ("" if options.format else " (sniffed)")}
    notes["encoding"] = encoding + ("" if options.encoding else " (sniffed)")
    layout = Layout(format_, encoding, notes=notes)
    if format_ in LINE_FORMATS:
        start = len(_BOM_UTF8) if sample.startswith(_BOM_UTF8) else 0
        layout = msgspec.structs.replace(layout, start=start, newline=_newline(sample, options))
    if format_ == "csv":
        return csv_layout(sample, layout, options)
    if format_ == "xml":
        return _xml_layout(sample, layout, options)
    return msgspec.structs.replace(layout, records=options.records or "")


def _newline(sample: bytes, options: FilesOptions) -> str:
    """Return what ends a line: a carriage return alone only where there is no line feed at all."""
    alone = b"\r" in sample[:-1] and b"\n" not in sample and not options.follow
    return "\r" if alone else "\n"


def _xml_layout(sample: bytes, layout: Layout, options: FilesOptions) -> Layout:
    if options.records:
        return msgspec.structs.replace(layout, records=options.records)
    if layout.encoding == "utf-16":  # the sample has been converted, its declaration has not
        sample = re.sub(rb"^\s*<\?xml[^>]*\?>", b"", sample)
    path = repeated_element(sample)
    notes = layout.notes | {"records": f"{path} (sniffed)"}
    return msgspec.structs.replace(layout, records=path, notes=notes)


def repeated_element(sample: bytes) -> str:
    """Guess the record of an XML document: the first, outermost element with like neighbours.

    `Ntry` of a bank statement is known. Without any repetition the record is the whole document.
    """
    parser = etree.XMLPullParser(
        ("start",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    paths: list[str] = []
    times: Counter[tuple[str, etree._Element | None]] = Counter()
    with contextlib.suppress(etree.XMLSyntaxError):  # the sample ends somewhere
        parser.feed(sample)
    with contextlib.suppress(etree.XMLSyntaxError):
        for _, element in cast("Elements", parser.read_events()):
            names = [local_name(e) for e in (element, *element.iterancestors())][::-1]
            paths.append("/".join(names[1:] or names))
            times[paths[-1], element.getparent()] += 1
    if known := next((p for p in paths if p.endswith("/Ntry")), None):
        return "/".join(known.split("/")[-2:])
    repeated = {path for (path, _), count in times.items() if count > 1}
    outermost = sorted(repeated, key=lambda p: (p.count("/"), paths.index(p)))
    return outermost[0] if outermost else (paths[0].split("/")[0] if paths else "")


def local_name(element: etree._Element) -> str:
    """Return the name without its namespace."""
    tag = str(element.tag)
    return tag[tag.rfind("}") + 1 :]
