"""What every connector of the registry has to do: the contract of `collector/connector.py`, tried out."""

import json
from collections.abc import Generator, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from collector.connector import CHUNK_RECORDS_MAX, Chunk, Cursor, Ending, Reader, Redelivers
from collector.errors import TieoutError
from connectors.registry import CONNECTORS
from tests.connectors.examples import EXAMPLES, RECORDS, Example
from tests.connectors.reading import through_json


@pytest.fixture(params=sorted(CONNECTORS))
def name(request: pytest.FixtureRequest) -> str:
    named: str = request.param
    return named


@pytest.fixture
def example(name: str, tmp_path: Path) -> Iterator[Example]:
    with EXAMPLES[name](tmp_path) as made:
        yield made


def whole(reader: Reader, known: dict[str, Cursor]) -> list[Chunk]:
    """Read all parts to their ends, and keep the cursors as a store does: as JSON."""
    chunks = []
    for part in reader.parts(known):
        for chunk in reader.read(part, known.get(part.id)):
            known[part.id] = through_json(chunk.cursor)
            chunks.append(chunk)
    return chunks


def contents(chunks: list[Chunk]) -> list[str]:
    return [json.dumps(r.body, sort_keys=True, default=str) for c in chunks for r in c.records]


def test_every_connector_has_an_example() -> None:
    assert EXAMPLES.keys() == CONNECTORS.keys()
    assert list(CONNECTORS) == sorted(CONNECTORS)
    assert {name: spec.name for name, spec in CONNECTORS.items()} == {n: n for n in CONNECTORS}


def test_its_options_are_those_that_the_configuration_takes(
    name: str, example: Example, tmp_path: Path
) -> None:
    spec = CONNECTORS[name]
    assert spec.title
    reader = spec.open(spec.options.model_validate(example.read), tmp_path)
    assert callable(reader.parts)
    fields = spec.options.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


def test_it_reads_every_record_once(example: Example) -> None:
    chunks = whole(example.reader(), {})
    assert len(contents(chunks)) == len(set(contents(chunks))) == RECORDS
    assert [r.fault for c in chunks for r in c.records] == [None] * RECORDS


def test_only_the_last_chunk_of_a_pass_carries_an_end(example: Example) -> None:
    chunks = whole(example.reader(), {})
    assert [chunk.end is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].end is not None
    assert chunks[-1].end.unread == 0


def test_chunks_are_bounded_and_positions_grow(example: Example) -> None:
    chunks = whole(example.reader(), {})
    assert max(len(chunk.records) for chunk in chunks) <= CHUNK_RECORDS_MAX
    positions = [r.position for c in chunks for r in c.records]
    assert positions == list(range(1, RECORDS + 1))


def test_bodies_hold_no_float(example: Example) -> None:
    waiting: list[object] = [r.body for c in whole(example.reader(), {}) for r in c.records]
    while waiting:
        value = waiting.pop()
        assert value is None or isinstance(value, (str, int, Decimal, dict, list))
        waiting += (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )


def test_cursors_and_what_is_stated_can_be_kept_as_json(example: Example) -> None:
    for chunk in whole(example.reader(), {}):
        assert through_json(chunk.cursor) == chunk.cursor
        json.dumps(msgspec.to_builtins(chunk.stated))


def test_from_every_chunk_s_cursor_it_reads_on_without_loss(name: str, example: Example) -> None:
    (part,) = example.reader().parts({})
    chunks = list(example.reader().read(part, None))
    for i, chunk in enumerate(chunks):
        known: dict[str, Cursor] = {part.id: through_json(chunk.cursor)}
        rest = contents(whole(example.reader(), known))
        before = contents(chunks[: i + 1])
        assert set(before) | set(rest) == set(contents(chunks))
        if CONNECTORS[name].redelivers is Redelivers.NEVER:
            assert not set(before) & set(rest)


def test_a_second_pass_brings_nothing_and_says_how_it_ended(example: Example) -> None:
    known: dict[str, Cursor] = {}
    whole(example.reader(), known)
    (cursor,) = known.values()
    again = whole(example.reader(), known)
    assert contents(again) == []
    assert len(again) == 1
    assert again[0].end is not None
    assert list(known.values()) == [cursor]


def test_from_the_beginning_it_gives_every_record_again_for_a_sweep(example: Example) -> None:
    known: dict[str, Cursor] = {}
    once = contents(whole(example.reader(), known))
    reader = example.reader()
    (part,) = reader.parts(known)
    again = list(reader.read(part, None))
    assert sorted(contents(again)) == sorted(once)
    assert again[-1].end is not None
    assert (again[-1].end.ending is Ending.BROKEN, again[-1].end.unread) == (False, 0)


def test_the_part_keeps_its_id(example: Example) -> None:
    known: dict[str, Cursor] = {}
    whole(example.reader(), known)
    assert [part.id for part in example.reader().parts(known)] == list(known)


def test_it_can_be_stopped_anywhere_and_twice(example: Example) -> None:
    reader = example.reader()
    (part,) = reader.parts({})
    chunks = len(list(reader.read(part, None)))
    for stop_after in range(chunks + 1):
        reading = reader.read(part, None)
        assert isinstance(reading, Generator)
        for _ in range(stop_after):
            next(reading)
        reading.close()
        reading.close()
        assert next(reading, None) is None
    assert len(contents(list(reader.read(part, None)))) == RECORDS


def test_a_source_that_cannot_be_read_is_an_instruction(example: Example) -> None:
    known: dict[str, Cursor] = {}
    reader = example.reader()
    (part,) = reader.parts(known)
    example.damage()
    with pytest.raises(TieoutError) as caught:
        list(reader.read(part, None))
    said = str(caught.value)
    assert said.endswith(".")
    assert len(said.split()) >= 8, "what is wrong and what mends it"


def test_a_source_that_comes_back_is_read_on(name: str, tmp_path: Path) -> None:
    with EXAMPLES[name](tmp_path) as example:
        reader = example.reader()
        (part,) = reader.parts({})
        reading = reader.read(part, None)
        first = next(reading)
        del reading
        rest = list(example.reader().read(part, through_json(first.cursor)))
        assert set(contents([first, *rest])) == set(contents(whole(example.reader(), {})))
