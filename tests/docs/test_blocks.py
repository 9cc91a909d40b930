"""Every code block of every page: data is valid, commands print what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks_of, other_test_of, pages
from tests.docs.playing import problems_of


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_the_page_is_true(page: Path, tmp_path: Path) -> None:
    """What a reader copies works, in the order of the page, and prints what the page shows."""
    text = page.read_text(encoding="utf-8")
    elsewhere = other_test_of(text)
    problems = [] if elsewhere else problems_of(text, tmp_path)

    assert "" == "\n\n".join(f"{page.relative_to(ROOT)}:{problem}" for problem in problems)
    if elsewhere:
        assert page.name in (ROOT / elsewhere).read_text(encoding="utf-8")


DOCUMENT = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\ndo:\n"
WRONG = {
    "an unknown language": "```cobol\nMOVE A TO B\n```",
    "a language misspelt": "```ymal\na: 1\n```",
    "YAML that cannot be read": "```yaml\na: [1\n```",
    "a document with a mistake": f"```yaml\n{DOCUMENT}  - a: {{sett: {{}}}}\n```",
    "a document with a warning": f"```yaml\n{DOCUMENT}  - a: {{set: {{b: 'x ${{ .y }}'}}}}\n```",
    "a task list with a mistake": "```yaml\n- a:\n    wait: soon\n```",
    "a part of a document with a mistake": "```yaml\nuse:\n  retries: 3\n```",
    "a function that is not installed": f"```yaml\n{DOCUMENT}  - a: {{call: 'core.lok:1.0.0@default'}}\n```",
    "a mistake that is not made": f"<!-- invalid: unknown-property -->\n```yaml\n{DOCUMENT}  - a: {{set: {{b: 1}}}}\n```",
    "another mistake than is told": f"<!-- invalid: alias -->\n```yaml\n{DOCUMENT}  - a: {{sett: {{}}}}\n```",
    "JSON that cannot be read": "```json\n{'a': 1}\n```",
    "TOML that cannot be read": "```toml\na = \n```",
    "an expression that cannot be read": "```jq\n.a |\n```",
    "Python that fails": "```python\nassert 1 == 2\n```",
    "Python that prints something else": "```python\n>>> 1 + 1\n3\n```",
    "a command that prints something else": "```console\n$ echo one\ntwo\n```",
    "a command that prints more": "```console\n$ printf 'one\\ntwo\\n'\none\n```",
    "a command that prints nothing": "```console\n$ true\none\n```",
    "output without a command": "```console\none\n```",
    "a script that fails": "```sh\nfalse\ntrue\n```",
    "no reason for not running": "<!-- not run -->\n```sh\nmake world\n```",
    "Python that nobody could run": "<!-- not run: needs a server -->\n```python\ndef f(:\n```",
    "a process that is left": "```sh\nsleep 60 &\n```",
    "a shell that ends early": "```console\n$ exit 0\n$ echo one\none\n```",
    "a file that is not YAML": "`a.yaml`:\n\n```yaml\na: [1\n```",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_noticed(what: str, tmp_path: Path) -> None:
    """Each kind of mistake on a page is one problem, told with its line."""
    (problem,) = problems_of(f"# A page\n\n{WRONG[what]}\n", tmp_path)

    assert problem.partition(":")[0].isdecimal()


RIGHT = {
    "files, then commands": "Write `a/b.txt`:\n\n```text\none\n```\n\n```console\n$ cat a/b.txt\none\n```",
    "one shell for all": "```console\n$ X=1\n$ sleep 60 &\n```\n\n```console\n$ kill $!; echo $X\n1\n```",
    "exit statuses": "```console\n$ false\n$ echo $?\n1\n```",
    "commands over several lines": "```console\n$ echo \\\n    one\none\n$ cat <<END\n> two\n> END\ntwo\n```",
    "dots": "```console\n$ seq 5\n1\n...\n5\n$ echo one two three\none ... three\n$ seq 3\n...\n```",
    "ids and durations": "```console\n$ echo ran 0123456789abcdef0123456789abcdef in 3 ms\n"
    "ran ffffffffffffffffffffffffffffffff in 1.2 s\n```",
    "Python": "```python\nprint(1)\n```\n\n```python\n>>> 1 + 1\n2\n```",
    "a mistake that is meant": f"<!-- invalid: unknown-property -->\n```yaml\n{DOCUMENT}  - a: {{sett: {{}}}}\n```",
    "not run, with a reason": "<!-- not run: builds the world -->\n```sh\nmake world\n```",
    "a step in YAML": f"```yaml\n{DOCUMENT}  - a: {{call: 'python.b:1.0.0@default'}}\n```",
    "Python of another library": "<!-- not run: needs a server -->\n```python\nimport gone\n```",
    "only shown": "```text\n...\n```\n\n```mermaid\ngraph LR\n```\n\n```\n...\n```",
    "a fence in a list": "- one:\n\n  ```json\n  {}\n  ```",
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_right_passes(what: str, tmp_path: Path) -> None:
    """Each form that pages may use works as told."""
    page = RIGHT[what]

    assert [] == problems_of(page, tmp_path)
    assert [] != list(blocks_of(page))
