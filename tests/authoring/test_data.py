"""What crosses the journal comes back as it was, or is refused before it is recorded."""

from __future__ import annotations

import datetime
import enum
import itertools
import re
import typing
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field, make_dataclass
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    NotRequired,
    Optional,
    TextIO,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import jsonschema_rs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto.authoring.data import DEEPEST, Codec
from tenuto.errors import Invalid, InvalidInput

T = TypeVar("T")
OrderId = NewType("OrderId", str)
Alias: TypeAlias = dict[str, list[int]]


class Color(enum.Enum):
    """Values that are text."""

    RED = "red"
    GREEN = "green"


class Size(enum.IntEnum):
    """Values that are numbers."""

    SMALL = 1
    LARGE = 2


class Shape(enum.Enum):
    """Values that are neither."""

    POINT = (0, 0)
    LINE = (0, 1)


class Rights(enum.Flag):
    """Values that add up."""

    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Line:
    """Frozen, so it can be in a set."""

    sku: str
    count: int = 1


@dataclass(frozen=True)
class Discounted(Line):
    """A subclass with a field more."""

    percent: float = 0.0


@dataclass
class Order:
    """Of many types."""

    id: UUID
    lines: list[Line]
    total: Decimal
    color: Color | None = None
    by: dict[datetime.date, set[str]] = field(default_factory=dict)


@dataclass
class Tree:
    """Contains itself in a list."""

    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Chain:
    """Contains itself."""

    next: Chain | None = None


@dataclass
class Box(Generic[T]):
    """Of anything."""

    content: T


@dataclass
class LabelledBox(Box[list[T]], Generic[T]):
    """Gives its base another type than its own."""

    label: str


@dataclass
class Computed:
    """Has a field that is computed."""

    width: int
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = self.width**2


@dataclass
class Counting:
    """Changes each time it is made."""

    count: int

    def __post_init__(self) -> None:
        self.count += 1


