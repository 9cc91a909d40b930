"""OpenLDAP's slapd with one small directory, over ldap://, StartTLS and ldaps://."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.authority import Authority
from tests.servers.process import folder_of, free_port, running
from tests.servers.provision import program

BASE = "dc=example,dc=org"
ADMINISTRATOR = f"cn=admin,{BASE}"
PASSWORD = "directory-secret"
READER = f"cn=reader,{BASE}"
READER_PASSWORD = "reader-secret"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
suffix "{base}"
rootdn "{administrator}"
rootpw {password}
directory {folder}/data
limits dn.exact="{reader}" size=5 size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by users read
"""

_ENTRIES = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {READER_PASSWORD}
"""


class Slapd:
    """Where the directory is, and what is in it."""

    base = BASE

    def __init__(self, port: int, tls_port: int, slapcat: Path, configuration: Path) -> None:
        self.bind = {"dn": ADMINISTRATOR, "password": PASSWORD}
        self.reader = {"dn": READER, "password": READER_PASSWORD}
        self.port = port
        self.tls_port = tls_port
        self.url = f"ldap://localhost:{port}"
        self.tls_url = f"ldaps://localhost:{tls_port}"
        self._slapcat = slapcat
        self._configuration = configuration

    def ldif(self) -> str:
        """Return everything in the directory, read by slapcat and not by our own code."""
        command = [self._slapcat, "-f", self._configuration, "-o", "ldif-wrap=no"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def slapd_server(authority: Authority) -> Iterator[Slapd]:
    """Run slapd with a fresh directory."""
    slapd = program("slapd", "slapd")
    slapadd, slapcat = program("slapadd", "slapd"), program("slapcat", "slapd")
    with folder_of(None) as folder:
        (folder / "data").mkdir()
        certificate, key = authority.issue(folder, "localhost", "127.0.0.1")
        configuration = folder / "slapd.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder,
                certificate=certificate,
                key=key,
                base=BASE,
                administrator=ADMINISTRATOR,
                password=PASSWORD,
                reader=READER,
            )
        )
        subprocess.run(
            [slapadd, "-f", configuration], input=_ENTRIES, text=True, check=True, capture_output=True
        )
        tls_ports: list[int] = []

        def command(port: int) -> list[str | Path]:
            tls_ports.append(free_port())
            listen = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_ports[-1]}"
            return [slapd, "-f", configuration, "-h", listen, "-d", "none"]

        with running(command, r"slapd starting") as port:
            yield Slapd(port, tls_ports[-1], slapcat, configuration)
