"""`tenuto run`, `resume`, `retry`, `suspend`, `cancel`, `runs` and `show`: what scripts rely on."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.doors.conftest import Process, Tenuto

Write = Callable[..., Path]
Start = Callable[..., Process]

FAULT = "- bad: {raise: {error: {type: 'https://e.example/x', status: 409, title: No, detail: because}}}"
LISTEN = "- hear: {listen: {to: {one: {with: {type: never.comes}}}}}"
SLOW = """
- first: {run: {shell: {environment: {LOG: LOGFILE}, command: "echo first >> $LOG"}}}
- nap: {wait: {seconds: 60}}
- last: {run: {shell: {environment: {LOG: LOGFILE}, command: "echo last >> $LOG"}}}
"""


# ── results and exit statuses ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("pretty", '{\n  "n": 1,\n  "t": "ä"\n}\n'),
        ("json", '{"n":1,"t":"ä"}\n'),
        ("yaml", "n: 1\nt: ä\n"),
    ],
)
def test_standard_output_is_the_result_and_nothing_else(
    format: str, text: str, tenuto: Tenuto, write: Write
) -> None:
    """Whatever the format, standard output can be read by the next program."""
    write("flow", "- a: {set: {n: 1, t: ä}}")
    called = tenuto("run", "flow.yaml", "--output", format)

    assert (called.status, called.out) == (0, text)
    assert "completed" in called.err


def test_a_fault_is_the_last_line_as_json(tenuto: Tenuto, write: Write) -> None:
    """Status 1; the RFC 7807 error stands alone on the last line of standard error."""
    write("flow", FAULT)
    called = tenuto("run", "flow.yaml", "--id", "r")

    assert (called.status, called.out) == (1, "")
    assert json.loads(called.err.splitlines()[-1]) == {
        "type": "https://e.example/x",
        "status": 409,
        "title": "No",
        "detail": "because",
        "instance": "/do/0/bad",
    }
    assert " retry r --from /do/0/bad\n" in called.err


def test_a_detail_of_several_lines_stays_so(tenuto: Tenuto, write: Write) -> None:
    """A traceback can be read; whatever else could steer a terminal is shown by its name."""
    fault = "{type: 'https://e.example/x', status: 500, title: No, detail: \"one\\ntwo\\e[2J\\rthree\\n\"}"
    write("flow", f"- bad: {{raise: {{error: {fault}}}}}")
    called = tenuto("run", "flow.yaml")

    assert "500 No\n  one\n  two\\x1b[2J\\rthree\n  in /do/0/bad\n" in called.err
    assert "500 No\n  one\n  two\\x1b[2J\\rthree\n  in /do/0/bad" in tenuto("show").out


def test_an_invalid_document_does_not_run(tenuto: Tenuto, write: Write) -> None:
    """Status 2; the mistake is shown with its line, and no run exists."""
    write("flow", "- a: {set: {x: 1}, thn: b}")
    called = tenuto("run", "flow.yaml")

    assert (called.status, called.out) == (2, "")
    assert "flow.yaml:3:22: error: " in called.err
    assert tenuto("runs").status == 2


SCHEMA = "input: {schema: {document: {type: object, required: [n], properties: {n: {type: integer}}}}}\n"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ('{"n": "x"}', '/n: "x" is not of type "integer"'),
        ("{n: 1}", "--input is not JSON"),
        ("@absent.json", "there is no file 'absent.json'"),
        (None, '"n" is a required property'),
    ],
)
def test_invalid_input_does_not_run(given: str | None, complaint: str, tenuto: Tenuto, write: Write) -> None:
    """Status 2, one error, and no run exists."""
    write("flow", "- a: {set: {x: 1}}", SCHEMA)
    called = tenuto("run", "flow.yaml", *([] if given is None else ["--input", given]))

    assert (called.status, called.out) == (2, "")
    assert complaint in called.err
    assert called.err.count("error:") == 1
    assert tenuto("runs").status == 2


@pytest.mark.parametrize("text", ['{"n": 4}', "n: 4\n"])
def test_input_comes_from_files_and_standard_input(
    text: str, tenuto: Tenuto, write: Write, tmp_path: Path
) -> None:
    """JSON or YAML, by content."""
    write("flow", "- a: {set: {twice: '${ .n * 2 }'}}")
    (tmp_path / "data").write_text(text)

    assert tenuto("run", "flow.yaml", "-i", "@data", "-o", "json").out == '{"twice":8}\n'
    assert tenuto("run", "flow.yaml", "-i", "-", "-o", "json", stdin=text).out == '{"twice":8}\n'


def test_a_run_that_waits_for_others_ends_with_three(tenuto: Tenuto, write: Write) -> None:
    """Status 3, and the command that goes on."""
    write("flow", LISTEN)
    called = tenuto("run", "flow.yaml", "--id", "r")

    assert (called.status, called.out) == (3, "")
    assert "resume r" in called.err.splitlines()[-1]
    assert tenuto("resume", "r").status == 3
    assert tenuto("cancel", "r", "--reason", "no more").status == 0
    assert tenuto("show", "r", "-o", "json").json["status"] == "cancelled"
    assert tenuto("resume", "r").status == 2


def test_the_same_id_never_runs_twice(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """Same document and input: the result that is there; other input: a conflict."""
    write("flow", '- a: {run: {shell: {environment: {LOG: LOGFILE}, command: "echo x >> $LOG"}}}')
    first = tenuto("run", "flow.yaml", "--id", "r")
    again = tenuto("run", "flow.yaml", "--id", "r")
    other = tenuto("run", "flow.yaml", "--id", "r", "--input", '{"n": 1}')

    assert (first.status, again.status, other.status) == (0, 0, 2)
    assert first.out == again.out
    assert (tmp_path / "log").read_text() == "x\n"


def test_an_id_is_letters_digits_underscores_hyphens(tenuto: Tenuto, write: Write) -> None:
    """Other ids are refused with status 2."""
    write("flow", "- a: {set: {x: 1}}")

    assert tenuto("run", "flow.yaml", "--id", "a/b").status == 2
    assert tenuto("run", "flow.yaml", "--id", "A-z_9").status == 0


def test_the_starter_runs(tenuto: Tenuto) -> None:
    """What `tenuto init` writes runs as it says, without a network."""
    tenuto("init")

    assert tenuto("run", "hello.yaml").json == {"greetings": ["Hello, world!"]}
    people = '{"name": "Ada", "guests": ["Grace", "Alan"]}'
    expected = {"greetings": ["Hello, Ada!", "Hello, Grace!", "Hello, Alan!"]}
    assert tenuto("run", "hello.yaml", "-i", people).json == expected
    assert tenuto("run", "hello.yaml", "-i", '{"name": "nobody"}').json == {"greetings": ["Hello, somebody!"]}
    assert tenuto("run", "hello.yaml", "-i", '{"name": ""}').status == 2


# ── what can be given to a run ───────────────────────────────────────────────────────────


def test_other_workflows_are_made_known(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """--with takes files and folders; what is no workflow in a folder is passed over."""
    library = tmp_path / "library"
    library.mkdir()
    write("child", "- a: {set: {answer: '${ .n + 1 }'}}").rename(library / "child.yaml")
    (library / "notes.yaml").write_text("just: data\n")
    (library / "package.json").write_text("{}")
    main = "- call: {run: {workflow: {namespace: test, name: child, version: 1.0.0, input: {n: 1}}}}"
    write("main", main)

    assert tenuto("run", "main.yaml", "--with", "library", "-o", "json").out == '{"answer":2}\n'
    assert tenuto("run", "main.yaml", "--with", "library/notes.yaml").status == 2


USES = "use: {secrets: [token]}\n"


def test_secrets_come_from_a_file_or_the_environment(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """YAML or JSON of names and values, or TENUTO_SECRET_<NAME>."""
    write(
        "flow",
        '- a: {run: {shell: {command: "cat", stdin: "${ $secrets.token }"}, return: code}}',
        USES,
    )
    (tmp_path / "secrets.yaml").write_text("token: s3cret\n")

    assert tenuto("run", "flow.yaml", "--secrets", "secrets.yaml", "-o", "json").out == "0\n"
    assert tenuto("run", "flow.yaml", "-o", "json", env={"TENUTO_SECRET_TOKEN": "s3cret"}).out == "0\n"
    assert tenuto("run", "flow.yaml").status == 1
    assert b"s3cret" not in (tmp_path / ".tenuto" / "tenuto.db").read_bytes()


def test_a_secret_that_nobody_gave_is_told_before_anything_runs(
    tenuto: Tenuto, write: Write, tmp_path: Path
) -> None:
    """A warning at the start, for what is declared and missing only; the run goes as far as it can."""
    write("flow", "- a: {set: {x: 1}}", "use: {secrets: [api-key, token]}\n")
    (tmp_path / "secrets.yaml").write_text("token: s3cret\n")
    missing = tenuto("run", "flow.yaml", "--secrets", "secrets.yaml", "-o", "json")
    given = tenuto("run", "flow.yaml", "--secrets", "secrets.yaml", env={"TENUTO_SECRET_API_KEY": "1"})

    assert (missing.status, missing.out) == (0, '{"x":1}\n')
    assert missing.err.startswith(
        "warning: no value is given for `api-key` of `use.secrets`\n"
        "hint: give it with --secrets FILE or TENUTO_SECRET_API_KEY\nrun "
    )
    assert given.err.startswith("run ")


def test_a_bad_secrets_file_does_not_leak(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """The complaint names the place, never what stands there."""
    write("flow", "- a: {set: {x: 1}}")
    (tmp_path / "secrets.yaml").write_text("token: *hunter2\n")
    called = tenuto("run", "flow.yaml", "--secrets", "secrets.yaml")

    assert called.status == 2
    assert "secrets.yaml:1:" in called.err
    assert "hunter2" not in called.err


@pytest.fixture
def service() -> Iterator[int]:
    """An HTTP server on loopback that answers with the host that it was asked for; gives its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"host": self.headers["Host"]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_calls_for_a_host_can_be_sent_elsewhere(tenuto: Tenuto, write: Write, service: int) -> None:
    """--resolve, or TENUTO_RESOLVE; the option wins."""
    write("flow", "- a: {call: http, with: {method: get, endpoint: 'http://api.example:81/x'}}")
    rule = f"api.example:81=127.0.0.1:{service}"

    assert tenuto("run", "flow.yaml", "--resolve", rule, "-o", "json").json == {"host": "api.example:81"}
    assert tenuto("run", "flow.yaml", env={"TENUTO_RESOLVE": rule}).status == 0
    wrong = {"TENUTO_RESOLVE": "api.example:81=127.0.0.1:1"}
    assert tenuto("run", "flow.yaml", "--resolve", rule, env=wrong).status == 0
    assert tenuto("run", "flow.yaml", "--resolve", "nonsense").status == 2