@dataclass
class Positive:
    """Refuses some values."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError("must be positive")


@dataclass
class Nested:
    """Contains what changes."""

    inner: Counting


@dataclass
class Scaled:
    """Takes what it does not keep."""

    value: int
    scale: InitVar[int]


class Undecorated(Line):
    """Derived, but no dataclass."""


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int = 0


class Movie(TypedDict):
    """A dict with known keys."""

    title: str
    year: NotRequired[int]


class Circle(msgspec.Struct, tag="circle"):
    """Tagged."""

    radius: float


class Square(msgspec.Struct, tag="square"):
    """Tagged, with a member that may be missing."""

    side: float
    depth: int | msgspec.UnsetType = msgspec.UNSET


class Renamed(msgspec.Struct, rename="camel"):
    """Has other names in JSON."""

    first_name: str
    born: datetime.date | None = None


@attrs.frozen
class Parcel:
    """An attrs class with a private field."""

    weight: float
    _secret: str = "x"
    tags: list[str] = attrs.field(factory=list)


class Address(pydantic.BaseModel):
    """Has an alias."""

    street: str
    zip_code: Annotated[str, pydantic.Field(alias="zip")]


class Customer(pydantic.BaseModel):
    """Of many types."""

    name: str
    born: datetime.date
    addresses: list[Address] = []
    balance: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()


class VipCustomer(Customer):
    """A subclass with a field more."""

    level: int


class StrictMoment(pydantic.BaseModel, strict=True):
    """Takes text for a date in JSON only."""

    at: datetime.datetime
    pair: tuple[int, str]


class Loose(pydantic.BaseModel):
    """Loses the type of what it holds."""

    anything: Any


class Hiding(pydantic.BaseModel):
    """Does not dump everything."""

    shown: int
    hidden: int = pydantic.Field(default=0, exclude=True)


class Ring(pydantic.BaseModel):
    """Can contain itself."""

    parts: list[Ring] = []


class Blob(pydantic.BaseModel):
    """Bytes that pydantic takes for text."""

    content: bytes


class Names(pydantic.RootModel[list[str]]):
    """A model that is no object."""


Untyped = namedtuple("Untyped", "a b")  # named tuples without types exist too


def crossed(kind: Any, value: Any) -> Any:
    """Return a value after its way through the journal."""
    codec: Codec[Any] = Codec(kind, "the value")
    written = codec.encode(value)
    assert jsonschema_rs.validator_for(codec.schema()).is_valid(written)
    return codec.decode(msgspec.json.decode(msgspec.json.encode(written)))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return {(type(item), item) for item in one} == {(type(item), item) for item in other}
    if isinstance(one, dict):
        return list(map(type, one)) == list(map(type, other)) and all(
            key in other and same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if isinstance(one, datetime.datetime | datetime.time):
        return one == other and one.isoformat() == other.isoformat() and one.fold == other.fold
    if hasattr(one, "__dataclass_fields__"):
        return same(vars(one), vars(other))
    return bool(one == other)


# ── the law: generated types, generated values ───────────────────────────────────────────

Pair: TypeAlias = tuple[Any, st.SearchStrategy[Any]]
OFFSETS = st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)).map(
    lambda offset: datetime.timezone(datetime.timedelta(seconds=offset.total_seconds() // 1))
)
ZONES = st.none() | st.just(datetime.UTC) | OFFSETS
HASHABLE: list[Pair] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, st.integers(-(2**63), 2**64 - 1)),
    (str, st.text()),
    (bytes, st.binary()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (datetime.datetime, st.datetimes(timezones=ZONES)),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (datetime.timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Shape, st.sampled_from(Shape)),
    (Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
    (OrderId, st.text()),
    (Line, st.builds(Line, st.text(), st.integers(0, 9))),
    (Point, st.builds(Point, st.integers(0, 9), st.integers(0, 9))),
]
KEYS = [pair for pair in HASHABLE if pair[0] in (int, str, datetime.date, UUID, Color, Size, Shape, bytes)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
LEAVES: list[Pair] = [
    *HASHABLE,
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bytearray, st.binary().map(bytearray)),
    (Any, JSON),
    (Movie, st.fixed_dictionaries({"title": st.text()}, optional={"year": st.integers(0, 9)})),
    (Circle, st.builds(Circle, st.floats(0, 9))),
    (Square, st.builds(Square, st.floats(0, 9), st.integers(0, 9) | st.just(msgspec.UNSET))),
    (Parcel, st.builds(Parcel, st.floats(0, 9), st.text(), st.lists(st.text(), max_size=2))),
    (Computed, st.builds(Computed, st.integers(0, 9))),
    (
        Customer,
        st.builds(
            Customer, name=st.text(), born=st.dates(), addresses=st.just([]), balance=st.just(Decimal("1.50")),
            tags=st.frozensets(st.text(), max_size=3),
        ),
    ),
]  # fmt: skip
NUMBER = itertools.count()


def spoken(kind: Any) -> str:
    """Return how a member of a union is called: those that are called the same cannot be told apart."""
    text = repr(kind).replace("typing.", "collections.abc.")
    for abstract, concrete in (("Mapping", "dict"), ("Sequence", "list"), ("Set", "set")):
        text = text.replace(f"collections.abc.{abstract}[", f"{concrete}[")
    return text


def extended(pairs: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """Return types made of other types, with their values."""

    def listed(pair: Pair) -> list[Pair]:
        kind, values = pair
        some = st.lists(values, max_size=3)
        return [
            (list[kind], some),
            (tuple[kind, ...], some.map(tuple)),
            (Sequence[kind], some | some.map(tuple)),
            (Optional[kind], st.none() | values),  # noqa: UP045  # kind may be None itself
            (dict[str, kind], st.dictionaries(st.text(), values, max_size=3)),
            (Mapping[str, kind], st.dictionaries(st.text(), values, max_size=3)),
            (Box[kind], values.map(Box)),
        ]

    def joined(members: list[Pair]) -> list[Pair]:
        made = make_dataclass(
            f"Made{next(NUMBER)}", [(f"field{index}", kind) for index, (kind, _) in enumerate(members)]
        )
        kinds = tuple(kind for kind, _ in members)
        union = (Union[kinds], st.one_of([values for _, values in members]))  # noqa: UP007  # made from a list
        return [
            *([union] if len(set(map(spoken, kinds))) == len(set(kinds)) else []),
            (tuple[kinds], st.tuples(*[values for _, values in members])),
            (made, st.builds(made, *[values for _, values in members])),
        ]

    one = pairs.flatmap(lambda pair: st.sampled_from(listed(pair)))
    several = st.lists(pairs, min_size=2, max_size=3).flatmap(lambda some: st.sampled_from(joined(some)))
    return one | several


def in_sets(pair: Pair) -> list[Pair]:
    """Return sets and dicts of hashable things."""
    kind, values = pair
    return [
        (set[kind], st.sets(values, max_size=3)),
        (frozenset[kind], st.frozensets(values, max_size=3)),
        (AbstractSet[kind], st.sets(values, max_size=3) | st.frozensets(values, max_size=3)),
    ]


def in_keys(pair: Pair) -> Pair:
    """Return dicts with such keys."""
    kind, values = pair
    return dict[kind, int], st.dictionaries(values, st.integers(0, 9), max_size=3)


def can_be_declared(pair: Pair) -> bool:
    """Whether its type has a codec: one type in two spellings, as `dict | Mapping`, makes no union."""
    try:
        Codec(pair[0], "the value")
    except Invalid as refusal:
        if "two of its members are called" not in refusal.message:
            raise
        return False
    return True


SETS = st.sampled_from([made for pair in HASHABLE for made in in_sets(pair)])
DICTS = st.sampled_from([in_keys(pair) for pair in KEYS])
PAIRS = st.recursive(st.sampled_from(LEAVES) | SETS | DICTS, extended, max_leaves=5).filter(can_be_declared)

# On a fresh machine Hypothesis makes a table of all characters first, which may take more than a second.
patient = settings(suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.data())
def test_what_comes_back_is_what_was_sent(data: st.DataObject) -> None:
    """For every type that may be declared and every value of it: equal, and of the same types."""
    kind, values = data.draw(PAIRS)
    value = data.draw(values)

    assert same(value, crossed(kind, value))


@patient
@given(st.data())
def test_the_same_value_is_written_alike_whatever_the_order_of_its_sets(data: st.DataObject) -> None:
    """Replayed arguments are compared with recorded ones, in processes that hash differently."""
    words = data.draw(st.lists(st.text(), unique=True, min_size=2))
    turned = data.draw(st.permutations(words))
    codec: Codec[set[str]] = Codec(set[str], "the value")

    assert (
        codec.encode(set(words))
        == codec.encode(set(turned))
        == sorted(words, key=lambda word: msgspec.json.encode(word))
    )


@patient
@given(st.data())
def test_decoding_never_fails_but_with_one_clear_error(data: st.DataObject) -> None:
    """Whatever JSON is given for whatever type: a value, or InvalidInput with a hint."""
    kind, _ = data.draw(PAIRS)
    codec: Codec[Any] = Codec(kind, "the value")
    complaint = None
    try:
        codec.decode(data.draw(JSON))
    except InvalidInput as error:
        complaint = error

    assert complaint is None or (complaint.message.startswith("the value") and complaint.hint)


# ── how it is written ────────────────────────────────────────────────────────────────────

WRITTEN: list[tuple[Any, Any, Any]] = [
    (str | None, "a", "a"),
    (str | int, "a", "a"),
    (int | float, 1, 1),
    (int | float, 1.0, 1.0),
    (bool | int, True, True),
    (str | datetime.date, "a", {"type": "str", "value": "a"}),
    (str | datetime.date | None, datetime.date(2026, 2, 28), {"type": "date", "value": "2026-02-28"}),
    (bytes | str, b"a", {"type": "bytes", "value": "YQ=="}),
    (int | Size, Size.LARGE, {"type": "Size", "value": 2}),
    (Line | Point, Point(1), {"type": "Point", "value": {"x": 1, "y": 0}}),
    (Line | Circle | None, None, None),
    (Circle | Square, Square(2.0), {"type": "square", "side": 2.0}),
    (Circle | Square | Line, Circle(2.0), {"type": "Circle", "value": {"type": "circle", "radius": 2.0}}),
    (Names | list[str], ["a"], {"type": "list[str]", "value": ["a"]}),
    (dict[str, Any] | Customer, {"a": 1}, {"type": "dict[str, Any]", "value": {"a": 1}}),
    (list[int] | list[str], ["a"], {"type": "list[str]", "value": ["a"]}),
    (list[int] | tuple[int, ...], (1,), {"type": "tuple[int, ...]", "value": [1]}),
    (Sequence[int], [1], [1]),
    (Sequence[int], (1,), {"type": "tuple", "value": [1]}),
    (dict[int, str], {1: "a"}, {"1": "a"}),
    (dict[Size, str], {Size.LARGE: "a"}, {"2": "a"}),
    (Shape, Shape.LINE, "LINE"),
    (Color, Color.RED, "red"),
    (Rights, Rights.READ | Rights.WRITE, 3),
    (Renamed, Renamed("a"), {"firstName": "a", "born": None}),
    (Parcel, Parcel(1.0), {"weight": 1.0, "_secret": "x", "tags": []}),
    (Computed, Computed(3), {"width": 3, "area": 9}),
    (Point, Point(1), {"x": 1, "y": 0}),
    (Untyped, Untyped(1, "b"), {"a": 1, "b": "b"}),
    (Address, Address(street="a", zip="b"), {"street": "a", "zip": "b"}),
    (StrictMoment, StrictMoment(at=datetime.datetime(2026, 1, 1), pair=(1, "a")),
     {"at": "2026-01-01T00:00:00", "pair": [1, "a"]}),
    (Box[int], Box(1), {"content": 1}),
    (LabelledBox[int], LabelledBox([1], "b"), {"content": [1], "label": "b"}),
    (Tree, Tree(1, [Tree(2)]), {"value": 1, "children": [{"value": 2, "children": []}]}),
    (Alias, {"a": [1]}, {"a": [1]}),
    (Annotated[int, "anything"], 1, 1),
    (Annotated[str, msgspec.Meta(max_length=3)] | None, "abc", "abc"),
    (Decimal, Decimal("1.500"), "1.500"),
    (datetime.timedelta, datetime.timedelta(seconds=90), "PT90S"),
    (object, {"a": [None]}, {"a": [None]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "written"), WRITTEN)
def test_values_are_written_plainly_unless_that_is_ambiguous(kind: Any, value: Any, written: Any) -> None:
    """A member of a union is wrapped only if its kind of JSON value is not its alone."""
    assert written == Codec(kind, "the value").encode(value)
    assert same(value, crossed(kind, value))


def test_an_int_where_a_float_is_declared_arrives_as_that_float() -> None:
    """Type checkers let it pass, so it passes, exactly."""
    assert same(2.0, crossed(float, 2))
    assert same([2.0], crossed(list[float | None], [2]))
    assert same(3, Codec(int, "the value").decode(3.0))


def test_fixed_offsets_of_any_make_pass() -> None:
    """Pydantic has offsets of its own; they arrive as the standard library's."""
    moment = pydantic.TypeAdapter(datetime.datetime).validate_python("2026-01-01T00:00:00+02:00")

    assert moment == crossed(datetime.datetime, moment)
    assert type(moment.tzinfo) is not datetime.timezone


