"""A directory's entries: a tree of names with attributes, kept in one JSON file."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Final

from onboarding.servers.ber import Element
from onboarding.servers.request_log import read_json, replace_json

Attributes = dict[str, list[str]]

BASE: Final = "dc=example,dc=org"

FIRST_ENTRIES: Final[dict[str, Attributes]] = {
    BASE: {"objectClass": ["top", "dcObject", "organization"], "dc": ["example"], "o": ["Example Company"]},
    f"ou=people,{BASE}": {"objectClass": ["top", "organizationalUnit"], "ou": ["people"]},
    f"ou=groups,{BASE}": {"objectClass": ["top", "organizationalUnit"], "ou": ["groups"]},
} | {
    f"cn={name},ou=groups,{BASE}": {
        "objectClass": ["top", "groupOfNames"],
        "cn": [name],
        "member": [f"cn=admin,{BASE}"],  # a group of names must never be empty
    }
    for name in ("everyone", "engineering", "sales", "external", "source-code", "customer-data")
}


class Code(IntEnum):
    """The result codes of RFC 4511 that this directory gives."""

    SUCCESS = 0
    PROTOCOL_ERROR = 2
    COMPARE_FALSE = 5
    COMPARE_TRUE = 6
    CRITICAL_EXTENSION_UNAVAILABLE = 12
    NO_SUCH_ATTRIBUTE = 16
    VALUE_EXISTS = 20
    NO_SUCH_OBJECT = 32
    INVALID_DN = 34
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS = 50
    UNWILLING = 53
    NAMING_VIOLATION = 64
    OBJECT_CLASS_VIOLATION = 65
    NOT_ON_NON_LEAF = 66
    ENTRY_EXISTS = 68


class Refused(Exception):
    """The directory refuses an operation, with the code that the client gets."""

    def __init__(self, code: Code, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def fold_name(name: str) -> str:
    """Return a distinguished name in the form in which equal names are equal.

    >>> fold_name("UID=Ada, DC=Example")
    'uid=ada,dc=example'
    """
    steps = [step.partition("=") for step in re.split(r"(?<!\\),", name)] if name else []
    return ",".join(f"{key.strip()}={value.strip()}" for key, _, value in steps).lower()


def parent_of(name: str) -> str:
    """Return the folded name of the entry above."""
    return re.split(r"(?<!\\),", fold_name(name), maxsplit=1)[1] if "," in name else ""


class Entries:
    """The tree; every change is written to the file before it is answered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, tuple[str, Attributes]] = {}
        for name, attributes in read_json(path, FIRST_ENTRIES).items():
            self._entries[fold_name(name)] = (name, attributes)
        self._save()

    def _save(self) -> None:
        replace_json(self._path, dict(self._entries.values()))

    def get(self, name: str) -> tuple[str, Attributes]:
        """Return an entry's name and attributes."""
        found = self._entries.get(fold_name(name))
        if found is None:
            raise Refused(Code.NO_SUCH_OBJECT, f"no such entry: {name}")
        return found

    def add(self, name: str, attributes: Attributes) -> None:
        """Add an entry below an existing one."""
        key = fold_name(name)
        if key in self._entries:
            raise Refused(Code.ENTRY_EXISTS, f"already there: {name}")
        self.get(parent_of(name))
        kind, _, value = key.split(",", 1)[0].partition("=")
        if value not in map(str.lower, values_of(attributes, kind)):
            raise Refused(Code.NAMING_VIOLATION, f"the entry must have its naming attribute {kind}")
        if not values_of(attributes, "objectClass"):
            raise Refused(Code.OBJECT_CLASS_VIOLATION, "the entry must have an objectClass")
        self._entries[key] = (name, attributes)
        self._save()

    def delete(self, name: str) -> None:
        """Delete an entry that has none below it."""
        self.get(name)
        key = fold_name(name)
        if any(other.endswith("," + key) for other in self._entries):
            raise Refused(Code.NOT_ON_NON_LEAF, f"not a leaf: {name}")
        del self._entries[key]
        self._save()

    def modify(self, name: str, changes: list[tuple[int, str, list[str]]]) -> None:
        """Carry out all changes or none; each is (0 add, 1 delete or 2 replace, attribute, values)."""
        old_name, old = self.get(name)
        attributes = {kind: list(values) for kind, values in old.items()}
        for operation, kind, values in changes:
            spelled = next((known for known in attributes if known.lower() == kind.lower()), kind)
            attributes[spelled] = _changed(operation, kind, attributes.get(spelled, []), values)
            if not attributes[spelled]:
                del attributes[spelled]
        classes = values_of(attributes, "objectClass")
        if "groupOfNames" in classes and not values_of(attributes, "member"):
            raise Refused(Code.OBJECT_CLASS_VIOLATION, "a groupOfNames must have a member")
        self._entries[fold_name(name)] = (old_name, attributes)
        self._save()

    def search(self, base: str, scope: int, wanted: Element) -> list[tuple[str, Attributes]]:
        """Return the entries in scope (0 base, 1 one level, 2 subtree) that fit the filter."""
        key = fold_name(base)
        self.get(base)
        below = [
            entry
            for name, entry in self._entries.items()
            if (name == key and scope != 1)
            or (parent_of(name) == key and scope == 1)
            or (name.endswith("," + key) and scope == 2)
        ]
        return [entry for entry in below if fits(wanted, entry[1])]


