"""Workflows in Python from the command line: `run`, `resume`, `retry`, `signal`, `emit`, `query`, `validate`.

Each command is a process of its own, as it is for people: modules that are imported stay imported.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doors.conftest import Called, Process
from tests.doors.test_help import loaded_by, ours

pytestmark = pytest.mark.slow

Start = Callable[..., Process]
Call = Callable[..., Called]

ORDERS = """
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenuto import Query, Signal, log, sleep, step, workflow

from shop.goods import OutOfStock, reserve

approved = Signal("approved", bool)
progress = Query("progress", int)


@dataclass
class Order:
    item: str
    count: int = 1


@step
def charge(order: Order) -> str:
    with Path("log").open("a") as done:
        done.write(f"charge {order.item}\\n")
    return f"receipt for {order.count} {order.item}"


@step
def ship(receipt: str) -> str:
    if Path("broken").exists():
        raise RuntimeError("no truck")
    return receipt.replace("receipt", "parcel")


@workflow
async def order_flow(order: Order, express: bool = False) -> str:
    progress.set(10)
    try:
        await reserve(order.item)
    except OutOfStock as missing:
        return f"no {missing}"
    receipt = await charge(order)
    log(f"charged: {receipt}")
    progress.set(50)
    if not express:
        await approved.receive()
    progress.set(90)
    return await ship(receipt)


@workflow
async def slow_flow(order: Order) -> str:
    receipt = await charge(order)
    await sleep(60)
    return await ship(receipt)


@workflow
async def several(items: list[str]) -> list[str]:
    return [await order_flow(Order(item), express=True) for item in items]
"""

GOODS = """
from tenuto import step


class OutOfStock(Exception):
    pass


@step
def reserve(item: str) -> None:
    if item == "gold":
        raise OutOfStock(item)