def test_what_is_encoded_shares_nothing_with_the_value() -> None:
    """A later change of the value changes no record, nor the other way round."""
    value: dict[str, Any] = {"a": [1]}
    codec: Codec[Any] = Codec(Any, "the value")
    written = codec.encode(value)
    read = codec.decode(written)
    value["a"].append(2)
    read["a"].append(3)

    assert {"a": [1]} == written


def test_defaults_are_written_and_may_be_left_out_of_what_people_give() -> None:
    """A later change of a default changes no recorded value."""
    codec: Codec[Line] = Codec(Line, "the value")

    assert {"sku": "a", "count": 1} == codec.encode(Line("a"))
    assert Line("a") == codec.decode({"sku": "a"})


# ── what is refused when it is declared ──────────────────────────────────────────────────

UNDECLARABLE: list[tuple[Any, str, str]] = [
    (Callable[[int], int], "code cannot be written down", "by name"),
    (list[Callable[..., int]], r"in `list\[Callable\[..., int\]\]`", "by name"),
    (type(lambda: 1), "lives only in this process", "pass data"),
    (TextIO, "open file", "path as str"),
    (complex, "no complex numbers", "tuple"),
    (Path, "only on one machine", "as str"),
    (Iterator[int], "used up", "list"),
    (Iterable[int], "used up", "list"),
    (Generator[int, None, None], "used up", "list"),
    (AsyncIterator[int], "used up", "list"),
    (Awaitable[int], "only in this process", "await it"),
    (range, "no ranges", "list"),
    (memoryview, "view of memory", "bytes"),
    (type[int], "only in the code", "name"),
    (re.Pattern[str], "no data", "str"),
    (ValueError, "an exception", "str"),
    (deque[int], "plain container", "list"),
    (OrderedDict[str, int], "plain container", "dict"),
    (defaultdict[str, int], "plain container", "dict"),
    (T, "type variable", "Box"),
    (Box, "`T` in the field `content` of `Box`", "Box"),
    (type(typing), "only in this process", "pass data"),
    (st.SearchStrategy, "nobody knows", "dataclass"),
    (set[dict[str, int]], "cannot be in a set", "frozen"),
    (set[Order], "`Order` cannot be in a set", "frozen"),
    (dict[list[int], int], "cannot be in a dict key", "frozen"),
    (dict[tuple[int, int], str], "no one way to be text", "list"),
    (dict[str | int, str], "no one way to be text", "list"),
    (Scaled, "takes something else", "InitVar"),
    (Undecorated, "no dataclass of its own", "@dataclass"),
    (Literal["red", Color.RED], "written alike", "Enum"),
    (Literal[b"a"], "literal bytes", "Enum"),
    (tuple[int, *tuple[str, ...]], "no fixed length", "tuple of its own"),
    (Annotated[int, msgspec.Meta(max_length=3)], "bounds do not fit", "mend"),
    ("Missing", "not resolved", "module level"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "hint"), UNDECLARABLE)
