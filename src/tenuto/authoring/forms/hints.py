"""What the fields of a class are annotated with, generic classes included."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tenuto.errors import Invalid


def hints_of(thing: type | Callable[..., Any], where: str) -> dict[str, Any]:
    """Return the resolved annotations of a class or function; raise Invalid for unknown names."""
    try:
        return get_type_hints(thing, include_extras=True)
    except NameError as error:
        raise Invalid(
            f"{where}: the annotation names `{error.name}`, which is not known where it is read",
            hint="define it at module level, and import it outside of `if TYPE_CHECKING`",
        ) from None
    except (TypeError, SyntaxError) as error:
        raise Invalid(
            f"{where}: the annotations cannot be read: {error}", hint="annotate it with types"
        ) from None


def class_hints(kind: Any, where: str) -> dict[str, Any]:
    """Return the annotations of a class, type variables replaced by what `kind` says they are."""
    origin = get_origin(kind) or kind
    return _collect(origin, get_args(kind), hints_of(origin, where))


def _collect(owner: type, arguments: tuple[Any, ...], resolved: dict[str, Any]) -> dict[str, Any]:
    parameters = getattr(owner, "__parameters__", ())
    known = dict(zip(parameters, arguments, strict=False))
    hints: dict[str, Any] = {}
    for base in reversed(owner.__dict__.get("__orig_bases__", owner.__bases__)):
        origin = get_origin(base) or base
        if isinstance(origin, type) and origin is not object:
            given = tuple(substitute(argument, known) for argument in get_args(base))
            hints |= _collect(origin, given, resolved)
    own = inspect.get_annotations(owner)
    return hints | {name: substitute(resolved[name], known) for name in own if name in resolved}


def substitute(hint: Any, known: dict[Any, Any]) -> Any:
    """Return an annotation with its type variables replaced.

    >>> T = TypeVar("T")
    >>> substitute(list[T], {T: int})
    list[int]
    """
    if isinstance(hint, TypeVar):
        return known.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not known or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(known.get(parameter, parameter) for parameter in parameters)]
