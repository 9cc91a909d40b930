"""Outcomes of test files as JUnit XML, which CI systems read."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from tenuto.testing.playing import Outcome


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """Return a report: one suite for each file, one case for each of its cases."""
    root = ElementTree.Element("testsuites")
    for name in {outcome.case.file.name: None for outcome in outcomes}:
        own = [outcome for outcome in outcomes if outcome.case.file.name == name]
        failed = sum(not outcome.passed for outcome in own)
        seconds = sum(outcome.seconds for outcome in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=name, tests=str(len(own)), failures=str(failed), time=f"{seconds:.3f}"
        )
        for outcome in own:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=name,
                name=_printable(outcome.case.name),
                file=name,
                line=str(outcome.case.line),
                time=f"{outcome.seconds:.3f}",
            )
            for failure in outcome.failures:
                message = _printable(failure.partition("\n")[0])
                ElementTree.SubElement(case, "failure", message=message).text = _printable(failure)
    ElementTree.indent(root)
    report: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return report + b"\n"


def _printable(text: str) -> str:
    """Return a text without what XML cannot carry."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)
