"""Connections for steps: what Django does at both ends of a request, done at both ends of a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
R = TypeVar("R")


def with_database(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function use the ORM in a thread that Django knows nothing of.

    A step runs in a thread of its own, and each thread has its own connections. Before the function
    those are closed that are broken or too old; after it too, which with Django's default
    `CONN_MAX_AGE` of 0 are all.
    """

    @wraps(function)
    def managed(*args: P.args, **kwargs: P.kwargs) -> R:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return managed
