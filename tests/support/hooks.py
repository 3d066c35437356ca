"""An HTTP receiver on loopback that keeps what is posted to it, and answers what it is told to."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

import msgspec
from typing_extensions import override


class Post(NamedTuple):
    """One request: its path, headers by lower-case name, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 -- any JSON
        return msgspec.json.decode(self.body)


Answer = tuple[int, dict[str, str], bytes]
"""A status, headers and a body."""


class Receiver:
    """`answers` are given one after the other, then 200. None hangs."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.url = f"{self.address}/hook"
        self.posts: list[Post] = []
        self.answers: list[Answer | None] = []
        self.let_go = Event()

    def take(self, post: Post) -> Answer | None:
        """Keep what is posted; say what to answer."""
        self.posts.append(post)
        return self.answers.pop(0) if self.answers else (200, {}, b"")

    def documents(self) -> list[Any]:
        return [post.document for post in self.posts]


Kind = TypeVar("Kind", bound=Receiver)


@contextmanager
def receiving(kind: type[Kind]) -> Iterator[Kind]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    receiver = kind(server.server_address[1])
    server.receiver = receiver  # type: ignore[attr-defined]  # how the handler finds it
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_until(condition: Any, seconds: float = 30) -> None:  # noqa: ANN401 -- a function of no arguments
    """Wait for another process; fail when it takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]  # set above
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = receiver.take(Post(self.path, headers, body))
        if answer is None:
            receiver.let_go.wait(60)
            return
        status, extra, content = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
