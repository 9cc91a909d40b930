"""One typo gives one error: at the right line and column, saying what was expected and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto.errors import Problem
from tenuto.language.load import load
from tenuto.language.validate import validate

COMPLETE = (Path(__file__).parent / "documents" / "complete.yaml").read_text()


def problems(text: str) -> list[Problem]:
    """Return all problems of a document."""
    return validate(load(text, "flow.yaml"))


# What is written, what is written instead, where the error stands (a part of the new text), its
# code, and what the hint says.
TYPOS: tuple[tuple[str, str, str, str, str], ...] = (
    # properties
    ("  namespace: tests", "  namspace: tests", "namspace", "unknown-property", "Did you mean `namespace`?"),
    ("schedule:", "shedule:", "shedule", "unknown-property", "Did you mean `schedule`?"),
    ("use:\n  auth", "uses:\n  auth", "uses", "unknown-property", "Did you mean `use`?"),
    ("  retries:", "  retrys:", "retrys", "unknown-property", "Did you mean `retries`?"),
    ("  after: PT5M", "  aftr: PT5M", "aftr", "unknown-property", "Did you mean `after`?"),
    ("  every:\n    hours: 1", "  every:\n    hour: 1", "hour: 1", "unknown-property", "Did you mean `hours`?"),
    ("      if: .go", "      fi: .go", "fi: .go", "unknown-property", "Did you mean `if`?"),
    ("      then: continue", "      thn: continue", "thn", "unknown-property", "Did you mean `then`?"),
    ("        method: post", "        metod: post", "metod", "unknown-property", "Did you mean `method`?"),
    ("        headers: {ac", "        header: {ac", "header:", "unknown-property", "Did you mean `headers`?"),
    ("          uri: ${ .uri }", "          url: ${ .uri }", "url:", "unknown-property", "Did you mean `uri`?"),
    ("        operationId: find", "        operationid: find", "operationid", "unknown-property", "`operationId`"),
    ("          host: localhost", "          hots: localhost", "hots", "unknown-property", "Did you mean `host`?"),
    ("            until: ${ .b }", "            untill: ${ .b }", "untill", "unknown-property", "mean `until`?"),
    ("            type: com.example.told", "            tpye: com.example.told", "tpye", "unknown-property", "`type`"),
    ("        branches:", "        branch:", "branch:", "unknown-property", "Did you mean `branches`?"),
    ("      catch:\n        errors", "      cacth:\n        errors", "cacth", "unknown-property", "mean `catch`?"),
    ("        exceptWhen: 'false'", "        exceptwhen: 'false'", "exceptwhen", "unknown-property", "`exceptWhen`"),
    ("        - otherwise: {then: ran}", "        - otherwise: {than: ran}", "than", "unknown-property", "`then`"),
    ("          image: alpine", "          img: alpine", "img", "unknown-property", "Did you mean `image`?"),
    ("          pullPolicy:", "          pullpolicy:", "pullpolicy", "unknown-property", "mean `pullPolicy`?"),
    ("          command: echo\n", "          cmd: echo\n", "cmd", "unknown-property", "Did you mean `command`?"),
    ("      basic: {username: me,", "      basic: {user: me,", "user:", "unknown-property", "mean `username`?"),
    ("      bearer: {token: abc}", "      baerer: {token: abc}", "baerer", "unknown-property", "mean `bearer`?"),
    ("      digest: {use: pass}", "      digest: {usee: pass}", "usee", "unknown-property", "Did you mean `use`?"),
    ("authentication: {use: granted}", "authentication: {ues: granted}", "ues:", "unknown-property", "mean `use`?"),
    ("        grant: client_cred", "        grnat: client_cred", "grnat", "unknown-property", "mean `grant`?"),
    ("      backoff: {linear: {}}", "      backoff: {liner: {}}", "liner", "unknown-property", "mean `linear`?"),
    ("        extend: all", "        extends: all", "extends", "unknown-property", "Did you mean `extend`?"),
    ("          order:\n            from: .order", "          order:\n            form: .order", "form:",
     "unknown-property", "Did you mean `from`?"),
    # kinds
    ("      fork:\n", "      frok:\n", "frok", "unknown-property", "Did you mean `fork`?"),
    ("      try:\n        - risky", "      tyr:\n        - risky", "tyr", "unknown-property", "mean `try`?"),
    ("      call: http\n      with:\n        method: post", "      cal: http\n      with:\n        method: post",
     "cal:", "unknown-property", "Did you mean `call`?"),
    ("      call: openapi", "      call: openpai", "openpai", "unknown-function", "Did you mean `openapi`?"),
    ("      call: look", "      call: lok", "lok", "unknown-function", "Did you mean `look`?"),
    ("log:1.0.0@ours", "log:1.0.0@hours", "log:1.0.0@h", "unknown-catalog", "Did you mean `ours`?"),
    ("      for: {each: one, in: .list, at: place}", "      fro: {each: one, in: .list, at: place}", "fro:",
     "unknown-property", "Did you mean `for`?"),
    ("      wait: PT1S", "      wiat: PT1S", "wiat", "unknown-property", "Did you mean `wait`?"),
    ("      do:\n        - inner: {set: {a: 1}, then: exit}", "      do:\n        - inner: {sett: {a: 1}, then: exit}",
     "sett", "unknown-property", "Did you mean `set`?"),
    # words
    ("  mode: strict", "  mode: strickt", "strickt", "not-one-of", "Did you mean `strict`?"),
    ("  read: envelope", "  read: enveloppe", "enveloppe", "not-one-of", "Did you mean `envelope`?"),
    ("        output: response", "        output: respond", "respond", "not-one-of", "Did you mean `response`?"),
    ("        protocol: kafka", "        protocol: kakfa", "kakfa", "not-one-of", "Did you mean `kafka`?"),
    ("        method: tools/call", "        method: tool/call", "tool/call", "not-one-of", "Did you mean `tools/call`?"),
    ("        return: all", "        return: al\n", "al\n", "not-one-of", "Did you mean `all`?"),
    ("        extend: all", "        extend: swich", "swich", "not-one-of", "Did you mean `switch`?"),
    ("          language: python", "          language: pyton", "pyton", "unsupported-language", "mean `python`?"),
    # names
    ("        then: chosen", "        then: chosne", "chosne", "unknown-target", "Did you mean `chosen`?"),
    ("then: raised}", "then: riased}", "riased", "unknown-target", "Did you mean `raised`?"),
    ("timeout: short", "timeout: shrot", "shrot", "unknown-timeout", "Did you mean `short`?"),
    ("        retry: patient", "        retry: patent", "patent", "unknown-retry", "Did you mean `patient`?"),
    ("{error: refused}", "{error: refussed}", "refussed", "unknown-error", "Did you mean `refused`?"),
    ("authentication: {use: token}", "authentication: {use: tokn}", "tokn", "unknown-authentication", "`token`?"),
    ("      digest: {use: pass}", "      digest: {use: pas}", "pas}", "unknown-secret", "Did you mean `pass`?"),
    # values
    ("  dsl: 1.0.3", "  dsl: 1.0", "1.0\n", "wrong-type", "Write all three numbers."),
    ("  dsl: 1.0.3", "  dsl: 2.0.0", "2.0.0", "unsupported-dsl", "Write `dsl: '1.0.3'`."),
    ("  name: complete", "  name: com_plete", "com_plete", "bad-name", "Replace spaces, dots and underscores"),
    ("  name: complete\n  version: 1.0.0", "  name: complete\n  version: v1", "v1", "bad-version", "three numbers"),
    ("        redirect: true", "        redirect: 'yes'", "'yes'", "wrong-type", "Write true or false"),
    ("          port: 5011", "          port: '5011'", "'5011'", "wrong-type", "Remove the quotes."),
    ("          port: 5011", "          port: 70000", "70000", "out-of-range", ""),
    ("      wait: PT1S", "      wait: 1S", "1S", "bad-duration", "writes 30 seconds as `PT30S`"),
    ("      wait: PT1S", "      wait: P1Y", "P1Y", "calendar-duration", "Give it in weeks or days"),
    ("      wait: ${ .pause }", "      wait: ${ .pause", "${ .pause", "bad-duration", "not closed with `}`"),
    ("  cron: 0 6 * * 1-5", "  cron: 0 24 * * 1-5", "0 24", "bad-cron", "at six on working days"),
    ("        operationId: find", "        operationId: 10", "10", "wrong-type", 'Quote it: "10".'),
    ("        server: https://example.com", "        server: https://exa mple.com", "https://exa", "bad-uri", "no spaces"),
    ("      export:\n        schema: {document: {}}", "      export:\n        schema: {document: {type: strin}}", "strin}",
     "bad-schema", "has to be a JSON Schema"),
    ("arguments: [a]\n          environment: {A: b}\n  - nested", "arguments: a\n          environment: {A: b}\n  - nested",
     "a\n          environment: {A: b}\n  - nested", "wrong-type", "Begin each item with `- `."),
    ("      timeout: {after: PT1M}", "      timeout: {}", "timeout: {}", "missing-property", "Add `after:`."),
    ("lifetime: {cleanup: eventually, after: {minutes: 1}}", "lifetime: {cleanup: always, after: {minutes: 1}}",
     "after: {minutes: 1}}\n          pull", "exclusive-properties", "write `cleanup: eventually`"),
    # structure
    ("  - waited:\n      wait: PT1S", "  - waited:\n    wait: PT1S", "wait: PT1S", "one-name-per-item",
     "Indent `wait` deeper than `waited`."),
    ("  - waited:\n      wait: PT1S", "  - wait: PT1S", "wait: PT1S", "one-name-per-item", "Write `- name:`"),
    ("  - waited:\n      wait: PT1S", "  - waited:", "\n  - paused", "wrong-type", "Indent its kind"),
    ("  - waited:\n      wait: PT1S", "  - waited:\n      wait: PT1S\n      set: {a: 1}", "set: {a: 1}\n  - paused",
     "several-kinds", "Make a task of each"),
)  # fmt: skip


def test_the_document_with_every_property_has_no_problem() -> None:
    """Otherwise the typos would not be alone."""
    assert problems(COMPLETE) == []


@pytest.mark.parametrize("typo", TYPOS, ids=lambda typo: typo[1].strip()[:40])
def test_one_typo_gives_one_error(typo: tuple[str, str, str, str, str]) -> None:
    """The error stands where the typo is, and its hint helps; nothing else is said."""
    old, new, place, code, hint = typo
    assert old in COMPLETE
    text = COMPLETE.replace(old, new, 1)
    start = text.index(new) + new.index(place) if place in new else text.index(place, text.index(new))
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    found = problems(text)

    assert [(code, line, column)] == [(problem.code, problem.line, problem.column) for problem in found]
    assert hint in (found[0].hint or "")
    assert "See docs/reference/language.md#" in (found[0].hint or "")
    assert found[0].severity == "error"
    assert found[0].path.startswith("/")
