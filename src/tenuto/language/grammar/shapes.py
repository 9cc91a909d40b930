"""The few kinds of shapes that the language's grammar is written with.

A shape looks at one value and tells the walk what is wrong with it. Each mistake is told
once: what is misspelt is not also missing, and nothing inside a value of the wrong kind is
looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.expressions import is_expression
from tenuto.language.grammar.walk import (
    At,
    Expression,
    Reference,
    Shape,
    TaskList,
    Walk,
    label,
    listed,
    meant,
    nearest,
    shown,
)

# An unknown property of an object that the standard leaves open is a mistake only if it is
# very close to a known one; `x-owner` is not.
CUTOFF: Final = 0.6
OPEN_CUTOFF: Final = 0.75


class Choice(msgspec.Struct, frozen=True):
    """Properties that exclude each other; one of them must be there if `required`."""

    names: tuple[str, ...]
    required: bool = True


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping with known properties.

    `anchor` is the heading of the language reference that explains it. `open` means that the
    standard admits further properties here. `synonyms` maps words that people write to the
    property that they mean; a property in `needs` has to come with another one. With
    `extra`, further properties are data of that shape.
    """

    title: str
    anchor: str
    shapes: Mapping[str, Shape]
    required: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    open: bool = False
    at_least: int = 0
    synonyms: Mapping[str, str] = {}
    needs: Mapping[str, str] = {}
    extra: Shape | None = None

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check the properties, then each value."""
        before, walk.anchor = walk.anchor, self.anchor
        walk.outer.append(self.shapes)
        if isinstance(value, dict):
            settled = self._check_names(value, at, walk)
            for name, part in value.items():
                shape = self.shapes.get(name, self.extra)
                if shape is not None and not (part is None and name in settled):
                    shape.check(part, (*at, name), walk)
        else:
            names = listed(self.required or tuple(self.shapes)[:4], "and")
            hint = (
                f"Indent its properties ({names}) below it."
                if value is None
                else f"Its properties are {names}."
            )
            walk.wrong_type(at, "a mapping", value, hint)
        walk.outer.pop()
        walk.anchor = before

    def _check_names(self, value: dict[str, Json], at: At, walk: Walk) -> set[str]:
        """Report unknown and missing properties; return the names about which all is said."""
        missing = [name for name in self.required if name not in value]
        unknown = [name for name in value if name not in self.shapes]
        settled = self._misplaced(unknown, value, at, walk)
        for name in unknown:
            settled |= self._unknown(name, value, missing, at, walk)
        if not self.open and not self.extra and len(unknown) == 1 == len(missing):
            settled.update(missing)
        for name in missing:
            if name not in settled:
                walk.error(
                    "missing-property", at, f"{self._name(at)} needs `{name}`.", f"Add `{name}:`.", key=True
                )
        for choice in self.choices:
            self._check_choice(choice, value, settled, at, walk)
        for name, other in self.needs.items():
            if name in value and other not in value and other not in settled:
                walk.error(
                    "missing-property",
                    (*at, name),
                    f"`{name}` needs `{other}`.",
                    f"Add `{other}:`.",
                    key=True,
                )
        if len(value) < self.at_least:
            hint = f"Add {listed(self.shapes)}."
            walk.error("empty-value", at, f"{self._name(at)} must not be empty.", hint, key=True)
        return settled

    def _name(self, at: At) -> str:
        return f"{label(at)} ({self.title})" if at else "The document"

    def _misplaced(self, unknown: list[str], value: dict[str, Json], at: At, walk: Walk) -> set[str]:
        """Report properties that stand beside the one they belong into; take them off the list."""
        for child, shape in self.shapes.items():
            if not isinstance(shape, Fields) or (value.get(child) is not None and child in value):
                continue
            inside = [name for name in unknown if name in shape.shapes]
            if inside:
                verb = "is a property" if len(inside) == 1 else "are properties"
                message = f"{listed(inside, 'and')} {verb} of `{child}`, not of {self.title}."
                hint = f"Write `{child}:` and indent what belongs to it below."
                walk.error("unknown-property", (*at, inside[0]), message, hint, key=True)
                unknown[:] = [name for name in unknown if name not in inside]
                return {child}
        return set()

    def _unknown(self, name: str, value: dict[str, Json], missing: list[str], at: At, walk: Walk) -> set[str]:
        """Report a property that is not known; return the names that it may have been meant for."""
        here = (*at, name)
        message = f"`{name}` is not a property of {self.title}."
        guess = self._guess(name, value, missing)
        if self.extra is not None and guess not in missing:
            if guess is not None:
                hint = f"Did you mean `{guess}`?"
                walk.warn(
                    "extension-attribute",
                    here,
                    f"`{name}` is taken as an attribute of your own.",
                    hint,
                    key=True,
                )
            return set()
        if guess is not None:
            hint = f"Did you mean `{guess}`?"
        elif self.open:
            walk.warn("ignored-property", here, f"`{name}` means nothing here and is ignored.", key=True)
            return set()
        elif any(name in shapes for shapes in walk.outer[:-1]):
            hint = "It belongs further out: check the indentation."
        else:
            if len(missing) == 1:
                message += f" `{missing[0]}` is missing."
            hint = f"Known are {listed(self.shapes, 'and')}."
        walk.damaged.add(at)
        walk.error("unknown-property", here, message, hint, key=True)
        if guess is None:
            return set()
        if guess not in self.shapes:
            return {*self.required, *(other for choice in self.choices for other in choice.names)}
        return {guess, *(other for choice in self.choices if guess in choice.names for other in choice.names)}

    def _guess(self, name: str, value: dict[str, Json], missing: list[str]) -> str | None:
        cutoff = OPEN_CUTOFF if self.open or self.extra else CUTOFF
        absent = [known for known in self.shapes if known not in value and known not in missing]
        guess = nearest(name, [*missing, *absent, *self.synonyms], cutoff=cutoff)
        return None if guess is None else guess if guess in self.shapes else self.synonyms[guess]

    def _check_choice(
        self, choice: Choice, value: dict[str, Json], settled: set[str], at: At, walk: Walk
    ) -> None:
        present = [name for name in value if name in choice.names]
        if len(present) > 1:
            message = f"`{present[0]}` and `{present[1]}` exclude each other."
            hint = f"Keep one of {listed(choice.names, 'and')}."
            walk.error("exclusive-properties", (*at, present[1]), message, hint, key=True)
        elif choice.required and not present and not settled & set(choice.names):
            names = listed(choice.names)
            walk.error(
                "missing-property", at, f"{self._name(at)} needs {names}.", "Add one of them.", key=True
            )


class Form(msgspec.Struct, frozen=True):
    """What text has to look like: in words, and as a pattern that has to match all of it."""

    expected: str
    pattern: re.Pattern[str]
    code: str
    hint: str = ""

    def check(self, value: str, at: At, walk: Walk) -> bool:
        """Return whether the text has the form; report it if not."""
        if self.pattern.fullmatch(value):
            return True
        hint = self.hint
        if value.lstrip().startswith("${"):
            hint = "An expression cannot stand here, or it is not closed with `}`."
        elif value != value.strip():
            hint = "Remove the spaces around it."
        walk.error(self.code, at, f"{label(at)} must be {self.expected}, but it is {shown(value)}.", hint)
        return False


class Text(msgspec.Struct, frozen=True):
    """Text that is evaluated: `${ ... }` as a whole is an expression; anything else has the form.

    With `shell_text` it may hold `${NAME}`, which is the shell's. `note` has the text looked up later.
    """

    form: Form | None = None
    shell_text: bool = False
    note: str = ""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is text, and note the expression in it."""
        if not isinstance(value, str):
            wrong_text(self.form, value, at, walk)
        elif self.form is None:
            note_text(value, at, walk, shell_text=self.shell_text)
        elif is_expression(value):
            walk.expressions.append(Expression(at, value, walk.anchor))
        elif self.form.check(value, at, walk) and self.note:
            walk.note(at, self.note, value)


