"""PostgreSQL's own client programs, as the wheel brings them: pg_dump, pg_restore, psql."""

import asyncio
import os
import re
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from urllib.parse import unquote

from collector.errors import Permanent
from collector.store.serverfiles import installed

CHUNK_BYTES = 1_048_576

_LOGIN = re.compile(r"(?<=://)([^:@/?]*):([^@/?]*)@")
_OPTION = re.compile(r"(?<=[?&])password=([^&]*)&?")


@asynccontextmanager
async def program(name: str, *options: str, dsn: str | None = None) -> AsyncIterator[Process]:
    """Run a program with its standard input and output as pipes; leaving closes the one and waits.

    Raises:
        Permanent: it failed; with what it said.
    """
    environment = dict(os.environ)  # noqa: TID251 -- handed on: PGSSLROOTCERT and the like
    words = [str(installed() / "bin" / name), *options]
    if dsn is not None:
        address, password = without_password(dsn)
        words.append(f"--dbname={address}")
        environment |= {"PGPASSWORD": password} if password else {}
    with TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, stderr=complaints, env=environment, limit=CHUNK_BYTES
        )
        try:
            yield process
            outgoing(process).close()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            lines = [line for line in said.splitlines() if "error" in line.lower()]
            raise Permanent(
                f"{name} failed: {(lines or [said or 'it said nothing'])[0]}", detail=said
            )


def without_password(dsn: str) -> tuple[str, str]:
    """Split a connection string into one that anybody may see in a list of processes, and its password."""
    login, option = _LOGIN.search(dsn), _OPTION.search(dsn)
    password = login[2] if login else option[1] if option else ""
    return _OPTION.sub("", _LOGIN.sub(r"\1@", dsn)).rstrip("?&"), unquote(password)


def incoming(process: Process) -> asyncio.StreamReader:
    """Return the standard output of a program that was started here."""
    assert process.stdout is not None  # noqa: S101 -- a pipe
    return process.stdout


def outgoing(process: Process) -> asyncio.StreamWriter:
    """Return the standard input of a program that was started here."""
    assert process.stdin is not None  # noqa: S101 -- a pipe
    return process.stdin
