import hmac
import os
from pathlib import Path

import pytest

from api.auth import KEY_FILE, Guard, Keys, configured_keys, own_key
from api.wiring import read_configuration
from collector.errors import Misconfigured
from tests.api.till import KEY, SECOND_KEY, write


def test_keys_are_compared_in_constant_time_and_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    honest = hmac.compare_digest

    def witness(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return honest(a, b)

    monkeypatch.setattr(hmac, "compare_digest", witness)
    assert Keys([KEY, SECOND_KEY, "third"]).admit(KEY.encode())
    assert len(compared) == 3
    assert all(len(a) == len(b) == 32 for a, b in compared)
    assert not Keys([]).admit(b"")


def test_keys_come_from_files_and_a_short_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text(f"{KEY}\n")
    (tmp_path / "b.key").write_text("tooshort")
    path = write(tmp_path, more='api: {keys: ["${file:a.key}"]}\n')
    assert configured_keys(read_configuration(path)) == [KEY]
    path.write_text(path.read_text().replace("a.key", "b.key"))
    with pytest.raises(Misconfigured, match=r"api.keys.0: the key is shorter than 16 characters"):
        configured_keys(read_configuration(path))


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    key, path = own_key(tmp_path / "data")
    assert (path.name, path.stat().st_mode & 0o777) == (KEY_FILE, 0o600)
    assert len(key) >= 40
    assert own_key(tmp_path / "data") == (key, path)
    assert os.listdir(tmp_path / "data") == [KEY_FILE]  # noqa: PTH208 -- no draft is left
    assert own_key(tmp_path / "other")[0] != key


def test_a_key_file_that_is_open_linked_or_empty_is_refused(tmp_path: Path) -> None:
    _, path = own_key(tmp_path)
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="is open to other users"):
        own_key(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(KEY)
    with pytest.raises(Misconfigured, match="cannot be read or made"):
        own_key(tmp_path)
    path.unlink()
    path.touch(0o600)
    with pytest.raises(Misconfigured, match="holds no key"):
        own_key(tmp_path)


async def test_what_is_not_http_passes_the_guard_by() -> None:
    seen: list[str] = []

    async def app(scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        seen.append(scope["type"])

    await Guard(app, Keys([]))({"type": "lifespan"}, _never, _nowhere)
    assert seen == ["lifespan"]


async def _never() -> dict[str, object]:
    raise AssertionError


async def _nowhere(_message: object) -> None:
    raise AssertionError
