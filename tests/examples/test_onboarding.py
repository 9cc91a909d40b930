"""The onboarding example, against its own servers and against those of Debian."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from onboarding.company import HERE, SCHEMA, SYSTEMS, Company
from onboarding.servers.entries import FIRST_ENTRIES
from onboarding.tally import count_requests

from tests.examples.scene import LOGS, Scene, Watch, attempts, ended, laptops_at
from tests.servers.postgres import Postgres
from tests.servers.provision import program
from tests.servers.slapd import ADMINISTRATOR, BASE, PASSWORD, Slapd

pytestmark = pytest.mark.slow

OWN = tuple(system for system in SYSTEMS if system.module in ("it_services", "mail"))
VOLATILE = ("entryCSN", "entryUUID", "modifyTimestamp", "createTimestamp", "contextCSN", "modifiersName")
ADA = f"uid=ada,ou=people,{BASE}"
GROUPS = [f"cn={name},ou=groups,{BASE}" for name in ("everyone", "engineering", "source-code")]

Directory = dict[str, dict[str, list[str]]]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    """Return a new company whose systems are not running yet."""
    return Company(tmp_path / "company")


def own_scene(folder: Path, company: Company) -> Scene:
    """Return the scene of the example's own, running servers."""
    secrets = company.secrets()
    port = next(rule for rule in company.resolve if rule.startswith("inventory")).rsplit(":", 1)[1]
    url = f"postgresql://inventory:{secrets['inventory']}@127.0.0.1:{port}/inventory"
    directory = company.folder / "directory.json"
    return Scene(
        folder,
        company,
        company.resolve,
        secrets,
        lambda: json.loads(directory.read_text()),
        lambda: laptops_at(url),
    )


@pytest.fixture
def own(tmp_path: Path, company: Company) -> Iterator[Scene]:
    """Run the example's own servers."""
    with company.open(0.0):
        yield own_scene(tmp_path, company)


@contextmanager
def real_scene(folder: Path, company: Company, slapd: Slapd, postgres: Postgres) -> Iterator[Scene]:
    """Fill slapd and PostgreSQL of Debian with the company's data; HTTP and SMTP are the example's own."""
    groups = [name for name in FIRST_ENTRIES if name.startswith("cn=")]
    bind = ["-x", "-H", slapd.url, "-D", ADMINISTRATOR, "-w", PASSWORD]
    subprocess.run(
        [program("ldapadd", "ldap-utils"), *bind],
        input="\n".join(f"dn: {name}\n{_ldif(FIRST_ENTRIES[name])}" for name in groups),
        text=True,
        check=True,
        capture_output=True,
    )
    asyncio.run(_make_inventory(postgres.url))
    url = f"postgresql://inventory:stock@localhost:{postgres.port}/inventory"
    places = {"ldap.example.org:389": slapd.port, "inventory.example.org:5432": postgres.port}
    rules = [f"{name}=127.0.0.1:{port}" for name, port in places.items()]
    secrets = {**company.secrets(), "directory": PASSWORD, "inventory": "stock"}
    try:
        with company.open(0.0, OWN):
            yield Scene(
                folder,
                company,
                (*company.resolve, *rules),
                secrets,
                lambda: _entries(slapd.ldif()),
                lambda: laptops_at(url),
            )
    finally:
        delete = [program("ldapdelete", "ldap-utils"), *bind, "-c", ADA, *groups]
        subprocess.run(delete, check=False, capture_output=True)
        asyncio.run(_drop_inventory(postgres.url))


@pytest.fixture
def real(tmp_path: Path, company: Company, slapd: Slapd, postgres: Postgres) -> Iterator[Scene]:
    """Run the company on servers of Debian."""
    with real_scene(tmp_path, company, slapd, postgres) as scene:
        yield scene


def _ldif(attributes: dict[str, list[str]]) -> str:
    return "".join(f"{kind}: {value}\n" for kind, values in attributes.items() for value in values)


def _entries(ldif: str) -> Directory:
    """Return what a directory holds, without what tells only when and by whom it was written."""
    entries: Directory = {}
    for text in filter(None, ldif.split("\n\n")):
        lines = [line.split(": ", 1) for line in text.splitlines() if not line.startswith(VOLATILE)]
        entries[lines[0][1]] = {kind: [value for name, value in lines if name == kind] for kind, _ in lines}
    return entries