"""

TEA = '{"order": {"item": "tea", "count": 2}}'
EXPRESS = '{"order": {"item": "tea", "count": 2}, "express": true}'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a package of workflows; nothing of it is installed."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(ORDERS)
    (tmp_path / "shop" / "goods.py").write_text(GOODS)
    return tmp_path


@pytest.fixture
def tenuto(start: Start) -> Call:
    """Call `tenuto` as a process of its own, and wait for its end."""

    def call(*arguments: str) -> Called:
        return start(*arguments).end()

    return call


# ── run, resume ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "named", ["shop.orders:order_flow", "shop/orders.py:order_flow", "shop.orders:order-flow"]
)
def test_a_workflow_is_named_by_module_or_file(named: str, shop: Path, tenuto: Call) -> None:
    """By its variable or its name; standard output is the result and nothing else."""
    called = tenuto("run", named, "--input", EXPRESS, "-o", "json")

    assert (called.status, called.out) == (0, '"parcel for 2 tea"\n')
    assert "│ charged: receipt for 2 tea\n" in called.err


def test_the_only_workflow_of_a_module_need_not_be_named(tmp_path: Path, tenuto: Call) -> None:
    """Also where it imports others; a file outside of the current folder can be named too."""
    (tmp_path / "here").mkdir()
    (tmp_path / "first.py").write_text(
        "from tenuto import workflow\n\n@workflow\nasync def one() -> int:\n    return 1\n"
    )
    (tmp_path / "second.py").write_text(
        "from tenuto import workflow\nfrom first import one\n\n"
        "@workflow\nasync def two() -> int:\n    return 1 + await one()\n"
    )

    assert tenuto("run", "second.py").out == "2\n"
    assert tenuto("run", "second").out == "2\n"


def test_children_and_exceptions_pass_through(shop: Path, tenuto: Call) -> None:
    """Workflows of the module can call each other; an exception keeps its class across the journal."""
    called = tenuto("run", "shop.orders:several", "-i", '{"items": ["tea", "gold"]}', "-o", "json")

    assert called.json == ["parcel for 1 tea", "no gold"]


def test_a_killed_run_goes_on_from_the_same_folder(shop: Path, start: Start, tenuto: Call) -> None:
    """After kill -9 `tenuto resume` alone finds the code; no recorded step runs again."""
    process = start("run", "shop.orders:slow_flow", "--id", "r", "--input", TEA)
    process.until("started   sleep")
    process.signal(signal.SIGKILL)
    assert process.end().status == -signal.SIGKILL
    (shop / "shop" / "orders.py").write_text(ORDERS.replace("sleep(60)", "sleep(0)"))
    again = start("resume")
    again.until("going on after 1 finished task")
    again.signal(signal.SIGINT)
    stopped = again.end()

    assert stopped.status == 130
    assert "To go on: python -m tenuto resume r" in stopped.err.replace("python3", "python")
    assert (shop / "log").read_text() == "charge tea\n"
    assert tenuto("cancel", "r").status == 0


def test_a_run_whose_code_is_gone_is_untouched(shop: Path, start: Start, tenuto: Call) -> None:
    """One clear error with the way out; nothing is recorded; `--with` is the way out."""
    tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", TEA)
    before = tenuto("show", "r", "--events", "-o", "json").json
    (shop / "shop").rename(shop / "store")
    lost = tenuto("resume", "r")
    after = tenuto("show", "r", "--events", "-o", "json").json
    (shop / "store").rename(shop / "shop")
    found = tenuto("signal", "r", "approved", "--data", "true", "--with", "shop/orders.py")

    assert lost.status == 2
    assert lost.err.splitlines() == [
        f"error: the code of this run is not at hand: there is no module 'shop' in {shop}",
        "hint: go to the folder that the run was started in, or name its code: --with shop/orders.py",
    ]
    assert before == after
    assert found.status == 0


def test_a_run_of_a_file_elsewhere_finds_it_again(shop: Path, tenuto: Call) -> None:
    """Its path is remembered, wherever `resume` is called."""
    elsewhere = shop / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "alone.py").write_text(
        "from tenuto import Signal, workflow\n\ngo = Signal('go', int)\n\n"
        "@workflow\nasync def alone() -> int:\n    return await go.receive()\n"
    )
    (shop / "work").mkdir()
    waiting = tenuto("run", "work/../elsewhere/alone.py", "--id", "r")

    assert waiting.status == 3
    assert tenuto("signal", "r", "go", "--data", "7").status == 0
    assert tenuto("query", "r", "nothing").status == 2


def test_the_same_id_and_input_is_one_run(shop: Path, tenuto: Call) -> None:
    """Defaults count as if they were written; other input is a conflict."""
    tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", EXPRESS)
    again = tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", EXPRESS)
    other = tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", TEA)

    assert (again.status, other.status) == (0, 2)
    assert (shop / "log").read_text() == "charge tea\n"


# ── retry ────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_tried_again_from_a_step(shop: Path, tenuto: Call) -> None:
    """What it did before that step is taken over; the command is suggested."""
    (shop / "broken").touch()
    failed = tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", EXPRESS)
    (shop / "broken").unlink()
    once = tenuto("retry", "r", "--from", "ship", "-o", "json")
    twice = tenuto("retry", "r", "--from", "charge", "-o", "json")

    assert failed.status == 1
    assert json.loads(failed.err.splitlines()[-1])["detail"] == "no truck"
    assert "retry r --from /ship\n" in failed.err
    assert once.out == twice.out == '"parcel for 2 tea"\n'
    assert (shop / "log").read_text() == "charge tea\n" * 2


def test_what_was_taken_back_is_not_taken_over(tmp_path: Path, tenuto: Call) -> None:
    """Else an order is shipped that is not paid any more, or the money goes back twice."""
    (tmp_path / "pay.py").write_text("""
from pathlib import Path
from tenuto import step, workflow

def tell(text: str) -> None:
    with Path("log").open("a") as done:
        print(text, file=done)

@step
def refund(order: str, result: str) -> None:
    tell("refund")

@step(undo=refund)
def charge(order: str) -> str:
    tell("charge")
    return "receipt"

@step
def ship(order: str) -> str:
    if Path("broken").exists():
        raise RuntimeError("no truck")
    return "parcel"

@workflow
async def order_flow(order: str) -> str:
    await charge(order)
    return await ship(order)
""")
    (tmp_path / "broken").touch()
    failed = tenuto("run", "pay.py", "--id", "r", "--input", '{"order": "tea"}')
    (tmp_path / "broken").unlink()
    refused = tenuto("retry", "r", "--from", "ship")
    again = tenuto("retry", "r", "--from", "/charge", "-o", "json")

    assert failed.err.splitlines()[-2].endswith(" retry r --from /charge")
    assert (refused.status, refused.out) == (2, "")
    assert "what the run did before /ship is taken back (/refund)" in refused.err
    assert "hint: begin with --from /charge, or start a new run" in refused.err
    assert again.out == '"parcel"\n'
    assert (tmp_path / "log").read_text().split() == ["charge", "refund", "charge"]


# ── signal, query, emit ──────────────────────────────────────────────────────────────────


def test_signals_and_queries_without_another_process(shop: Path, tenuto: Call) -> None:
    """A run that waits says which signal it needs; the signal is recorded, nothing else is done."""
    waiting = tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", TEA)
    early = tenuto("query", "r", "progress").out
    sent = tenuto("signal", "r", "approved", "--data", "true")
    between = tenuto("show", "r", "-o", "json").json
    done = tenuto("resume", "r", "-o", "json")

    assert waiting.status == 3
    assert "waiting for the signal `approved`," in waiting.err
    assert "tenuto signal r approved --data JSON\n" in waiting.err
    assert sent.status == 0
    assert [task["status"] for task in between["tasks"] if task["name"] == "ship"] == ["running"]
    assert (done.out, early) == ('"parcel for 2 tea"\n', "50\n")
    assert tenuto("query", "r", "progress").out == "90\n"
    assert tenuto("signal", "r", "approved").status == 2


LISTENS = """
from tenuto import Query, Signal, wait_for_event, workflow

