"""A small configuration that is right, to be broken one line at a time."""

from pathlib import Path

from collector.settings.load import Configuration, Problem, examine
from connectors.registry import CONNECTORS
from control_checks.registry import CHECKS

PARAMETERS = {name: check.parameters for name, check in CHECKS.items()}

TIEOUT = """\
tieout: 1
entities:
  DE10: {name: House, calendar: office}
calendars:
  office:
    timezone: Europe/Berlin
    closes: "18:00"
sources:
  erp:
    connector: files
    system: erp
    streams:
      claims:
        read: {path: claims.csv, format: csv}
        mapping: claims.yaml
flows: [flow.yaml]
controls:
  paid:
    check: approved_not_paid
    flows: [claims]
    schedule: "0 6 * * *"
"""
CLAIMS = """\
key: id
document: {type: claim, number: id}
occurred_at:
  value: at
  timezone: in value
entity: =DE10
actor: who
personal: [actor]
events:
  - rule: status
    type:
      value: status
      unknown: quarantine
      values:
        A: claim.approved
        P: claim.paid
"""
FLOW = """\
flow: claims
title: Claims
anchor: claim
steps:
  - {name: approved, system: erp, done_by: [claim.approved]}
  - name: paid
    system: erp
    after: approved
    due: 1 business day
    done_by: [claim.paid]
"""
FILES = {"tieout.yaml": TIEOUT, "claims.yaml": CLAIMS, "flow.yaml": FLOW}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder / "tieout.yaml"


def changed(name: str, old: str, new: str) -> dict[str, str]:
    assert FILES[name].count(old) == 1, old
    return {**FILES, name: FILES[name].replace(old, new)}


def look(folder: Path, files: dict[str, str]) -> tuple[Configuration | None, list[Problem]]:
    return examine(write(folder, files), CONNECTORS, PARAMETERS)


def said(folder: Path, files: dict[str, str]) -> list[str]:
    """What is wrong, a line each, with paths as people see them in the folder."""
    configuration, problems = look(folder, files)
    assert (configuration is None) == bool(problems)
    return [str(problem).replace(f"{folder}/", "") for problem in problems]