def test_types_that_cannot_pass_are_refused_at_declaration(kind: Any, message: str, hint: str) -> None:
    """One error that names where, what was found and the way out."""
    with pytest.raises(Invalid, match=message) as refused:
        Codec(kind, "parameter `x` of step `f`")

    assert refused.value.message.startswith("parameter `x` of step `f`: ")
    assert hint in (refused.value.hint or "")


def test_a_name_that_is_not_known_is_named() -> None:
    """Annotations are read where the class stands, not where it is used."""

    @dataclass
    class Local:
        other: Elsewhere  # noqa: F821  # the point of the test

    with pytest.raises(Invalid, match="names `Elsewhere`") as refused:
        Codec(Local, "the value")

    assert "module level" in (refused.value.hint or "")


def test_two_classes_of_one_name_are_told_apart() -> None:
    """By their modules; where even those are the same, the union is refused."""
    one, other, third = (make_dataclass("Twin", [("a", int)]) for _ in range(3))
    one.__module__, other.__module__, third.__module__ = "one", "other", "other"
    codec: Codec[Any] = Codec(one | other, "the value")

    assert {"type": "other.Twin", "value": {"a": 1}} == codec.encode(other(1))
    assert other(1) == codec.decode(codec.encode(other(1)))
    with pytest.raises(Invalid, match="two of its members are called"):
        Codec(one | other | third, "the value")