go, told = Signal("go", int), Query("told", str)


@workflow
async def listens() -> int:
    told.set("early")
    number = await go.receive(timeout=60)
    told.set("late")
    event = await wait_for_event("paid", where={"subject": "x"}, timeout=60)
    return number + event["data"]
"""


def test_signals_queries_and_events_reach_the_process_that_works(
    tmp_path: Path, start: Start, tenuto: Call
) -> None:
    """While a process drives the run, it is told there and goes on at once."""
    (tmp_path / "flow.py").write_text(LISTENS)
    process = start("run", "flow.py", "--id", "r")
    process.until("started   go")
    asked = tenuto("query", "r", "told", "-o", "json")
    signalled = tenuto("signal", "r", "go", "--data", "4")
    process.until("started   paid")
    other = tenuto("emit", "paid", "--data", "3", "--subject", "y")
    unheard = tenuto("emit", "unpaid")
    heard = tenuto("emit", "paid", "--data", "3", "--subject", "x", "--attribute", "region=eu")
    ended = process.end()

    assert asked.out == '"early"\n'
    assert signalled.err == "r has the signal `go`, in the process that works on it\n"
    assert other.err == heard.err == "heard by r, in the process that works on the database\n"
    assert "nobody has heard it" in unheard.err
    assert (ended.status, ended.out) == (0, "7\n")
    assert tenuto("query", "r", "told", "-o", "json").out == '"late"\n'


def test_an_event_is_recorded_with_runs_that_nobody_works_on(tmp_path: Path, tenuto: Call) -> None:
    """Documents and Python code alike; one whose code is gone is named, and stays as it is."""
    flow = "from tenuto import *\n\n@workflow\nasync def waits() -> int:\n"
    flow += "    return (await wait_for_event('paid'))['data']\n"
    (tmp_path / "waits.py").write_text(flow)
    (tmp_path / "lost.py").write_text(flow.replace("waits", "lost"))
    (tmp_path / "yaml.yaml").write_text(
        "document: {dsl: 1.0.3, namespace: test, name: listen, version: 1.0.0}\n"
        "do: [{hear: {listen: {to: {one: {with: {type: paid}}}}}}]\n"
    )
    for name in ("waits.py", "lost.py", "yaml.yaml"):
        assert tenuto("run", name, "--id", name.partition(".")[0]).status == 3
    (tmp_path / "lost.py").unlink()
    sent = tenuto("emit", "paid", "--data", "5")

    assert sent.status == 0
    assert "warning: the run lost cannot be taken up: " in sent.err
    assert "heard by waits, yaml\n" in sent.err
    assert [tenuto("show", run, "-o", "json").json["output"] for run in ("waits", "yaml")] == [5, [5]]
    assert tenuto("show", "lost", "-o", "json").json["status"] == "waiting"


def test_a_document_hears_no_signals(tmp_path: Path, tenuto: Call) -> None:
    """The error says what it does hear."""
    (tmp_path / "listen.yaml").write_text(
        "document: {dsl: 1.0.3, namespace: test, name: listen, version: 1.0.0}\n"
        "do: [{hear: {listen: {to: {one: {with: {type: paid}}}}}}]\n"
    )
    tenuto("run", "listen.yaml", "--id", "r")
    called = tenuto("signal", "r", "go")

    assert called.status == 2
    assert called.err.count("error:") == 1
    assert "tenuto emit TYPE" in called.err


# ── suspended, because the code has to be mended ─────────────────────────────────────────

CLOCK = """
import time

from tenuto import step, workflow


@step
def one() -> int:
    return 1


@workflow
async def clock() -> int:
    await one()
    return int(time.time() * 0) + 1
