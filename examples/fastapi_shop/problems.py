"""Errors of Tenuto as HTTP answers: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tenuto import TenutoError
from tenuto.errors import Conflict, Invalid, LimitExceeded, NotFound, Unavailable

STATUSES: Final[dict[type[TenutoError], HTTPStatus]] = {
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    LimitExceeded: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""A class not named here has the status of its nearest parent; the root's is 500."""


def status_of(error: TenutoError) -> HTTPStatus:
    """Return the status for an error.

    >>> status_of(NotFound("there is no run 'x'"))
    <HTTPStatus.NOT_FOUND: 404>
    """
    found = (STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


async def problem(_: Request, error: Exception) -> JSONResponse:
    """Answer with what went wrong. The error's hint is for who runs this service, so it stays here."""
    if not isinstance(error, TenutoError):
        raise error
    status = status_of(error)
    body = {
        "type": f"urn:tenuto:{error.code}",
        "title": status.phrase,
        "status": status.value,
        "detail": error.message if status < HTTPStatus.INTERNAL_SERVER_ERROR else None,
    }
    headers = {"Retry-After": "1"} if error.retryable else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def answer_problems(api: FastAPI) -> None:
    """Let an application answer so whenever a route raises an error of Tenuto."""
    api.add_exception_handler(TenutoError, problem)
