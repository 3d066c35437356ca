"""Commands about master data: who has which value of a code, and since when."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.table import Table

from api.cli.root import (
    AS_KNOWN,
    EXIT_ERROR,
    JSON,
    Instant,
    Invocation,
    example,
    out,
    print_json,
)
from api.wiring import CHECK_PARAMETERS, Application
from collector.pipeline.dimension import CHECK, Dimension, Holding, configured, holdings, of_kind
from collector.store import dimensions, totals
from collector.store.ingest import Connection

COLUMNS = ("", "valid from", "until", "value", "told", "recorded", "last listed", "gone")

AT = click.option(
    "--as-of",
    type=Instant(),
    default="now",
    show_default=True,
    help="The instant T at which values are valid.",
)


@click.group(epilog=example("tieout dimension list", "tieout dimension show cost_center 4711"))
def dimension() -> None:
    """Look at master data: cost centres, vendors, rates, and who has which value of them."""


@dimension.command(name="list", epilog=example("tieout dimension list --json"))
@AT
@AS_KNOWN
@JSON
@click.pass_obj
def list_(
    invocation: Invocation, as_of: datetime, as_known: datetime | None, *, as_json: bool
) -> None:
    """Count per kind, owner and consumer what is valid, and what consumers have otherwise."""

    async def find(app: Application) -> list[dict[str, Any]]:
        async with app.store.connect() as conn:
            times = as_of, await _known(app, conn, as_known)
            return [await _counted(conn, d, times) for d in _configured(app)]

    found = invocation.run(find)
    if as_json:
        print_json({"dimensions": found})
        return
    table = Table(box=None, header_style="bold")
    for column in ("kind", "who", "role"):
        table.add_column(column)
    for column in ("valid", "not valid", "differing"):
        table.add_column(column, justify="right")
    for d in found:
        for p in d["parties"]:
            counts = [p["valid"], p["not_valid"], p["differing"]]
            texts = ["" if n is None else f"{n:,}" for n in counts]
            table.add_row(d["kind"], p["system"], p["role"], *texts)
    out.print(table)


@dimension.command(
    epilog=example(
        "tieout dimension show cost_center 4711",
        "tieout dimension show exchange_rate EUR/USD --as-of 2026-01-15T00:00:00Z --as-known 2026-02-01T00:00:00Z",
    )
)
@click.argument("kind")
@click.argument("code")
@AT
@AS_KNOWN
@JSON
@click.pass_obj
def show(
    invocation: Invocation,
    kind: str,
    code: str,
    as_of: datetime,
    as_known: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Tell what owner and consumers have of a code, valid and known from when on.

    A mark stands at what is valid at T. What is known at K counts, also where it was told after T. Times are in UTC.
    """

    async def find(app: Application) -> tuple[Dimension, datetime, list[Holding]]:
        found = of_kind(_configured(app), kind)
        async with app.store.connect() as conn:
            known = await _known(app, conn, as_known)
            return found, known, await holdings(conn, found, code, (as_of, known))

    found, known, held = invocation.run(find)
    if as_json:
        print_json(
            {
                "kind": found.flow.anchor,
                "flow": found.flow.flow,
                "code": code,
                "as_of": as_of,
                "as_known": known,
                "holdings": msgspec.to_builtins(held),
            }
        )
    elif held:
        _show(held, as_of)
    else:
        out.print(f"Nobody has told anything of the {found.flow.anchor} '{code}'.", markup=False)
    sys.exit(0 if held else EXIT_ERROR)


def _configured(app: Application) -> list[Dimension]:
    rules = {
        name: CHECK_PARAMETERS[CHECK].model_validate(control.parameters).model_dump(mode="json")
        for name, control in app.configuration.settings.controls.items()
        if control.check == CHECK
    }
    return configured(app.configuration, rules)


async def _known(app: Application, conn: Connection, as_known: datetime | None) -> datetime:
    return as_known or await totals.last_recorded(conn, app.clock())


async def _counted(
    conn: Connection, d: Dimension, times: tuple[datetime, datetime]
) -> dict[str, Any]:
    documents = await dimensions.documents(conn, d.flow.anchor, times[1])
    parties = await dimensions.parties(conn, d.flow.flow, d.rules, times, documents)
    return {
        "kind": d.flow.anchor,
        "flow": d.flow.flow,
        "title": d.flow.title,
        "control": d.control,
        "parties": [
            {"step": step, "role": role, "system": system, **msgspec.to_builtins(parties[step])}
            for step, role, system in d.steps
        ],
    }


def _show(held: list[Holding], as_of: datetime) -> None:
    for h in held:
        out.print(f"{h.system} ({h.role}): {_said(h)}", style="bold", markup=False)
        table = Table(box=None, header_style="dim")
        for column in COLUMNS:
            table.add_column(column, no_wrap=column != "value")
        for v in h.values:
            now = v.valid_from is None or v.valid_from <= as_of
            mark = "●" if now and (v.valid_to is None or as_of < v.valid_to) else ""
            texts = " ".join(f"{name}={text}" for name, text in sorted(v.value.items()))
            times = _time(v.valid_from, "ever"), _time(v.valid_to, "further notice")
            told = [_time(at) for at in (v.told_at, v.recorded_at, v.last_at, v.gone_at)]
            table.add_row(mark, *times, texts, *told)
        out.print(table)
        for what, spans in (("No row is valid", h.gaps), ("Rows overlap", h.overlaps)):
            for span in spans:
                since, until = _time(span.since, "ever"), _time(span.until, "further notice")
                out.print(
                    f"  {what} from {since} until {until} (UTC).", style="yellow", markup=False
                )


def _said(h: Holding) -> str:
    since = f"since {_time(h.since)} UTC"
    if h.state != "value" or h.value is None:
        words = {"future": "not valid yet", "gap": "no row is valid"}
        return f"{h.number}, {words.get(h.state, h.state)} {since if h.state != 'future' else ''}".rstrip()
    otherwise = f", unlike the owner in {', '.join(h.differs)}" if h.differs else ""
    return f"{h.number}, valid {since}{otherwise}"


def _time(instant: datetime | None, none: str = "") -> str:
    return none if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"


COMMANDS = (dimension,)
