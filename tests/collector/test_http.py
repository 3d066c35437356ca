"""The HTTP client against a real server on loopback: what it tries again, what it says, what it keeps to itself."""

import gzip
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random  # noqa: TID251 -- seeded below

import pytest

from collector import http
from collector.errors import TieoutError, Transient
from collector.http import (
    BrokenAnswer,
    Elsewhere,
    Http,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Rejected,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "token-of-the-house"  # noqa: S105 -- nobody's
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Gives the answers it was told to, one after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, body = server.answers[
                    min(len(server.asked), len(server.answers)) - 1
                ]
                self.send_response_only(status)
                for name, value in {
                    "Content-Length": str(len(body)),
                    "Connection": "close",
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            do_POST = do_GET  # noqa: N815 -- the library's name

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


class Asker:
    """Asks a server and notes how long it would have slept."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.slept: list[float] = []
        self.http = Http(
            server.url,
            clock=lambda: NOW,
            random=Random(3),  # noqa: S311 -- of waiting times
            sleep=self.slept.append,
        )

    def get(
        self, *answers: Answer, url: str = "x", decode: Callable[[bytes], object] = bytes
    ) -> object:
        self.server.answers = list(answers)
        headers = {"Authorization": f"Bearer {SECRET}"}
        with self.http as client:
            return client.get(url, decode, headers=headers)


def ok(body: bytes = b"fine", **headers: str) -> Answer:
    return 200, headers, body


def no(status: int, body: bytes = b"", **headers: str) -> Answer:
    return status, {k.replace("_", "-"): v for k, v in headers.items()}, body


def test_what_passes_is_tried_again_after_longer_and_longer_waits(server: Server) -> None:
    asker = Asker(server)
    assert asker.get(no(503), no(500), no(429), no(502), ok()) == b"fine"
    assert len(server.asked) == http.TRIES_MAX == 5
    for slept, whole in zip(asker.slept, (0.5, 1, 2, 4), strict=True):
        assert whole / 2 <= slept <= whole


def test_it_gives_up_after_a_bounded_number_of_tries(server: Server) -> None:
    asker = Asker(server)
    with pytest.raises(Transient, match=r"is out of order \(HTTP 503\)"):
        asker.get(no(503))
    assert len(server.asked) == http.TRIES_MAX


@pytest.mark.parametrize(
    ("header", "slept"),
    [("7", [7.0]), ("0", [0.0]), ("Sun, 01 Mar 2026 12:00:09 GMT", [9.0])],
)
def test_it_waits_as_long_as_it_is_asked_to(
    server: Server, header: str, slept: list[float]
) -> None:
    asker = Asker(server)
    assert asker.get(no(429, Retry_After=header), ok()) == b"fine"
    assert asker.slept == slept


@pytest.mark.parametrize("header", ["3600", "Sun, 01 Mar 2026 13:00:00 GMT"])
def test_a_long_wait_is_left_to_the_caller(server: Server, header: str) -> None:
    asker = Asker(server)
    with pytest.raises(Transient) as caught:
        asker.get(no(429, Retry_After=header))
    assert caught.value.wait_s == 3600.0
    assert (asker.slept, len(server.asked)) == ([], 1)


@pytest.mark.parametrize("header", ["soon", "-1", "", "Sun, 99 Mar 2026 13:00:00 GMT"])
def test_a_wait_that_is_none_is_ignored(server: Server, header: str) -> None:
    asker = Asker(server)
    assert asker.get(no(503, Retry_After=header), ok()) == b"fine"
    assert 0.25 <= asker.slept[0] <= 0.5


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, Rejected, "refuses the request (HTTP 400): no such property"),
        (401, NotAuthenticated, "correct or renew them"),
        (403, NotPermitted, "have the missing role granted"),
        (404, NotFound, "does not exist"),
        (410, NotFound, "does not exist"),
        (422, Rejected, "refuses the request"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    server: Server, status: int, error: type[TieoutError], words: str
) -> None:
    asker = Asker(server)
    with pytest.raises(error) as caught:
        asker.get(no(status, b"no  such\nproperty"))
    assert words in str(caught.value)
    assert (asker.slept, len(server.asked)) == ([], 1)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500])
def test_an_error_can_pass_from_one_process_to_another(server: Server, status: int) -> None:
    with pytest.raises(TieoutError) as caught:
        Asker(server).get(no(status, b"why", Retry_After="99"))
    passed = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 -- our own
    assert type(passed) is type(caught.value)
    assert (str(passed), vars(passed)) == (str(caught.value), vars(caught.value))


def broken(_body: bytes) -> object:
    raise ValueError("no JSON")


def test_an_answer_that_is_something_else_is_tried_again_and_then_said(server: Server) -> None:
    asker = Asker(server)
    with pytest.raises(BrokenAnswer, match=r"\(no JSON\).*login page"):
        asker.get(ok(b"<html>"), decode=broken)
    assert len(server.asked) == http.TRIES_MAX


def test_a_body_that_breaks_off_is_tried_again(server: Server) -> None:
    asker = Asker(server)
    assert asker.get((200, {"Content-Length": "99"}, b"half"), ok()) == b"fine"


def test_a_body_without_end_is_not_held(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_BYTES_MAX", 1 << 20)
    bomb = gzip.compress(bytes(3 << 20))
    with pytest.raises(BrokenAnswer, match="more than 1 MiB"):
        Asker(server).get(ok(bomb, **{"Content-Encoding": "gzip"}))


def test_nobody_there_is_said(server: Server) -> None:
    server.close()
    with pytest.raises(Transient, match=r"127\.0\.0\.1 does not answer, or broke off"):
        Asker(server).get(ok())


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.test/api/x",
        "https://127.0.0.1/api/x",
        "http://127.0.0.1:1/x",
        "//elsewhere.test/x",
        "http://127.0.0.1@elsewhere.test/x",
    ],
)
def test_an_address_elsewhere_is_refused_before_anything_is_sent(server: Server, url: str) -> None:
    with pytest.raises(Elsewhere, match="credentials are not sent there"):
        Asker(server).get(ok(), url=url)
    assert server.asked == []


@pytest.mark.parametrize("url", ["y?a=1", "/api/y?a=1", "{root}y?a=1"])
def test_an_address_of_the_same_host_is_followed(server: Server, url: str) -> None:
    Asker(server).get(ok(), url=url.format(root=server.url))
    assert server.asked[0][0] == "/api/y?a=1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Server, status: int) -> None:
    with pytest.raises(Elsewhere) as caught:
        Asker(server).get(no(status, Location="https://login.test/?token=abc"))
    assert "redirects to https://login.test," in str(caught.value)
    assert "abc" not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_server_that_repeats_credentials_does_not_make_us_repeat_them(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    asker = Asker(server)
    with pytest.raises(TieoutError) as caught:
        asker.get(no(status, f"you sent Bearer {SECRET}".encode()))
    assert SECRET not in f"{caught.value} {caught.value.detail} {caught.value!r} {asker.http!r}"
    assert SECRET not in caplog.text


def test_a_posted_password_is_repeated_nowhere(server: Server) -> None:
    asker = Asker(server)
    server.answers = [no(400, f"unknown {SECRET}".encode())]
    with pytest.raises(Rejected) as caught:
        asker.http.post_form("token", bytes, {"a": "b"}, basic=("me", SECRET))
    assert SECRET not in f"{caught.value} {caught.value.detail} {caught.value.body}"


def test_what_is_posted_is_posted_once_and_its_address_is_repeated_nowhere(
    server: Server,
) -> None:
    asker = Asker(server)
    server.answers = [no(503, f"no {SECRET} here, and no other-secret".encode())]
    with pytest.raises(Transient) as caught:
        asker.http.post(f"hooks/{SECRET}?key=other-secret", b"{}", headers={"X-Key": "third"})
    assert (asker.slept, server.asked[0][0]) == ([], f"/api/hooks/{SECRET}?key=other-secret")
    assert len(server.asked) == 1
    said = f"{caught.value} {caught.value.detail}"
    assert "no … here, and no …" in said
    assert not any(secret in said for secret in (SECRET, "other-secret", "third"))


def test_the_clock_of_the_server_is_told(server: Server) -> None:
    asker = Asker(server)
    asker.get(ok(Date="Sun, 01 Mar 2026 11:59:00 GMT"))
    assert asker.http.server_time == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