async def _make_inventory(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE ROLE inventory LOGIN PASSWORD 'stock'")
    await connection.execute("CREATE DATABASE inventory OWNER inventory")
    await connection.close()
    connection = await asyncpg.connect(url.rsplit("/", 1)[0] + "/inventory")
    await connection.execute("SET ROLE inventory")
    await connection.execute(SCHEMA.read_text())
    await connection.close()


async def _drop_inventory(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DROP DATABASE inventory WITH (FORCE)")
    await connection.execute("DROP ROLE inventory")
    await connection.close()


@pytest.fixture(params=["own", "real"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Return each scene in turn."""
    found: Scene = request.getfixturevalue(request.param)
    return found


def check_onboarded(scene: Scene) -> None:
    """Every system holds what Ada needs, once."""
    state = scene.state()

    assert [{"employee": "E1042", "address": "ada.lovelace@example.org"}] == state["services"]["mailboxes"]
    assert ["office", "ide"] == [licence["product"] for licence in state["services"]["licences"]]
    assert [{"employee": "E1042", "role": "developer"}] == state["services"]["cloud-access"]
    assert ["LT-1002"] == [serial for serial, who in state["laptops"].items() if who == "E1042"]
    assert 1 == state["mails"]
    assert GROUPS == [name for name, entry in state["directory"].items() if ADA in entry.get("member", [])]


def test_an_employee_gets_everything(scene: Scene) -> None:
    """A run that completes leaves account, groups, laptop, mailbox, licences, cloud access and mail."""
    status, out, errors = ended(scene.onboard("employee.json"))

    assert (0, "E1042") == (status, json.loads(out or "{}").get("employee")), errors
    check_onboarded(scene)


def test_a_failed_onboarding_leaves_nothing(scene: Scene) -> None:
    """A step that finally fails faults the run with its error, and every system is as it was before."""
    before = scene.state()
    status, out, errors = ended(scene.onboard("contractor.json"))

    assert (1, "") == (status, out), errors
    assert "answered 422" in scene.show()["error"]["detail"]
    assert before == scene.state()
    assert {} != scene.show()["tasks"]


def finished(scene: Scene) -> Counter[str]:
    """Count, for each task, how often its outcome is recorded."""
    return Counter(task["name"] for task in scene.show()["tasks"] if task["status"] == "completed")


TOTAL = Counter(createAccount=1, joinGroup=3, openMailbox=1, grantLicence=2, grantCloudAccess=1, welcome=1)


@pytest.mark.parametrize("requests", [1, 2, 4, 6, 8, 10, 12])
def test_after_a_kill_no_finished_step_runs_again(tmp_path: Path, company: Company, requests: int) -> None:
    """Killed while a request is under way, a resumed run asks only for what is not recorded, and completes."""
    company.folder.mkdir()
    with Watch(company.folder) as watch, company.open(0.0):
        scene = own_scene(tmp_path, company)
        child = scene.onboard("employee.json")
        assert watch.wait_for(requests)
        child.kill()
        ended(child)
        recorded, seen = finished(scene), len(watch.lines)
        status, _, errors = ended(scene.start("resume", "it"))
        again = attempts(watch.lines[seen:])

        assert 0 == status, errors
        assert {} == again - (TOTAL - recorded)
        check_onboarded(scene)


def test_a_kill_changes_nothing_for_servers_of_debian(
    tmp_path: Path, company: Company, slapd: Slapd, postgres: Postgres
) -> None:
    """Killed between two requests, the run ends as if nothing had happened, on slapd and PostgreSQL too."""
    company.folder.mkdir()
    with Watch(company.folder) as watch, real_scene(tmp_path, company, slapd, postgres) as scene:
        child = scene.onboard("employee.json")
        assert watch.wait_for(3)
        child.kill()
        ended(child)
        status, _, errors = ended(scene.start("resume", "it"))

        assert 0 == status, errors
        check_onboarded(scene)


def test_the_request_logs_show_what_was_done_twice(own: Scene) -> None:
    """The table after a run counts no change twice; it would count one."""
    ended(own.onboard("employee.json"))
    logs = [own.company.folder / system.log for system in SYSTEMS]
    tallies = [count_requests(log) for log in logs]
    texts = [(own.company.folder / log).read_text() for log in LOGS.values()]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    services = own.company.folder / "it_services.log.jsonl"
    with services.open("a") as log:
        log.write(services.read_text().splitlines()[-1].replace('"changed": false', '"changed": true') + "\n")
        log.write(services.read_text().splitlines()[-1] + "\n")

    assert [0, 0, 0, 0] == [tally.twice for tally in tallies]
    assert [True] * 4 == [tally.changes > 0 for tally in tallies]
    assert attempts(lines) == TOTAL
    assert 1 <= count_requests(services).twice


def test_the_example_itself_goes_on_after_a_kill(tmp_path: Path) -> None:
    """`run.py` names the process to kill and the command that goes on; that ends with nothing done twice."""
    command = [sys.executable, str(HERE / "run.py"), "--folder", str(tmp_path), "--latency", "0"]
    said = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr
        for line in first.stderr:
            said += line
            if "completed createAccount" in line:
                os.kill(int(said.partition("kill -9 ")[2].partition(")")[0]), signal.SIGKILL)
    second = subprocess.run(
        [*command, "--resume"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    third = subprocess.run(
        [*command, "--resume"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    twice = [
        line.split()[-1] for line in second.stderr.splitlines() if line.startswith("  ") and ") " in line
    ]

    assert 128 + signal.SIGKILL == first.returncode, said
    assert said.splitlines()[-1].endswith("make resume")
    assert (0, ["0"] * 4) == (second.returncode, twice), second.stderr
    assert "E1042" in second.stdout
    assert (2, "There is no run to go on with") == (third.returncode, third.stderr[:29])
