"""Why values of a type cannot be passed, and what to pass instead."""

from __future__ import annotations

import collections
import collections.abc
import types
from typing import IO, Any, Final, ForwardRef, ParamSpec, TypeVar, get_origin

_LAZY: Final = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    collections.abc.Collection,
    collections.abc.Reversible,
)
_CODE: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)
_WAITING: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_CONTAINERS: Final = {
    collections.deque: "list",
    collections.defaultdict: "dict",
    collections.OrderedDict: "dict",
    collections.Counter: "dict[str, int]",
    collections.ChainMap: "dict",
}
_MODULES: Final = {
    "pathlib": ("a path means something only on one machine", "pass it as str, and open it in the step"),
    "_io": ("an open file ends with its process", "pass its path as str, and open it in the step"),
    "re": ("it is no data", "pass the pattern as str"),
    "numpy": ("only plain data passes", "pass array.tolist(), and declare `list[float]`"),
}
_BY_KIND: Final[dict[Any, tuple[str, str]]] = {
    complex: ("JSON has no complex numbers", "pass real and imaginary part: `tuple[float, float]`"),
    memoryview: ("it is a view of memory of this process", "pass bytes"),
    range: ("JSON has no ranges", "pass its bounds as int, or list(range)"),
    slice: ("JSON has no slices", "pass its bounds as int"),
    type: ("a class lives only in the code of this process", "pass its name as str"),
}


def reason_against(kind: Any) -> tuple[str, str]:
    """Return why a type cannot be passed, and the way out."""
    owner = get_origin(kind) or kind
    if isinstance(kind, TypeVar | ParamSpec):
        return "nothing says what the type variable stands for", "name the type, as in `Box[int]`"
    if isinstance(kind, str | ForwardRef):
        return "the name is not resolved", "define the type at module level"
    if owner is collections.abc.Callable:
        return "code cannot be written down", "pass data, and choose the function inside the step by name"
    if owner in _BY_KIND:
        return _BY_KIND[owner]
    if owner in _CONTAINERS:
        return "it would come back as a plain container", f"use `{_CONTAINERS[owner]}`"
    if owner in _LAZY:
        return "it can be something that is used up by reading it", "use `list`, `tuple` or `Sequence`"
    if owner in _WAITING:
        return "it lives only in this process", "await it first, and pass its result"
    if owner in _CODE:
        return "it lives only in this process", "pass data, and choose what to do with it inside the step"
    if isinstance(owner, type):
        if issubclass(owner, IO):
            return _MODULES["_io"]
        if issubclass(owner, BaseException):
            return "an exception is no data", "raise it, or pass str(error)"
        if "__dataclass_fields__" in dir(owner):
            return (
                "it is a subclass of a dataclass, but no dataclass of its own, or of a builtin as well",
                "decorate it with @dataclass, and derive it from dataclasses only",
            )
        known = _MODULES.get(owner.__module__.partition(".")[0])
        if known is not None:
            return known
    return (
        "nobody knows how to write it down and make it again",
        "use a dataclass, a msgspec.Struct, a pydantic model, or builtins; convert it inside the step",
    )
