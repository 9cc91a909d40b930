"""OpenSSH's sshd for the user who runs the tests, who comes in with a key."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import folder_of, running
from tests.servers.provision import program

_CONFIGURATION = """\
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


class Sshd:
    """Where the server is, who may come in with which key, and which host key it shows."""

    def __init__(self, port: int, folder: Path) -> None:
        self.host = "localhost"
        self.port = port
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.private_key = (folder / "user_key").read_text()
        self.host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        self.known_hosts = f"[localhost]:{port} {self.host_key}\n"


@contextmanager
def sshd_server() -> Iterator[Sshd]:
    """Run sshd with fresh keys."""
    sshd, keygen = program("sshd", "openssh-server"), program("ssh-keygen", "openssh-client")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it shuts its unprivileged half in
    with folder_of(None) as folder:
        for name in ("host_key", "user_key"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                check=True,
                capture_output=True,
            )
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        configuration = folder / "sshd_config"
        configuration.write_text(_CONFIGURATION.format(folder=folder))
        with running(
            lambda port: [sshd, "-D", "-e", "-f", configuration, "-p", str(port)], r"Server listening on"
        ) as port:
            yield Sshd(port, folder)