# ── what is refused when it is sent ──────────────────────────────────────────────────────

UNFIT: list[tuple[Any, Any, str, str]] = [
    (int, "3", ": expected `int`, found a str", "declare"),
    (int, True, ": expected exactly `int`, found a bool, which is a subclass", "plain int"),
    (int, Size.LARGE, ": expected exactly `int`, found a value of the type `Size`", "int | Size"),
    (str, Color.RED, "found a value of the type `Color`", "declare"),
    (int, 2**64, "more than 64 bits", "Decimal"),
    (int, -(2**63) - 1, "more than 64 bits", "Decimal"),
    (float, float("nan"), "the float is nan", "None"),
    (float, float("-inf"), "the float is -inf", "None"),
    (float, 2**60 + 1, "too large to be a float", "int"),
    (str, "a\ud800", "lone surrogate at index 1", "bytes"),
    (Any, "\udfff", "lone surrogate at index 0", "bytes"),
    (Decimal, Decimal("NaN"), "not a number", "None"),
    (datetime.datetime, datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), "Europe/Berlin", "utc"),
    (datetime.date, datetime.datetime(2026, 1, 1), "exactly `date`, found a datetime", "date | datetime"),
    (Any, (1, 2), "no type is declared, and a tuple", "annotate it"),
    (Any, {"a": [Line("a")]}, r"at `\['a'\]\[0\]`: no type is declared", "annotate it"),
    (Any, {1: "a"}, "a dict key that is an int", "dict[int, str]"),
    (dict, {1: "a"}, "key's type is not declared", "dict[int, str]"),
    (dict[int, str], {"a": "b"}, r"at `\['a'\] \(a key\)`: expected `int`, found a str", "declare"),
    (Line, Discounted("a"), "exactly `Line`, found a value of the type `Discounted`", "Line | Discounted"),
    (Line | None, Discounted("a"), "exactly `Line`", "Line | Discounted"),
    (Line | Point, Discounted("a"), "expected one of `Line`, `Point`", "| Discounted"),
    (list[Line], [Line("a"), Line("b", "3")], r"at `\[1\].count`: expected `int`, found a str", "declare"),  # type: ignore[arg-type]
    (tuple[int, str], (1,), "has 2 items, found 1", "declare"),
    (tuple[int, str], (1, 2), r"at `\[1\]`: expected `str`", "declare"),
    (Literal["a", "b"], "c", "expected one of `a`, `b`", "declare"),
    (Movie, {"titel": "a"}, r"no member `titel` \(did you mean `title`\?\)", "`title`, `year`"),
    (Movie, {"year": 1}, "`title` of `Movie` is missing", "title"),
    (list[int], (1,), r"expected `list\[int\]`, found a tuple", "declare"),
    (Counting, Counting(1), "`.count` changes when it is made again", "__post_init__"),
    (Nested, Nested(Counting(1)), "`.inner.count` changes when it is made again", "__post_init__"),
    (Loose, Loose(anything=(1, 2)), "read back, it is another value", "declare"),
    (Loose, Loose(anything=object()), "could not be dumped", "declare"),
    (Blob, Blob(content=b"\xff"), "could not be dumped", "base64"),
    (Hiding, Hiding(shown=1, hidden=2), "read back, it is another value", "excluded"),
    (Customer, VipCustomer(name="a", born=datetime.date(2026, 1, 1), level=1), "exactly `Customer`", "VipCustomer"),
    (Annotated[int, msgspec.Meta(gt=0)], 0, "constraint is broken", "bounds"),
    (Annotated[list[int], msgspec.Meta(max_length=1)], [1, 2], "constraint is broken", "bounds"),
    (None, 1, "expected `None`, found an int", "declare"),
    (NoReturn, 1, "nothing can be passed", "declare"),
    (Circle | Square, Line("a"), "expected one of `Circle`, `Square`", "declare"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "message", "hint"), UNFIT)