def test_the_database_is_where_it_is_wanted(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """--db, then TENUTO_DB, then .tenuto/tenuto.db; suggestions carry it along."""
    write("flow", LISTEN)
    called = tenuto("run", "flow.yaml", "--db", "a/my.db")
    tenuto("run", "flow.yaml", env={"TENUTO_DB": "b.db"})
    tenuto("run", "flow.yaml")

    assert "--db a/my.db" in called.err.splitlines()[-1]
    assert all((tmp_path / name).is_file() for name in ("a/my.db", "b.db", ".tenuto/tenuto.db"))


# ── looking at runs ──────────────────────────────────────────────────────────────────────

RETRIED = """
- safe:
    try: [{bad: {raise: {error: {type: 'https://e.example/x', status: 503, title: Busy}}}}]
    catch:
      errors: {with: {status: 503}}
      retry: {delay: {milliseconds: 1}, limit: {attempt: {count: 2}}}
      do: [{mend: {set: {ok: true}}}]
- never: {if: "false", set: {x: 1}}
- loop: {for: {in: "[1, 2]"}, do: [{round: {set: {n: "${ $item }"}}}]}
"""


def test_show_gives_scripts_everything(tenuto: Tenuto, write: Write) -> None:
    """Run, document, data, and one row for each task in the order in which they started."""
    write("flow", RETRIED)
    run = tenuto("run", "flow.yaml", "--id", "r", "-i", '{"n": 1}')
    shown = tenuto("show", "r", "--output", "json").json
    tasks = {task["path"]: task for task in shown["tasks"]}

    assert run.status == 0, run.err
    assert shown["id"], shown["status"] == ("r", "completed")
    assert shown["document"].keys() == {"namespace", "name", "version", "digest"}
    assert (shown["input"], shown["output"], shown["error"]) == ({"n": 1}, {"n": 2}, None)
    assert [task["name"] for task in shown["tasks"]] == ["safe", "bad", "mend", "loop", "round", "round"]
    assert tasks["/do/0/safe/try/0/bad"]["attempt"] == 3
    assert tasks["/do/0/safe/try/0/bad"]["status"] == "faulted"
    assert tasks["/do/2/loop/for/1/do/0/round"]["type"] == "set"
    assert shown["skipped"] == ["/do/1/never"]
    starts = [task["started"] for task in shown["tasks"]]
    assert starts == sorted(starts)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", start) for start in starts)


def test_show_for_people_names_tasks_and_what_comes_next(tenuto: Tenuto, write: Write) -> None:
    """Text: a tree of tasks; the newest run without an id; a part of an id suffices."""
    write("flow", RETRIED)
    tenuto("run", "flow.yaml", "--id", "first-run")
    tenuto("run", "flow.yaml", "--id", "other-run")

    assert "other-run" in tenuto("show").out
    assert "\n  bad " in tenuto("show", "first").out
    assert "round [1]" in tenuto("show", "first").out
    assert tenuto("show", "nothing").status == 2


def test_one_task_can_be_looked_at(tenuto: Tenuto, write: Write) -> None:
    """--task takes a path or a name, and shows what its action answered; --events its entries."""
    write("flow", '- a: {run: {shell: {environment: {LOG: LOGFILE}, command: "echo 7"}}}\n- b: {set: {x: 1}}')
    tenuto("run", "flow.yaml", "--id", "r")
    shown = tenuto("show", "r", "--task", "a", "--events", "-o", "json").json

    assert [task["path"] for task in shown["tasks"]] == ["/do/0/a"]
    assert "7" in json.dumps(shown["tasks"][0]["answer"])
    assert [event["event"] for event in shown["events"]] == ["started", "answered"]
    assert tenuto("show", "r", "--task", "/do/0/a").status == 0
    assert tenuto("show", "r", "--task", "z").status == 2


def test_runs_are_listed_newest_first(tenuto: Tenuto, write: Write) -> None:
    """As a table or JSON; by status; at most so many."""
    write("good", "- a: {set: {x: 1}}")
    write("bad", FAULT)
    for name, id in (("good", "one"), ("bad", "two"), ("good", "three")):
        tenuto("run", f"{name}.yaml", "--id", id)

    assert [run["id"] for run in tenuto("runs", "-o", "json").json] == ["three", "two", "one"]
    assert [run["id"] for run in tenuto("runs", "-o", "json", "--limit", "1").json] == ["three"]
    assert [run["id"] for run in tenuto("runs", "-o", "json", "--status", "faulted").json] == ["two"]
    assert tenuto("runs").out.splitlines()[0].split() == ["RUN", "STATUS", "WORKFLOW", "STARTED", "TOOK"]


def test_a_run_is_retried_from_a_task(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """What came before is not done again; the new run says where it comes from."""
    write(
        "flow",
        """
- first: {run: {shell: {environment: {LOG: LOGFILE}, command: "echo first >> $LOG"}}}
- check: {if: '.ok != true', raise: {error: {type: 'https://e.example/x', status: 500, title: Bad}}}
- last: {set: {done: true}}
""",
    )
    failed = tenuto("run", "flow.yaml", "--id", "r")
    retried = tenuto("retry", "r", "--from", "check", "--input", '{"ok": true}', "-o", "json")

    assert (failed.status, retried.status, retried.out) == (1, 0, '{"done":true}\n')
    assert (tmp_path / "log").read_text() == "first\n"
    assert "going on" in retried.err
    assert "started   first" not in retried.err
    assert "started   last" in retried.err
    assert tenuto("show", "-o", "json").json["origin"] == "r"
    assert tenuto("retry", "r", "--from", "nothing").status == 2


# ── stopping and going on ────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_can_be_resumed(
    number: int, start: Start, tenuto: Tenuto, write: Write, tmp_path: Path
) -> None:
    """The first signal stops in order, with status 130 and the command that goes on."""
    write("flow", SLOW)
    process = start("run", "flow.yaml", "--id", "r")
    process.until("waiting   nap")
    process.signal(number)
    called = process.end()

    assert (called.status, called.out) == (130, "")
    assert re.search(r"To go on: .*tenuto resume r$", called.err.splitlines()[-1])
    assert tenuto("show", "r", "-o", "json").json["status"] == "waiting"
    assert not (tmp_path / ".tenuto" / "tenuto.db.sock").exists()


@pytest.mark.slow
def test_after_kill_nothing_finished_runs_again(
    start: Start, tenuto: Tenuto, write: Write, tmp_path: Path
) -> None:
    """kill -9 in the middle, then the command that was printed: each step ran once."""
    write("flow", SLOW.replace("seconds: 60", "milliseconds: 600"))
    process = start("run", "flow.yaml", "--id", "r")
    suggested = process.until("if it stops:").split("tenuto ", 1)[1].split()
    process.until("waiting   nap")
    process.signal(signal.SIGKILL)
    assert process.end().status == -signal.SIGKILL
    called = tenuto(*suggested, "-o", "json")

    assert called.status == 0, called.err
    assert "going on after 1 finished task" in called.err
    assert (tmp_path / "log").read_text() == "first\nlast\n"


@pytest.mark.slow
def test_the_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """Even if closing hangs, a second Ctrl-C ends the process with 130."""
    program = """
import asyncio, os, signal
from tenuto.cli.driving import until_interrupted

async def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

until_interrupted(work(), lambda: print("left", flush=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "left\n", "")


@pytest.mark.slow
def test_another_process_can_suspend_and_cancel(start: Start, tenuto: Tenuto, write: Write) -> None:
    """The process that works on the run hears of it, and ends with 3 or 130."""
    write("flow", SLOW)
    process = start("run", "flow.yaml", "--id", "r")
    process.until("waiting   nap")
    assert tenuto("suspend", "r").status == 0
    assert process.end().status == 3
    assert tenuto("show", "r", "-o", "json").json["status"] == "suspended"

    process = start("resume", "r")
    process.until("going on")
    assert tenuto("cancel", "r", "--reason", "ordered twice").status == 0
    assert process.end().status == 130
    shown = tenuto("show", "r", "-o", "json").json
    assert (shown["status"], shown["reason"]) == ("cancelled", "ordered twice")
    assert "\nreason        ordered twice\n" in tenuto("show", "r").out


@pytest.mark.slow
def test_a_second_process_is_told_who_works(start: Start, tenuto: Tenuto, write: Write) -> None:
    """One process for each database; reading is always possible."""
    write("flow", SLOW)
    process = start("run", "flow.yaml", "--id", "r")
    process.until("waiting   nap")
    refused = tenuto("run", "flow.yaml")

    assert refused.status == 2
    assert re.search(r"in use by process \d+ \(tenuto run\)", refused.err)
    assert [run["id"] for run in tenuto("runs", "-o", "json").json] == ["r"]
    assert tenuto("resume").status == 2


# ── terminals ────────────────────────────────────────────────────────────────────────────


def in_terminal(folder: Path, *arguments: str, **variables: str) -> str:
    """What a command writes to standard error when that is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tenuto", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "60", "LINES": "20", **variables},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # The other side was closed: everything has been read.
        pass
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.slow
def test_a_terminal_shows_a_tree_in_place(write: Write, tmp_path: Path) -> None:
    """The tree is redrawn where it stands, in colour."""
    write("flow", RETRIED)
    written = in_terminal(tmp_path, "run", "flow.yaml")

    assert "\x1b[J" in written
    assert "\x1b[32m✓" in written
    assert re.search(r"\n\x1b\[2K  .*bad.*attempt 3", written.replace("\r", ""))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminals_that_want_less_get_less(name: str, value: str, write: Write, tmp_path: Path) -> None:
    """NO_COLOR: no colours. TERM=dumb: one line for each change, no cursor movements."""
    write("flow", RETRIED)
    written = in_terminal(tmp_path, "run", "flow.yaml", **{name: value})

    if name == "NO_COLOR":
        assert not re.search(r"\x1b\[[0-9;]*m", written)
    else:
        assert not re.search(r"\x1b\[\d*[AJK]", written)
        assert "completed loop" in written


# ── what nobody expects ──────────────────────────────────────────────────────────────────


def test_an_unexpected_error_says_where_to_report_it(
    tenuto: Tenuto, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 4 and no traceback, unless it is asked for."""
    write("flow", "- a: {set: {x: 1}}")
    broken = {"PATH": "x"}

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("tenuto.app.opened", explode)
    quiet = tenuto("run", "flow.yaml", env=broken)
    loud = tenuto("--debug", "run", "flow.yaml")

    assert (quiet.status, quiet.err.count("\n")) == (4, 2)
    assert quiet.err.startswith("error: RuntimeError: boom\nhint: ")
    assert "Traceback" in loud.err
    assert "Traceback" in tenuto("run", "flow.yaml", env={"TENUTO_DEBUG": "1"}).err


@pytest.mark.parametrize(
    "words", [["resume"], ["resume", "r"], ["retry", "r", "--from", "a"], ["suspend", "r"], ["cancel", "r"]]
)
def test_what_needs_a_run_makes_no_database(words: list[str], tenuto: Tenuto, tmp_path: Path) -> None:
    """In a folder without one, each command says so, as `runs` and `show` do, and leaves nothing behind."""
    called = tenuto(*words)

    assert called == tenuto("runs")
    assert called.err.startswith("error: there is no database at ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_hold_a_database_is_an_error(tenuto: Tenuto, write: Write) -> None:
    """No traceback when the database cannot be made."""
    path = write("flow", "- a: {set: {x: 1}}")
    called = tenuto("run", "flow.yaml", "--db", f"{path}/x.db")

    assert called == type(called)(
        4,
        "",
        f"error: {path}/x.db: Not a directory\n"
        "hint: Check that the folder exists and may be written, or name another with --db.\n",
    )