class Word(msgspec.Struct, frozen=True):
    """Text that is taken as it stands, and looked up later if it has a `note` or a `section` of `use`.

    With `binds`, it is the name of a variable that expressions may use.
    """

    form: Form | None = None
    note: str = ""
    section: str = ""
    binds: bool = False

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is text of the expected form."""
        if not isinstance(value, str):
            wrong_text(self.form, value, at, walk)
        elif self.form is not None and not self.form.check(value, at, walk):
            return
        elif self.note:
            walk.note(at, self.note, value)
        elif self.binds:
            walk.variables.add(value)
        elif self.section:
            walk.references.append(Reference(at, self.section, value, walk.anchor))


class Formula(msgspec.Struct, frozen=True):
    """Text that is an expression by its type: `${ ... }` or bare.

    `wrapped` means that the standard wants `${ ... }` here, so that other runtimes may refuse
    the bare form. `data` means that its value is data, which in the loose mode is the text itself if
    it cannot be evaluated.
    """

    wrapped: bool = False
    data: bool = False

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is text, and note the expression."""
        if not isinstance(value, str):
            walk.wrong_type(at, "an expression", value, quoting(value))
            return
        if self.wrapped and not is_expression(value):
            walk.warn(
                "bare-expression",
                at,
                f"{label(at)} is not written as `${{ ... }}`, which the standard wants here.",
                "Wrap it: other runtimes refuse the bare form.",
            )
        walk.expressions.append(Expression(at, value, walk.anchor, self.data))


