"""Every error leaves as `application/problem+json` (RFC 9457), and none carries a trace or SQL.

    401 no-key            404 not-found        422 wrong-parameter
    400 wrong-cursor      404 no-such-key      500 failed
    409 no-run            409 not-computed     500 altered
    503 not-ready
    405, and whatever HTTP names itself: about:blank

`type` is `urn:tieout:problem:<name>`; `detail` is a sentence for a person. What an engineer needs
beyond that is in the log.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from collector.errors import NotConnected, TieoutError, Transient

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
ERRORS_MAX = 20

_log = logging.getLogger(__name__)


class Problem(Exception):
    """An answer that is a problem: status, name of the type, a sentence, and members of its own."""

    def __init__(
        self, status: HTTPStatus, name: str, title: str, detail: str, **members: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.members = members
        self.headers: dict[str, str] = {}


def not_found(detail: str, **members: object) -> Problem:
    """Make the problem of something that is not there."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", "Not found", detail, **members)


def no_key() -> Problem:
    """Make the problem of a request without a valid key; missing and wrong are told alike."""
    problem = Problem(
        HTTPStatus.UNAUTHORIZED,
        "no-key",
        "API key required",
        "Send an API key: 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.",
    )
    problem.headers["WWW-Authenticate"] = 'Bearer realm="tieout"'
    return problem


def failed() -> Problem:
    """Make the problem of an error that nobody foresaw."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "failed",
        "Internal error",
        "This request failed for a reason of our own; the log of the server has it.",
    )


def wrong_parameter(errors: Sequence[Mapping[str, str]]) -> Problem:
    """Make the problem of wrong parameters: where each is, its name, and what is wrong."""
    detail = "; ".join(f"{e['parameter']}: {e['what']}" for e in errors)
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "wrong-parameter",
        "A parameter is wrong",
        f"{detail}.",
        errors=errors,
    )


def not_ready(detail: str, **members: object) -> Problem:
    """Make the problem of a service that cannot do its work now."""
    problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail, **members)
    problem.headers["Retry-After"] = str(RETRY_AFTER_S)
    return problem


def response(problem: Problem, path: str) -> Response:
    """Write a problem as a response."""
    body = {
        "type": f"urn:tieout:problem:{problem.name}" if problem.name else "about:blank",
        "title": problem.title,
        "status": int(problem.status),
        "detail": problem.detail,
        "instance": path,
        **problem.members,
    }
    return Response(msgspec.json.encode(body), problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have an application answer every error as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(TieoutError, _ours)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 -- registered for it
    return response(error, request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for it
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        return response(not_found(f"There is no {request.url.path} here."), request.url.path)
    problem = Problem(status, "", status.phrase, status.description or status.phrase)
    problem.headers.update(error.headers or {})
    return response(problem, request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- registered for it
    errors = [_explained(e) for e in error.errors()[:ERRORS_MAX]]
    return response(wrong_parameter(errors), request.url.path)


def _explained(error: Mapping[str, Any]) -> dict[str, str]:
    place, *rest = map(str, error["loc"])
    what = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        what = "there is no such parameter"
    return {"in": place, "parameter": ".".join(rest), "what": what[:1].lower() + what[1:]}


async def _ours(request: Request, error: Exception) -> Response:
    """Tell what to do: try again where that can help; keep to ourselves what only engineers need."""
    assert isinstance(error, TieoutError)  # noqa: S101 -- registered for it
    _log.warning("%s: %s %s", request.url.path, error, error.detail)
    if isinstance(error, NotConnected):
        return response(not_ready("The store cannot be reached. Try again."), request.url.path)
    if isinstance(error, Transient):
        return response(not_ready(str(error)), request.url.path)
    return response(failed(), request.url.path)