"""


def test_code_that_asks_for_the_clock_is_told_and_goes_on_when_mended(tmp_path: Path, tenuto: Call) -> None:
    """`run` and `show` name the line and the durable way; `resume` goes on behind the recorded steps."""
    (tmp_path / "clock.py").write_text(CLOCK)
    stuck = tenuto("run", "clock.py", "--id", "r")
    shown = tenuto("show", "r").out
    listed = tenuto("show", "r", "--events").out
    (tmp_path / "clock.py").write_text(CLOCK.replace("int(time.time() * 0) + 1", "1"))
    mended = tenuto("resume", "r")

    assert stuck.status == 3
    for text in (stuck.err, shown):
        assert "clock.py:15: `time.time` reads the clock" in text
        assert "hint: use `tenuto.now()`" in text
    assert "tenuto resume r" in stuck.err
    assert "suspended because:\n" in shown
    assert "stuck " in listed
    assert (mended.status, mended.out) == (0, "1\n")


def test_code_that_does_not_fit_the_history_is_shown_as_a_difference(shop: Path, tenuto: Call) -> None:
    """What was recorded and what the code asks for now, line by line; the old code goes on."""
    tenuto("run", "shop.orders:order_flow", "--id", "r", "--input", TEA)
    file = shop / "shop" / "orders.py"
    file.write_text(ORDERS.replace("await reserve(order.item)", "await ship(order.item)"))
    unfit = tenuto("resume", "r")
    shown = tenuto("show", "r", "-o", "json").json
    file.write_text(ORDERS)
    tenuto("signal", "r", "approved", "--data", "true")
    done = tenuto("resume", "r", "-o", "json")

    assert unfit.status == 2
    assert "\n- started /reserve (step)\n" in unfit.err
    assert "\n+ started /ship (step)" in unfit.err
    assert unfit.err.count("error:") == 1
    assert shown["status"] == "suspended"
    assert "- started /reserve (step)" in shown["reason"]
    assert done.out == '"parcel for 2 tea"\n'


# ── documents and code together ──────────────────────────────────────────────────────────

MIXED = """\
document: {dsl: 1.0.3, namespace: test, name: mixed, version: 1.0.0}
do:
  - pay: {call: "python.charge:1.0.0@default", with: {order: {item: tea}}}
  - flow:
      run:
        workflow:
          {namespace: default, name: order-flow, version: 1.0.0, input: {order: {item: cup}, express: true}}
