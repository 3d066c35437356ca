"""A map that remembers what was put last."""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Remembers the `least` keys that were put last, and up to twice as many.

    They are forgotten by the half: among hundreds of thousands, to forget the oldest one with each new
    one costs more than the new one does.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return what was put, if it is not forgotten."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: K, value: V) -> None:
        """Remember a value, instead of the one before."""
        self._young[key] = value
        if len(self._young) >= self._least:
            self._young, self._old = {}, self._young

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
