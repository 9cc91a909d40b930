"""The ssh connector against a real sshd."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tenuto.errors import Fault
from tenuto.plugin import Call
from tests.servers.process import free_port
from tests.servers.sshd import Sshd

Invoke = Callable[..., Awaitable[Any]]
FaultOf = Callable[[Awaitable[Any]], Awaitable[Fault]]


@pytest.fixture
def server(sshd: Sshd) -> dict[str, Any]:
    """Return the server as an argument."""
    return {
        "host": sshd.host,
        "port": sshd.port,
        "user": sshd.user,
        "private_key": sshd.private_key,
        "host_key": sshd.host_key,
    }


async def test_a_command_runs_there(invoke: Invoke, server: dict[str, Any]) -> None:
    """Output, errors, input, environment and folder are as asked."""
    command = ["sh", "-c", 'cat; printf %s "$WHO" >&2; pwd']

    result = await invoke(
        "ssh.run", server=server, command=command, stdin="in\n", environment={"WHO": "Zoë's"}, folder="/"
    )

    assert {"code": 0, "stdout": "in\n/\n", "stderr": "Zoë's"} == result


@pytest.mark.parametrize(
    "odd", ["$(id)", "`id`", "a b", "it's", '"', "*", "~", ";", "\n", "", "A=b", "if", "-n", "\\", "ä"]
)
async def test_no_argument_is_ever_interpreted(invoke: Invoke, server: dict[str, Any], odd: str) -> None:
    """Whatever a shell would do something with arrives as it is."""
    result = await invoke("ssh.run", server=server, command=["printf", "[%s]", odd, odd])

    assert f"[{odd}][{odd}]" == result["stdout"]


async def test_input_that_nobody_reads_is_no_fault(invoke: Invoke, server: dict[str, Any]) -> None:
    """A program may end without having read its input."""
    result = await invoke("ssh.run", server=server, command=["true"], stdin="x" * 3_000_000)

    assert 0 == result["code"]


@pytest.mark.parametrize("word", ["A=b", "if"])
async def test_the_program_s_name_is_no_syntax(invoke: Invoke, server: dict[str, Any], word: str) -> None:
    """A first item that looks like an assignment or a keyword is taken for a program's name."""
    result = await invoke("ssh.run", server=server, command=[word, "true"], check=False)

    assert 127 == result["code"]


async def test_exit_codes(invoke: Invoke, fault_of: FaultOf, server: dict[str, Any]) -> None:
    """A code other than 0 is a fault with what was said on stderr, unless it is not checked."""
    command = ["sh", "-c", "echo broken >&2; exit 3"]

    unchecked = await invoke("ssh.run", server=server, command=command, check=False)
    fault = await fault_of(invoke("ssh.run", server=server, command=command))
    # The whole group: a login shell that does not replace itself by the command would report code 137.
    killed = await fault_of(invoke("ssh.run", server=server, command=["sh", "-c", "kill -9 0"], check=False))

    assert {"code": 3, "stdout": "", "stderr": "broken\n"} == unchecked
    assert "`sh` on localhost ended with 3: broken" == fault.detail
    assert "`sh` on localhost was ended by the signal KILL" == killed.detail


async def test_limits(invoke: Invoke, fault_of: FaultOf, server: dict[str, Any], tmp_path: Path) -> None:
    """Too much output, too large a file and too long a time are faults."""
    (tmp_path / "large").write_text("xxx")
    loud = await fault_of(invoke("ssh.run", server=server, command=["yes"], limit=1000))
    slow = await fault_of(
        invoke("ssh.run", server=server, command=["cat", "/dev/zero"], limit=2**40, timeout=0.3)
    )
    large = await fault_of(invoke("ssh.get", server=server, path=str(tmp_path / "large"), limit=2))

    assert "more than 1000 bytes to stdout; raise `limit`" in str(loud.detail)
    assert (504, True) == (slow.status, slow.transient)
    assert "more than 2 bytes; raise `limit`" in str(large.detail)