def test_values_that_would_come_back_changed_are_refused(
    kind: Any, value: Any, message: str, hint: str
) -> None:
    """One error that names where, the place inside, what was expected and the way out."""
    codec: Codec[Any] = Codec(kind, "parameter `x` of step `f`")

    with pytest.raises(InvalidInput, match=message) as refused:
        codec.encode(value)

    assert refused.value.message.startswith("parameter `x` of step `f`")
    assert hint in (refused.value.hint or "")


MISREAD: list[tuple[Any, Any, str, str]] = [
    (int, "3", "expected `int`, found a str", "older code"),
    (int, 3.5, "expected `int`, found a float", "older code"),
    (datetime.date, "28.2.2026", 'expected `date` as text like "2026-02-28"', "2026-02-28"),
    (Decimal, "NaN", "expected `Decimal` as text", "12.50"),
    (bytes, "a*b", "expected `bytes` as text", "aGVsbG8="),
    (UUID, 3, "`UUID`, as text like", "older code"),
    (Line, {"skuu": "a"}, r"no member `skuu` \(did you mean `sku`\?\)", "`sku`, `count`"),
    (Line, {"sku": "a", "cuont": 2}, r"no member `cuont` \(did you mean `count`\?\)", "`sku`, `count`"),
    (Line, {}, "the member `sku` of `Line` is missing", "give `sku`"),
    (Line, [], "`Line`, as an object with the members `sku`, `count`, found a list", "older code"),
    (list[Line], [{"sku": 1}], r"at `\[0\].sku`: expected `str`", "older code"),
    (Positive, {"value": 0}, "refused its fields: ValueError: must be positive", "older code"),
    (Color, "reed", r"one of `red`, `green`, found another str \(did you mean `red`\?\)", "older code"),
    (Size, True, "one of `1`, `2`, found another bool", "older code"),
    (Rights, 64, "the sum of its members' values", "older code"),
    (str | datetime.date, "a", "found a JSON value of the kind string", '"type": ...'),
    (str | datetime.date, {"type": "string", "value": "a"}, r"did you mean `str`\?", "type is one of"),
    (Circle | Square, {"type": "triangle"}, "told apart by the member `type`", "`circle`, `square`"),
    (Circle, {"type": "square", "radius": 1.0}, "whose member `type` is 'circle'", "older code"),
    (dict[int, str], {"01": "a"}, "a key", "older code"),
    (set[Any], [[1]], "members that a set cannot hold", "older code"),
    (Customer, {"name": "a"}, "expected `Customer`: at `born`: Field required", "older code"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "message", "hint"), MISREAD)