def _changed(operation: int, kind: str, present: list[str], values: list[str]) -> list[str]:
    lower = [value.lower() for value in present]
    given = [value.lower() for value in values]
    if operation == 0:
        if any(value in lower for value in given):
            raise Refused(Code.VALUE_EXISTS, f"{kind} already has that value")
        return present + values
    if operation == 1:
        if not present or any(value not in lower for value in given):
            raise Refused(Code.NO_SUCH_ATTRIBUTE, f"{kind} does not have that value")
        return [value for value in present if given and value.lower() not in given]
    if operation == 2:
        return values
    raise Refused(Code.PROTOCOL_ERROR, f"unknown change {operation}")


def values_of(attributes: Attributes, kind: str) -> list[str]:
    """Return an attribute's values; attribute names are equal in any case."""
    return next((values for known, values in attributes.items() if known.lower() == kind.lower()), [])


def fits(wanted: Element, attributes: Attributes) -> bool:
    """Whether an entry fits a search filter (RFC 4511, section 4.5.1.7)."""
    match wanted.tag:
        case 0xA0:
            return all(fits(part, attributes) for part in wanted.parts())
        case 0xA1:
            return any(fits(part, attributes) for part in wanted.parts())
        case 0xA2:
            return not fits(wanted.parts()[0], attributes)
        case 0x87:
            return bool(values_of(attributes, wanted.text()))
        case 0xA3 | 0xA5 | 0xA6 | 0xA8:
            kind, value = (part.text() for part in wanted.parts())
            folded = [known.lower() for known in values_of(attributes, kind)]
            if wanted.tag == 0xA5:
                return any(known >= value.lower() for known in folded)
            if wanted.tag == 0xA6:
                return any(known <= value.lower() for known in folded)
            return value.lower() in folded
        case 0xA4:
            kind_element, pieces = wanted.parts()
            pattern = _substring_pattern(pieces)
            return any(pattern.fullmatch(known) for known in values_of(attributes, kind_element.text()))
        case _:
            raise Refused(Code.UNWILLING, f"filter {wanted.tag:#x} is not served here")


def _substring_pattern(pieces: Element) -> re.Pattern[str]:
    parts = pieces.parts()
    middle = ".*".join(re.escape(part.text()) for part in parts)
    start = "" if parts[0].tag == 0x80 else ".*"
    end = "" if parts[-1].tag == 0x82 else ".*"
    return re.compile(start + middle + end, re.IGNORECASE | re.DOTALL)