class Enumeration(msgspec.Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is one of the words."""
        if value not in self.words or not isinstance(value, str):
            hint = meant(value, self.words) if isinstance(value, str) else f"Use {listed(self.words)}."
            if isinstance(value, str) and "Did you mean" not in hint:
                hint = "An expression cannot stand here." if "${" in value else ""
            expected = listed(self.words)
            walk.error("not-one-of", at, f"{label(at)} must be {expected}, but it is {shown(value)}.", hint)


class Whole(msgspec.Struct, frozen=True):
    """A whole number, with bounds if they are given."""

    low: int | None = None
    high: int | None = None

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check the number; `2.0` is whole."""
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            hint = ""
            if isinstance(value, str):
                digits = re.fullmatch(r"-?\d+", value)
                hint = (
                    "Remove the quotes." if digits else "An expression cannot stand here." * ("${" in value)
                )
            walk.wrong_type(at, "a whole number", value, hint)
        elif (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            walk.error(
                "out-of-range",
                at,
                f"{label(at)} must be from {self.low} to {self.high}, but it is {shown(value)}.",
            )


class Flag(msgspec.Struct, frozen=True):
    """True or false."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is a boolean."""
        if not isinstance(value, bool):
            hint = ""
            if isinstance(value, str):
                worded = value.casefold() in {"yes", "no", "on", "off", "true", "false", "y", "n"}
                hint = "Write true or false, without quotes." if worded else ""
            walk.wrong_type(at, "`true` or `false`", value, hint)


class Free(msgspec.Struct, frozen=True):
    """Any data; its text leaves are evaluated, unless it is `literal`."""

    literal: bool = False

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Note the expressions in it."""
        if self.literal:
            return
        if isinstance(value, str):
            note_text(value, at, walk)
        elif isinstance(value, dict):
            for name, part in value.items():
                self.check(part, (*at, name), walk)
        elif isinstance(value, list):
            for index, part in enumerate(value):
                self.check(part, (*at, index), walk)


class Map(msgspec.Struct, frozen=True):
    """A mapping of names that the author chooses."""

    values: Shape = Free()
    at_least: int = 0

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check each value."""
        if not isinstance(value, dict):
            walk.wrong_type(at, "a mapping", value)
            return
        if len(value) < self.at_least:
            walk.error("empty-value", at, f"{label(at)} must not be empty.", key=True)
        for name, part in value.items():
            self.values.check(part, (*at, name), walk)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A list of mappings with one key each: the name of what the item defines.

    `what` is what an item is called in messages; `words` are properties of what it defines,
    by which a missing level of indentation is recognised. `tasks` has the list looked at
    later, as a `sequence` of tasks or as `parallel` ones.
    """

    what: str
    anchor: str
    values: Shape
    words: frozenset[str] = frozenset()
    at_least: int = 0
    tasks: str = ""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that each item has one name, then what it defines."""
        before, walk.anchor = walk.anchor, self.anchor
        self._check(value, at, walk)
        walk.anchor = before

    def _check(self, value: Json, at: At, walk: Walk) -> None:
        if not isinstance(value, list):
            walk.wrong_type(at, f"a list of {self.what}s", value, f"Begin each {self.what} with `- name:`.")
            return
        if len(value) < self.at_least:
            walk.error(
                "empty-value",
                at,
                f"{label(at)} must not be empty.",
                f"Add a {self.what}: `- name:`.",
                key=True,
            )
        if self.tasks:
            walk.lists.append(TaskList(at, value, self.tasks == "parallel"))
        for index, item in enumerate(value):
            if not isinstance(item, dict) or len(item) != 1:
                self._refuse_item(item, (*at, index), walk)
                continue
            name, part = next(iter(item.items()))
            if name in self.words and not isinstance(part, dict):
                self._refuse_item(item, (*at, index), walk)
                continue
            self.values.check(part, (*at, index, name), walk)

    def _refuse_item(self, item: Json, at: At, walk: Walk) -> None:
        if not isinstance(item, dict):
            walk.wrong_type(
                at, f"a {self.what} with its name", item, f"Write `- name:` and indent the {self.what} below."
            )
            return
        names = list(item)
        if not names:
            walk.error(
                "one-name-per-item",
                at,
                f"This {self.what} has no name.",
                "Write `- name:` and indent it below.",
            )
        elif names[0] in self.words:
            message = f"This {self.what} has no name: `{names[0]}` stands where the name belongs."
            walk.error(
                "one-name-per-item",
                (*at, names[0]),
                message,
                "Write `- name:` and indent the rest below.",
                key=True,
            )
        else:
            inner = names[1] in self.words
            message = f"`{names[1]}` stands beside `{names[0]}`; an item of this list holds one {self.what}."
            hint = (
                f"Indent `{names[1]}` deeper than `{names[0]}`."
                if inner
                else f"Begin another {self.what}: `- {names[1]}:`."
            )
            walk.error("one-name-per-item", (*at, names[1]), message, hint, key=True)


class AnyTask(msgspec.Struct, frozen=True):
    """A task of any kind: where the grammar comes back to itself."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check by the walk's shape of tasks."""
        walk.task.check(value, at, walk)


class Depending(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping whose shape depends on whether it has a certain key."""

    key: str
    present: Shape
    absent: Shape

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Choose the shape by the key, then check it."""
        chosen = self.present if isinstance(value, dict) and self.key in value else self.absent
        chosen.check(value, at, walk)


class Items(msgspec.Struct, frozen=True):
    """A list."""

    values: Shape

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check each item."""
        if not isinstance(value, list):
            walk.wrong_type(at, "a list", value, "Begin each item with `- `.")
            return
        for index, part in enumerate(value):
            self.values.check(part, (*at, index), walk)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A value whose shape depends on whether it is text, a mapping or a list."""

    expected: str
    text: Shape | None = None
    mapping: Shape | None = None
    items: Shape | None = None

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Choose the shape by the value's type, then check it."""
        shape = None
        if isinstance(value, str):
            shape = self.text
        elif isinstance(value, dict):
            shape = self.mapping
        elif isinstance(value, list):
            shape = self.items
        if shape is None:
            walk.wrong_type(
                at, self.expected, value, quoting(value) if self.text and not self.mapping else ""
            )
        else:
            shape.check(value, at, walk)


def wrong_text(form: Form | None, value: Json, at: At, walk: Walk) -> None:
    """Report a value that is no text; advise quotes only where they would mend it."""
    hint = quoting(value)
    if form is not None and not form.pattern.fullmatch(str(value)):
        hint = form.hint
    walk.wrong_type(at, form.expected if form else "text", value, hint)


def quoting(value: Json) -> str:
    """Return the hint for a scalar that stands where text belongs."""
    if isinstance(value, bool | int | float):
        return f'Quote it: "{str(value).lower() if isinstance(value, bool) else value}".'
    return ""


_SHELL_MISUSE: Final = re.compile(r"\$\{\s*[.$(\s]")


def note_text(value: str, at: At, walk: Walk, *, shell_text: bool = False) -> None:
    """Note the expression that a text is, or warn if one seems to stand inside it."""
    if "${" not in value:
        return
    if is_expression(value):
        walk.expressions.append(Expression(at, value, walk.anchor, data=True))
    elif not walk.loose and (not shell_text or _SHELL_MISUSE.search(value)):
        walk.warn(
            "embedded-expression",
            at,
            f"`${{` stands inside the text of {label(at)}; it stays as it is and is not evaluated.",
            'Make the whole value one expression: ${ "Hello \\(.name)" }.',
        )