def test_data_that_does_not_fit_is_refused(kind: Any, data: Any, message: str, hint: str) -> None:
    """The same when JSON comes from outside."""
    codec: Codec[Any] = Codec(kind, "the input")

    with pytest.raises(InvalidInput, match=message) as refused:
        codec.decode(data)

    assert refused.value.message.startswith("the input")
    assert hint in (refused.value.hint or "")


# ── depth ────────────────────────────────────────────────────────────────────────────────


def nested(levels: int) -> Any:
    """Return so many lists in each other."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def chained(levels: int) -> Chain:
    """Return so many links."""
    chain = Chain()
    for _ in range(levels - 1):
        chain = Chain(chain)
    return chain


def test_depth_has_one_limit_wherever_it_is_met() -> None:
    """Not what the stack happens to leave, so that replay decides as the first time did."""
    assert nested(DEEPEST) == crossed(Any, nested(DEEPEST))
    assert chained(DEEPEST) == crossed(Chain, chained(DEEPEST))
    for kind, deep in ((Any, nested), (Chain, chained)):
        for levels in (DEEPEST + 1, 100_000 if kind is Any else 500):
            with pytest.raises(InvalidInput, match=f"more than {DEEPEST} levels"):
                Codec(kind, "the value").encode(deep(levels))
    with pytest.raises(InvalidInput, match=f"more than {DEEPEST} levels"):
        Codec(Any, "the value").decode(nested(DEEPEST + 1))


def test_circles_are_named_as_such() -> None:
    """JSON cannot say them."""
    circle: list[Any] = []
    circle.append({"again": circle})
    tree = Tree(1)
    tree.children.append(Tree(2, [tree]))

    with pytest.raises(InvalidInput, match="the list contains itself") as refused:
        Codec(Any, "the value").encode(circle)
    ring = Ring()
    ring.parts.append(Ring(parts=[Ring.model_construct(parts=ring.parts)]))
    with pytest.raises(InvalidInput, match="the Ring contains itself"):
        Codec(Ring, "the value").encode(ring)
    with pytest.raises(InvalidInput, match="the Tree contains itself"):
        Codec(Tree, "the value").encode(tree)

    assert "by id" in (refused.value.hint or "")


def test_a_value_may_be_there_twice() -> None:
    """Only circles are refused, not what is shared."""
    line = [1]

    assert [[1], [1]] == crossed(Any, [line, line])


# ── schema ───────────────────────────────────────────────────────────────────────────────


def test_the_schema_says_what_is_written() -> None:
    """Classes stand under $defs once, also those that contain themselves."""
    assert {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "title": "Tree",
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        },
    } == Codec(Tree, "the value").schema()


def test_the_schema_of_models_is_theirs() -> None:
    """References inside it still lead somewhere."""
    schema = Codec(Customer | None, "the value").schema()

    assert {"Customer", "Customer.Address"} == set(schema["$defs"])
    assert jsonschema_rs.validator_for(schema).is_valid(
        {"name": "a", "born": "2026-01-01", "addresses": [{"street": "a", "zip": "b"}]}
    )