"""


@pytest.mark.parametrize("code", ["shop.orders", "shop/orders.py"])
def test_documents_call_steps_and_workflows_in_python(code: str, shop: Path, tenuto: Call) -> None:
    """`--with` makes them known to `run` and `validate`; without it the error says so."""
    (shop / "mixed.yaml").write_text(MIXED)
    known = tenuto("run", "mixed.yaml", "--with", code, "-o", "json")
    unknown = tenuto("validate", "mixed.yaml")
    (shop / "mixed.yaml").write_text(MIXED.replace("with: {order", "with: {ordr"))
    misspelt = tenuto("validate", "mixed.yaml", "--with", code)

    assert (known.status, known.out) == (0, '"parcel for 1 cup"\n')
    assert (shop / "log").read_text() == "charge tea\ncharge cup\n"
    assert unknown.status == 2
    assert "--with shop/orders.py" in unknown.out
    assert misspelt.status == 2
    assert "has no argument `ordr`" in misspelt.out


def test_a_document_whose_child_has_lost_its_code_is_kept(shop: Path, tenuto: Call) -> None:
    """It is suspended with the reason, and goes on when the code is back, or mended."""
    (shop / "parent.yaml").write_text(
        "document: {dsl: 1.0.3, namespace: test, name: parent, version: 1.0.0}\n"
        "do: [{flow: {run: {workflow: {namespace: default, name: order-flow, version: 1.0.0, input: "
        + TEA
        + "}}}}]\n"
    )
    waiting = tenuto("run", "parent.yaml", "--id", "r", "--with", "shop.orders")
    child = next(row["id"] for row in tenuto("runs", "-o", "json").json if row["parent"] == "r")
    tenuto("signal", child, "approved", "--data", "true")
    (shop / "shop").rename(shop / "store")
    lost = tenuto("resume", "r")
    (shop / "store").rename(shop / "shop")
    (shop / "shop" / "goods.py").write_text("import nothing_like_that\n")
    broken = tenuto("resume", "r")
    (shop / "shop" / "goods.py").write_text(GOODS)
    done = tenuto("resume", "r", "-o", "json")

    assert waiting.status == lost.status == broken.status == 3
    assert "there is no module 'shop'" in lost.err
    assert "shop/goods.py:1: ModuleNotFoundError: No module named 'nothing_like_that'" in broken.err
    assert (done.status, done.out) == (0, '"parcel for 2 tea"\n')


def test_code_is_checked_and_listed(shop: Path, tenuto: Call) -> None:
    """`validate` lists workflows and steps, or tells the first mistake; pictures are for documents."""
    (shop / "wrong.py").write_text("from tenuto import step\n\ncharge = step(lambda x: x)\n")
    text = tenuto("validate", "shop/orders.py")
    listed, broken = tenuto("validate", "shop.orders", "wrong.py", "--format", "json").json
    drawn = tenuto("graph", "shop/orders.py")

    assert text.status == 0
    assert "  workflow  default/order-flow:1.0.0  (order: Order, express: bool = False) -> str\n" in text.out
    assert [each["name"] for each in listed["workflows"]] == ["order-flow", "slow-flow", "several"]
    assert listed["steps"][0]["call"] == "python.reserve:1.0.0@default"
    assert [(error["line"], error["code"]) for error in broken["errors"]] == [(3, "broken-module")]
    assert drawn.status == 2
    assert "cannot be drawn" in drawn.err


# ── bad input ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "complaint", "hint"),
    [
        (["shop.order:order_flow"], "there is no module 'shop.order' in shop", "did you mean `shop.orders`?"),
        (["shop/order.py"], "there is no file 'shop/order.py'", "did you mean `orders.py`?"),
        (
            ["shop.orders:orderflow"],
            "shop.orders has no workflow `orderflow`",
            "did you mean `shop.orders:order_flow`?",
        ),
        (["shop.orders"], "shop.orders has several workflows", "name one: shop.orders:order_flow, "),
        (["shop.orders:charge"], "`charge` of shop.orders is a step, not a workflow", "there are: "),
        (["shop.goods"], "shop.goods has no workflow", "put @workflow over an `async def`"),
        (
            ["shop.orders:order_flow", "-i", '{"order": {"item": 3}}'],
            "parameter `order` of workflow `order-flow`, at `.item`: expected `str`, found an int",
            "order-flow(order: Order, express: bool = False) -> str",
        ),
        (["shop.orders:order_flow"], "the argument `order` is missing", "order-flow(order: Order"),
        (["shop.orders:order_flow", "--with", "shop.none"], "there is no module 'shop.none' in shop", ""),
    ],
)
def test_what_cannot_be_run_is_one_error(
    arguments: list[str], complaint: str, hint: str, shop: Path, tenuto: Call
) -> None:
    """Status 2, what was wrong, how to mend it; and no run exists."""
    called = tenuto("run", *arguments)
    error, advice = called.err.splitlines()

    assert (called.status, called.out) == (2, "")
    assert error.startswith("error: ")
    assert complaint in error
    assert advice.startswith("hint: ")
    assert hint in advice
    assert not (shop / ".tenuto").exists()


def test_a_module_that_cannot_be_imported_is_told_by_the_users_line(
    tmp_path: Path, start: Start, tenuto: Call
) -> None:
    """No traceback, unless it is asked for."""
    (tmp_path / "helper.py").write_text("import json\n\ndef read():\n    return json.loads('{')\n")
    (tmp_path / "flow.py").write_text("import helper\n\nvalue = helper.read()\n")
    quiet = tenuto("run", "flow.py")
    loud = tenuto("--debug", "run", "flow.py")

    assert quiet.status == loud.status == 2
    assert quiet.err.startswith("error: helper.py:4: JSONDecodeError: ")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err


# ── what documents do not pay for ────────────────────────────────────────────────────────


def test_documents_load_nothing_of_python_workflows(tmp_path: Path) -> None:
    """`validate` and `run` of YAML import neither authoring nor what runs it."""
    file = tmp_path / "flow.yaml"
    file.write_text(
        "document: {dsl: 1.0.3, namespace: test, name: flow, version: 1.0.0}\ndo: [{a: {set: {x: 1}}}]\n"
    )
    database = ("--db", str(tmp_path / "x.db"))
    loaded = ours(loaded_by("validate", str(file))) | ours(loaded_by("run", str(file), *database))

    assert "tenuto.runtime.worker" in loaded
    assert not any("authoring" in name or name == "tenuto.runtime.python" for name in loaded)


def test_the_list_of_modules_would_show_python_workflows(tmp_path: Path) -> None:
    """Negative control: a workflow in Python does load them."""
    file = tmp_path / "flow.py"
    file.write_text("from tenuto import workflow\n\n@workflow\nasync def flow() -> int:\n    return 1\n")
    loaded = ours(loaded_by("run", str(file), "--db", str(tmp_path / "x.db")))

    assert {"tenuto.authoring.declare", "tenuto.runtime.python"} <= loaded
