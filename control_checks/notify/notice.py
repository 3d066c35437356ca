"""What is told of a change: one JSON document per run, grouped by entity and bounded.

It is the body of the webhook (`api/schemas/notice.schema.json`), and what alerts are made of.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from collector.model.control import Exception_, Run
from collector.model.money import from_minor
from collector.model.standing import Open, Standing
from collector.model.words import counted
from collector.settings.definitions import Control
from collector.telemetry.metrics import OTHER, bounded
from control_checks.notify.standing import changes, new_ones

TYPE = "control.changed"
GROUPS_MAX = 50
"""More entities than these are told together under OTHER."""
SENTENCES_MAX = 5
SENTENCE_CHARS_MAX = 500

Notice = dict[str, Any]


def notice(
    control: Control,
    run: Run,
    before: Standing | None,
    left: Standing,
    words: str,
    runbooks: str | None = None,
) -> Notice | None:
    """Say what a run changed against what stood before it; None where nothing did.

    `words` is what people read for its verdict, `runbooks` where the pages of checks are published. The
    first run of all says nothing if there is nothing wrong.
    """
    was = before.open if before else []
    moved = changes(was, left.open)
    state = (left.verdict, left.concluded)
    unchanged = (before.verdict, before.concluded) if before else ("PASS", True)
    if state == unchanged and not (moved.new or moved.changed or moved.resolved):
        return None
    groups = _groups(run, left, new_ones(was, left.open), _since(before))
    gaps = [gap["sentence"] for gap in run.gaps]
    return {
        "type": TYPE,
        "timestamp": _text(run.finished_at),
        "data": {
            "control": run.control,
            "check": control.check,
            "severity": control.severity,
            "owner": control.owner,
            "runbook": f"{runbooks.rstrip('/')}/{control.check}.md" if runbooks else None,
            "run": run.run,
            "as_of": _text(run.as_of),
            "as_known": _text(run.as_known),
            "verdict": {"before": before.verdict if before else None, "after": run.verdict},
            "complete": run.complete,
            "concluded": left.concluded,
            "summary": _summary(words, left.open),
            "error": None if run.error is None else run.error[:SENTENCE_CHARS_MAX],
            "unevaluable": sum(run.population.get("unevaluable", {}).values()),
            "gaps": {"count": len(gaps), **_first(gaps)},
            "exceptions": {
                "open": len(left.open),
                **moved._asdict(),
                "held": sum(o.run != run.run for o in left.open),
            },
            "groups": groups,
        },
    }


def _groups(
    run: Run, left: Standing, fresh: Iterable[Open], since: dict[str | None, str]
) -> list[Notice]:
    """Group open exceptions by entity, the new ones first."""
    new = {(o.run, o.ordinal) for o in fresh}
    by_entity: defaultdict[str | None, list[Open]] = defaultdict(list)
    named = bounded((o.exception.entity for o in left.open if o.exception.entity), GROUPS_MAX)
    for one in sorted(left.open, key=lambda o: (o.run, o.ordinal) not in new):
        entity = one.exception.entity or None
        by_entity[OTHER if entity and entity not in named else entity].append(one)
    return [
        {
            "entity": entity,
            "since": since.get(entity, _text(run.finished_at)),
            "count": len(several),
            "new": sum((o.run, o.ordinal) in new for o in several),
            "held": sum(o.run != run.run for o in several),
            "amounts": _sums(o.exception for o in several),
            "summary": _sentence(several),
            **_first([o.exception.sentence for o in several]),
        }
        for entity, several in sorted(by_entity.items(), key=lambda item: item[0] or "")
    ]


def _since(before: Standing | None) -> dict[str | None, str]:
    """Return since when each entity has had open exceptions, by the notice before."""
    told = before.notice if before else None
    return {group["entity"]: group["since"] for group in told["data"]["groups"]} if told else {}


def _first(sentences: list[str]) -> Notice:
    shown = [sentence[:SENTENCE_CHARS_MAX] for sentence in sentences[:SENTENCES_MAX]]
    return {"sentences": shown, "has_more": len(sentences) > SENTENCES_MAX}


def _summary(words: str, still_open: list[Open]) -> str:
    return f"{words}: {_sentence(still_open)} open" if still_open else words


def _sentence(several: list[Open]) -> str:
    """Count exceptions and sum them up: `10 exceptions, EUR 12,310.00 and JPY 48,000`."""
    sums = [from_minor(minor, c) for c, minor in _sums(o.exception for o in several).items()]
    said = [" and ".join([", ".join(sums[:-1]), sums[-1]] if sums[1:] else sums)] if sums else []
    return ", ".join([counted(len(several), "exception"), *said])


def _sums(exceptions: Iterable[Exception_]) -> dict[str, int]:
    """Sum amounts by currency, signed; an exception without an amount adds nothing."""
    sums: Counter[str] = Counter()
    for e in exceptions:
        if e.currency is not None and e.amount_minor is not None:
            sums[e.currency] += e.amount_minor
    return dict(sorted(sums.items()))


def _text(instant: datetime) -> str:
    text: str = msgspec.to_builtins(instant)
    return text
