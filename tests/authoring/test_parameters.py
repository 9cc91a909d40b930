"""The arguments of a call, by name: bound when it is made, whole when it is recorded."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.authoring.parameters import Parameters
from tenuto.errors import Invalid, InvalidInput


@dataclass
class Line:
    """An argument with fields."""

    sku: str
    tags: list[str] = field(default_factory=list)


def charge(order: Line, amount: int, /, *, currency: str = "EUR", day: datetime.date | None = None) -> None:
    """Positions, names and defaults."""


def ship(order: Line, to: str = "home", tags: list[str] = []) -> None:  # noqa: B006  # a default that could be changed
    """Either way."""


def untyped(one, two=2):  # type: ignore[no-untyped-def]
    """No annotations."""


def parameters(function: Callable[..., Any], skip: int = 0) -> Parameters:
    """Return a function's parameters, named as messages name them."""
    return Parameters(function, f"step `{function.__name__}`", skip)


def refusal(call: Callable[[], object]) -> tuple[str, str | None]:
    """Return what a call is refused with."""
    with pytest.raises(InvalidInput) as refused:
        call()
    return refused.value.message, refused.value.hint


@given(st.text(), st.integers(0, 9), st.text(), st.none() | st.dates(), st.booleans())
def test_what_is_called_is_what_was_asked_for(
    sku: str, amount: int, currency: str, day: datetime.date | None, given_all: bool
) -> None:
    """Through JSON and back, every argument is where it was."""
    known = parameters(charge)
    kwargs = {"currency": currency, "day": day} if given_all else {}
    data = msgspec.json.decode(msgspec.json.encode(known.encode((Line(sku), amount), kwargs)))

    assert jsonschema_rs.validator_for(known.schema()).is_valid(data)
    assert (
        (Line(sku), amount),
        {"currency": currency, "day": day} if given_all else {"currency": "EUR", "day": None},
    ) == known.decode(data)


def test_names_and_positions_are_recorded_alike() -> None:
    """A workflow may change from one to the other without changing its history."""
    known = parameters(ship)
    expected = {"order": {"sku": "a", "tags": []}, "to": "b", "tags": []}

    assert ("order", "to", "tags") == known.names
    assert expected == known.encode((Line("a"), "b"), {})
    assert expected == known.encode((), {"to": "b", "order": Line("a")})
    assert list(expected) == list(known.encode((), {"to": "b", "order": Line("a")}))


def test_defaults_are_recorded() -> None:
    """A later change of a default changes no recorded call, and no call changes a default."""
    known = parameters(ship)
    data = known.encode((Line("a"),), {})
    data["tags"].append("b")
    args, _ = known.decode({"order": {"sku": "a"}})
    args[2].append("c")

    assert "home" == data["to"]
    assert [] == known.encode((Line("a"),), {})["tags"]
    assert ((Line("a"), "home", []), {}) == known.decode({"order": {"sku": "a"}})


def test_the_first_parameters_can_be_skipped() -> None:
    """Such as `self`."""
    assert ("to", "tags") == parameters(ship, skip=1).names


def test_without_annotations_only_json_passes() -> None:
    """Everything else would come back as something else."""
    known = parameters(untyped)

    assert {"one": {"a": [1]}, "two": 2} == known.encode(({"a": [1]},), {})
    assert refusal(lambda: known.encode((Line("a"),), {})) == (
        "parameter `one` of step `untyped`: no type is declared, and a value of the type `Line` "
        "would come back as something else",
        "annotate it with its type; without one only None, bool, int, float, str, list and dict pass",
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "step `ship`: the argument `order` is missing"),
        ((), {"ordr": Line("a")}, "step `ship` has no parameter `ordr` (did you mean `order`?)"),
        ((Line("a"),), {"quickly": True}, "step `ship` has no parameter `quickly`"),
        ((Line("a"),), {"order": Line("b")}, "step `ship`: the argument `order` is given twice"),
        ((Line("a"), "b", [], 1), {}, "step `ship` takes at most 3 arguments by position, found 4"),
    ],
)
def test_a_wrong_call_is_refused_when_it_is_made(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    """One error that names the step, the argument and the nearest right word."""
    known = parameters(ship)

    assert (message, "its parameters are `order`, `to`, `tags`") == refusal(
        lambda: known.encode(args, kwargs)
    )


def test_a_positional_parameter_cannot_be_given_by_name() -> None:
    """As in any call."""
    message, _ = refusal(lambda: parameters(charge).encode((Line("a"),), {"amount": 1}))

    assert "step `charge`: the argument `amount` can be given by position only" == message


def test_an_argument_that_does_not_fit_is_named() -> None:
    """With the place inside it."""
    message, _ = refusal(lambda: parameters(ship).encode((Line("a", [1]),), {}))  # type: ignore[list-item]

    assert "parameter `order` of step `ship`, at `.tags[0]`: expected `str`, found an int" == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "step `ship`: expected an object with one member for each parameter, found a list"),
        (None, "step `ship`: expected an object with one member for each parameter, found None"),
        ({}, "step `ship`: the argument `order` is missing"),
        ({"order": {"sku": "a"}, "too": "b"}, "step `ship` has no parameter `too` (did you mean `to`?)"),
        ({"ordre": {"sku": "a"}}, "step `ship` has no parameter `ordre` (did you mean `order`?)"),
    ],
)
def test_data_that_is_no_call_is_refused(data: Any, message: str) -> None:
    """Input from outside is held to the same."""
    known = parameters(ship)

    assert (message, "its parameters are `order`, `to`, `tags`") == refusal(lambda: known.decode(data))


def test_parameters_without_a_name_of_their_own_are_refused() -> None:
    """What would they be called in the history?"""

    def many(*lines: Line) -> None: ...

    def named(**lines: Line) -> None: ...

    for function, stars in ((many, "*lines"), (named, "**lines")):
        with pytest.raises(Invalid) as refused:
            parameters(function)

        assert f"step `{function.__name__}`: `{stars}` has no one name" in refused.value.message
        assert "a list or a dict" in (refused.value.hint or "")


def test_a_default_must_fit_its_annotation() -> None:
    """It is recorded like any other argument."""

    def late(day: datetime.date = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    with pytest.raises(Invalid) as refused:
        parameters(late)

    assert (
        "the default of parameter `day` of step `late`: expected `date`, found None" == refused.value.message
    )
    assert "annotate it with `| None`" == refused.value.hint


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    """At declaration, not in the middle of a run."""

    def lost(line: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Invalid, match="step `lost`: the annotation names `Missing`"):
        parameters(lost)


def test_a_type_that_cannot_pass_is_refused_with_its_parameter() -> None:
    """The function's declaration fails, not its first call."""

    def apply(function: Callable[[], int]) -> None: ...

    with pytest.raises(Invalid, match="parameter `function` of step `apply`: `Callable"):
        parameters(apply)


def test_the_schema_says_what_must_be_given() -> None:
    """For forms and docs."""
    assert {
        "type": "object",
        "properties": {
            "order": {"$ref": "#/$defs/Line"},
            "to": {"type": "string", "default": "home"},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["order"],
        "additionalProperties": False,
        "$defs": {
            "Line": {
                "title": "Line",
                "type": "object",
                "properties": {
                    "sku": {"type": "string"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["sku"],
                "additionalProperties": False,
            }
        },
    } == parameters(ship).schema()
