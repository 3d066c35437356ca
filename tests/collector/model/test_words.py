import pytest

from collector.model.words import counted


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 records"), (1, "1 record"), (2, "2 records"), (1_000, "1,000 records")],
)
def test_one_of_a_thing_is_not_called_many(number: int, said: str) -> None:
    assert counted(number, "record") == said