async def test_files_go_there_and_come_back(invoke: Invoke, server: dict[str, Any], tmp_path: Path) -> None:
    """Text and bytes arrive whole, with the permissions asked for, and no other file stays."""
    await invoke("ssh.put", server=server, path=str(tmp_path / "a"), content="Größe", mode="600")
    await invoke("ssh.put", server=server, path=str(tmp_path / "b"), content="AP8=", encoding="base64")

    assert "Größe" == await invoke("ssh.get", server=server, path=str(tmp_path / "a"))
    assert "AP8=" == await invoke("ssh.get", server=server, path=str(tmp_path / "b"), encoding="base64")
    assert 0o600 == os.stat(tmp_path / "a").st_mode & 0o777
    assert ["a", "b"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("before", [None, "old"])
async def test_a_put_can_be_repeated_and_undone(
    invoke: Invoke, server: dict[str, Any], tmp_path: Path, before: str | None
) -> None:
    """The second time nothing changes; `restore` brings back the former content or absence."""
    file = tmp_path / "a"
    if before is not None:
        file.write_text(before)
        file.chmod(0o640)

    result = await invoke("ssh.put", server=server, path=str(file), content="new")
    again = await invoke("ssh.put", server=server, path=str(file), content="new")
    assert (True, False) == (result["changed"], again["changed"])
    for _ in range(2):
        await invoke("ssh.restore", server=server, result=result)

    assert before == (file.read_text() if "a" in os.listdir(tmp_path) else None)
    assert before is None or 0o640 == os.stat(file).st_mode & 0o777


async def test_faults_of_files(
    invoke: Invoke, fault_of: FaultOf, server: dict[str, Any], tmp_path: Path
) -> None:
    """A missing file is 404; a folder that is not there too, with nothing left behind."""
    missing = await fault_of(invoke("ssh.get", server=server, path=str(tmp_path / "none")))
    nowhere = await fault_of(invoke("ssh.put", server=server, path=str(tmp_path / "none" / "a"), content=""))
    wrong = await fault_of(invoke("ssh.put", server=server, path="a", content="*", encoding="base64"))

    assert [404, 404, 400] == [missing.status, nowhere.status, wrong.status]


async def test_the_host_key_is_checked(
    invoke: Invoke, fault_of: FaultOf, server: dict[str, Any], sshd: Sshd
) -> None:
    """Another key is refused before anything is said; the right one is known by key or by line."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    by_line = {**server, "host_key": None, "known_hosts": sshd.known_hosts}
    foreign = {**server, "host_key": None, "known_hosts": sshd.known_hosts.replace("localhost", "other")}

    assert "x" == (await invoke("ssh.run", server=by_line, command=["printf", "x"]))["stdout"]
    for wrong in ({**server, "host_key": other}, foreign):
        fault = await fault_of(invoke("ssh.run", server=wrong, command=["true"]))
        assert (502, False) == (fault.status, fault.transient)
    unsaid = await fault_of(invoke("ssh.run", server={**server, "host_key": None}, command=["true"]))
    assert "give `host_key`" in str(unsaid.detail)


async def test_the_address_may_be_mapped(
    invoke: Invoke, make_call: Callable[..., Call], server: dict[str, Any], sshd: Sshd
) -> None:
    """The connection goes where the network maps the host; the key is still that of the name."""
    call = make_call(resolve=(f"build.example:22=127.0.0.1:{sshd.port}",))
    mapped = {
        **server,
        "host": "build.example",
        "port": 22,
        "host_key": None,
        "known_hosts": f"build.example {sshd.host_key}",
    }

    assert 0 == (await invoke("ssh.run", call=call, server=mapped, command=["true"]))["code"]


async def test_refused_credentials_and_lost_servers(
    invoke: Invoke, fault_of: FaultOf, server: dict[str, Any]
) -> None:
    """A wrong key is 401, an unreadable one 400, a server that is down 503; no fault has a secret in it."""
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    refused = await fault_of(invoke("ssh.run", server={**server, "private_key": stranger}, command=["true"]))
    password = await fault_of(
        invoke("ssh.run", server={**server, "private_key": None, "password": "pass-secret"}, command=["true"])
    )
    broken = await fault_of(invoke("ssh.run", server={**server, "private_key": "no key"}, command=["true"]))
    down = await fault_of(invoke("ssh.run", server={**server, "port": free_port()}, command=["true"]))

    assert [401, 401, 400, 503] == [fault.status for fault in (refused, password, broken, down)]
    assert down.transient
    assert "pass-secret" not in f"{refused}{password}{broken}{down}"


async def test_passwords_and_locked_keys(invoke: Invoke, sshd: Sshd, server: dict[str, Any]) -> None:
    """A password lets in where the server takes one; a key may be locked with a passphrase."""
    host_key = asyncssh.generate_private_key("ssh-ed25519")

    class Door(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("ada", "pass-secret")

    async def serve(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write(str(process.command))
        process.exit(0)

    locked_key = asyncssh.import_private_key(sshd.private_key).export_private_key(passphrase="locked-secret")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Door, server_host_keys=[host_key], process_factory=serve
    )
    by_password = {
        "host": "127.0.0.1",
        "port": listener.get_port(),
        "user": "ada",
        "password": "pass-secret",
        "host_key": host_key.export_public_key().decode(),
    }
    result = await invoke("ssh.run", server=by_password, command=["ls", "it's"])
    listener.close()
    await listener.wait_closed()

    locked = {**server, "private_key": locked_key.decode(), "passphrase": "locked-secret"}

    assert "'ls' 'it'\"'\"'s'" == result["stdout"]
    assert 0 == (await invoke("ssh.run", server=locked, command=["true"]))["code"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"command": []}, "argument `command`: it is empty"),
        ({"command": ["a\0"]}, "a null character"),
        ({"command": ["a"], "environment": {"A B": "x"}}, "`A B` is no name of a variable"),
    ],
)
async def test_what_cannot_be_run_is_told(
    invoke: Invoke, fault_of: FaultOf, arguments: dict[str, Any], complaint: str
) -> None:
    """The mistake is found before anything is connected."""
    server = {"host": "localhost", "user": "ada"}

    fault = await fault_of(invoke("ssh.run", server=server, **arguments))

    assert complaint in str(fault.detail)
