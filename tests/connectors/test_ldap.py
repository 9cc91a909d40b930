"""The ldap connector against a real slapd; slapcat says what is in the directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import pytest

from tenuto.connectors import ldap_wire as wire
from tenuto.errors import Fault, Faulted
from tenuto.plugin import Call
from tests.servers.process import free_port
from tests.servers.slapd import PASSWORD, Slapd

Invoke = Callable[..., Awaitable[Any]]
FaultOf = Callable[[Awaitable[Any]], Awaitable[Fault]]


@pytest.fixture
def names(request: pytest.FixtureRequest) -> str:
    """Return a word that no other test uses in the directory."""
    return str(request.node.name).replace("_", "-").replace("[", "-").rstrip("]")


@pytest.fixture
def admin(slapd: Slapd) -> dict[str, Any]:
    """Return the arguments that every call as administrator has."""
    return {"server": slapd.url, "bind": slapd.bind}


def person(slapd: Slapd, name: str, **more: Any) -> dict[str, Any]:
    """Return the arguments that add a person."""
    return {
        "dn": f"uid={name},ou=people,{slapd.base}",
        "attributes": {"objectClass": ["inetOrgPerson"], "uid": name, "cn": name, "sn": "Lovelace", **more},
    }


async def test_an_added_entry_is_in_the_directory(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """`add_entry` creates what it was given: text, numbers, lists and bytes."""
    given = person(slapd, names, employeeNumber=42, mail=["a@example.org", "b@example.org"])
    given["attributes"]["jpegPhoto"] = {"base64": "/9j/"}

    assert {"dn": given["dn"], "created": True} == await invoke("ldap.add_entry", **admin, **given)

    ldif = slapd.ldif()
    for line in (f"dn: {given['dn']}", "employeeNumber: 42", "mail: b@example.org", "jpegPhoto:: /9j/"):
        assert f"{line}\n" in ldif


async def test_adding_the_same_entry_again_is_success(
    invoke: Invoke, fault_of: FaultOf, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """A repetition (also with values equal by the directory's rules) succeeds; other content is 409."""
    given = person(slapd, names, userPassword="hidden")
    await invoke("ldap.add_entry", **admin, **given)
    given["attributes"]["sn"] = "LOVELACE"

    assert {"dn": given["dn"], "created": False} == await invoke("ldap.add_entry", **admin, **given)

    given["attributes"]["sn"] = "Byron"
    fault = await fault_of(invoke("ldap.add_entry", **admin, **given))
    assert (409, False) == (fault.status, fault.transient)


async def test_undoing_an_addition_deletes_the_entry(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """`delete_entry` removes the entry, and is content when there is none."""
    given = person(slapd, names)
    await invoke("ldap.add_entry", **admin, **given)

    assert {"dn": given["dn"], "deleted": True} == await invoke("ldap.delete_entry", **admin, dn=given["dn"])

    assert given["dn"] not in slapd.ldif()
    assert {"dn": given["dn"], "deleted": False} == await invoke("ldap.delete_entry", **admin, dn=given["dn"])


async def test_a_modification_can_be_restored(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """`modify_entry` tells what was before, and `restore_attributes` brings exactly that back."""
    given = person(slapd, names, mail=["a@example.org", "b@example.org"], title="Countess")
    await invoke("ldap.add_entry", **admin, **given)
    dn = given["dn"]

    result = await invoke(
        "ldap.modify_entry",
        **admin,
        dn=dn,
        replace={"title": [], "sn": "King"},
        add={"description": "first programmer", "mail": "c@example.org"},
        remove={"mail": "a@example.org"},
    )

    assert result["before"]["description"] == []
    assert result["before"]["mail"] == ["a@example.org", "b@example.org"]
    changed = (await invoke("ldap.search", **admin, base=dn, attributes=["sn", "mail", "title"]))["entries"][
        0
    ]
    assert {"sn": ["King"], "mail": ["b@example.org", "c@example.org"]} == changed["attributes"]

    await invoke("ldap.restore_attributes", **admin, dn=dn, result=result)
    restored = (await invoke("ldap.search", **admin, base=dn))["entries"][0]["attributes"]
    assert ["Lovelace"] == restored["sn"]
    assert {"a@example.org", "b@example.org"} == set(restored["mail"])
    assert ["Countess"] == restored["title"]
    assert "description" not in restored


async def test_repeating_a_modification_changes_nothing(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """A change that is in place, by bytes or by the directory's rules, succeeds without a change."""
    given = person(slapd, names, description="one")
    await invoke("ldap.add_entry", **admin, **given)
    change = {"dn": given["dn"], "add": {"description": ["TWO", "one"]}, "remove": {"sn": "nobody"}}
    await invoke("ldap.modify_entry", **admin, **change)

    assert not (await invoke("ldap.modify_entry", **admin, **change))["changed"]
    change["add"]["description"] = ["two", "ONE"]
    assert not (await invoke("ldap.modify_entry", **admin, **change))["changed"]
    change["add"]["description"] = ["two", "three"]
    assert (await invoke("ldap.modify_entry", **admin, **change))["changed"]
    assert "description: three" in slapd.ldif()


async def test_passwords_are_set_but_never_returned(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """The former password is not in the result, so it gets into no journal."""
    given = person(slapd, names, userPassword="old-password")
    await invoke("ldap.add_entry", **admin, **given)

    result = await invoke("ldap.modify_entry", **admin, dn=given["dn"], replace={"userPassword": "new"})

    assert {"dn": given["dn"], "changed": True, "before": {}} == result
    found = await invoke(
        "ldap.search", server=slapd.url, bind={"dn": given["dn"], "password": "new"}, base=given["dn"]
    )
    assert "userPassword" not in found["entries"][0]["attributes"]


async def test_group_members_come_and_go(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """Members are added and removed; doing either again succeeds without a change."""
    group, member = f"cn={names},ou=groups,{slapd.base}", f"uid=ada,ou=people,{slapd.base}"
    first = {"objectClass": "groupOfNames", "cn": names, "member": f"uid=root,{slapd.base}"}
    await invoke("ldap.add_entry", **admin, dn=group, attributes=first)
    given = {**admin, "group": group, "member": member}

    assert (await invoke("ldap.add_to_group", **given))["changed"]
    assert f"member: {member}" in slapd.ldif()
    assert not (await invoke("ldap.add_to_group", **given))["changed"]
    assert (await invoke("ldap.remove_from_group", **given))["changed"]
    assert f"member: {member}" not in slapd.ldif()
    assert not (await invoke("ldap.remove_from_group", **given))["changed"]
    assert not (await invoke("ldap.remove_from_group", **{**given, "group": f"cn=gone,{slapd.base}"}))[
        "changed"
    ]


async def test_search_pages_and_limits(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages are read, up to the limit; `complete` tells whether there was more.

    The reader may have no more than five entries in one page, so one page cannot be enough.
    """
    from tenuto.connectors import ldap

    monkeypatch.setattr(ldap, "PAGE_SIZE", 4)
    for number in range(11):
        await invoke("ldap.add_entry", **admin, **person(slapd, f"{names}-{number}"))
    query = {
        "server": slapd.url,
        "bind": slapd.reader,
        "base": slapd.base,
        "filter": "(uid={start}*)",
        "values": {"start": names},
        "attributes": ["uid"],
    }

    everything = await invoke("ldap.search", **query)
    some = await invoke("ldap.search", **query, limit=10)
    exactly = await invoke("ldap.search", **query, limit=11)

    assert (11, True) == (len(everything["entries"]), everything["complete"])
    assert (10, False) == (len(some["entries"]), some["complete"])
    assert (11, True) == (len(exactly["entries"]), exactly["complete"])
    assert {
        "dn": f"uid={names}-0,ou=people,{slapd.base}",
        "attributes": {"uid": [f"{names}-0"]},
    } in everything["entries"]


async def test_a_value_in_a_filter_is_never_syntax(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """A value with stars, brackets and backslashes finds only the entry that has just that."""
    odd = "*)(uid=*\\2a"
    await invoke("ldap.add_entry", **admin, **person(slapd, names, description=odd))
    query = {**admin, "base": slapd.base, "filter": "(&(objectClass=person)(description={text}))"}

    found = await invoke("ldap.search", **query, values={"text": odd})
    none = await invoke("ldap.search", **query, values={"text": "*"})

    assert [f"uid={names},ou=people,{slapd.base}"] == [entry["dn"] for entry in found["entries"]]
    assert [] == none["entries"]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("(objectClass=organizationalUnit)", 2),
        ("(&(objectClass=organizationalUnit)(|(ou=people)(ou=groups)))", 2),
        ("(&(objectClass=organizationalUnit)(!(ou=people)))", 1),
        ("(ou=p*e*)", 1),
        ("(ou=*ople)", 1),
        ("(ou:caseExactMatch:=people)", 1),
        ("(ou:dn:=people)", 1),
        ("(&(ou>=h)(objectClass=organizationalUnit))", 0),
        ("(o=\\45xample)", 1),
    ],
)
async def test_filters_mean_what_the_standard_says(
    invoke: Invoke, slapd: Slapd, admin: dict[str, Any], condition: str, count: int
) -> None:
    """Every kind of condition of RFC 4515 reaches the server as it was meant."""
    base = {"base": slapd.base, "scope": "one" if "o=" not in condition[:3] else "subtree"}

    found = await invoke("ldap.search", **admin, **base, filter=condition)

    assert count == len(found["entries"])


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ("uid=ada", "lacks a `(` at character 1"),
        ("(uid=ada", "lacks a `)` at character 9"),
        ("(uid=ada))", "goes on after its end, at character 10"),
        ("(!(a=1)(b=2))", "`!` takes one condition"),
        ("(uid)", "not of the form attribute=value"),
        ("(uid=\\zz)", "a backslash needs two hexadecimal digits"),
        ("(uid={who})", "names a value `who` that is not given"),
        ("(!" * 40 + "(a=1)" + ")" * 40, "MAX_FILTER_DEPTH (32)"),
    ],
)
def test_a_broken_filter_is_told_exactly(condition: str, complaint: str) -> None:
    """One mistake gives one message that says where."""
    with pytest.raises(Faulted) as caught:
        wire.read_filter(condition, {})

    assert complaint in str(caught.value)


@pytest.mark.parametrize("secured", ["starttls", "ldaps"])
async def test_tls_is_checked_against_the_name_also_when_the_address_is_mapped(
    invoke: Invoke, fault_of: FaultOf, make_call: Callable[..., Call], slapd: Slapd, secured: str
) -> None:
    """The certificate has to name the host of the URL, not where the network maps it to."""
    port = slapd.tls_port if secured == "ldaps" else slapd.port
    scheme = "ldaps" if secured == "ldaps" else "ldap"
    given = {"bind": slapd.bind, "base": slapd.base, "scope": "base", "start_tls": secured == "starttls"}
    right = make_call(resolve=(f"localhost:9=127.0.0.1:{port}",))
    wrong = make_call(resolve=(f"ldap.example.org:9=127.0.0.1:{port}",))

    found = await invoke("ldap.search", call=right, server=f"{scheme}://localhost:9", **given)
    fault = await fault_of(
        invoke("ldap.search", call=wrong, server=f"{scheme}://ldap.example.org:9", **given)
    )

    assert [slapd.base] == [entry["dn"] for entry in found["entries"]]
    assert 502 == fault.status
    assert "ldap.example.org:9 shows a certificate that is not trusted" in str(fault.detail)


async def test_faults_have_the_right_status(
    invoke: Invoke, fault_of: FaultOf, slapd: Slapd, admin: dict[str, Any], names: str
) -> None:
    """Refused credentials are 401, missing rights 403, a broken schema 400, a missing entry 404."""
    given = person(slapd, names)
    no_sn = {"dn": given["dn"], "attributes": {"objectClass": "inetOrgPerson", "uid": names, "cn": names}}
    reader = {"server": slapd.url, "bind": slapd.reader}
    stranger = {"server": slapd.url, "bind": {**slapd.bind, "password": "not-the-password"}}
    nameless = {"server": slapd.url, "bind": {**slapd.bind, "password": ""}}

    faults = [
        await fault_of(invoke("ldap.add_entry", **stranger, **given)),
        await fault_of(invoke("ldap.add_entry", **nameless, **given)),
        await fault_of(invoke("ldap.add_entry", **reader, **given)),
        await fault_of(invoke("ldap.add_entry", **admin, **no_sn)),
        await fault_of(invoke("ldap.modify_entry", **admin, dn=given["dn"], replace={"sn": "x"})),
    ]

    assert [401, 401, 403, 400, 404] == [fault.status for fault in faults]
    assert not any(fault.transient for fault in faults)
    assert "sn" in str(faults[3].detail)


def entry_of(number: int) -> bytes:
    """Return a search entry without attributes, as the answer to a request of that number."""
    return wire.request(number, bytes((wire.SEARCH_ENTRY, 5)) + b"\x04\x01x\x30\x00")


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("delete_entry", {"dn": "cn=x"}, "what nobody searched for"),
        ("search", {"base": "cn=x", "limit": 10}, "more entries than the 11 of a page"),
    ],
)
async def test_entries_without_end_are_no_answer(
    invoke: Invoke, fault_of: FaultOf, function: str, arguments: dict[str, Any], said: str
) -> None:
    """Whatever is asked, this server answers with entries: that is neither success nor kept for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        with closing(writer), suppress(ConnectionError):
            while True:
                writer.write(entry_of(1) * 100)
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        fault = await fault_of(invoke(f"ldap.{function}", server=f"ldap://127.0.0.1:{port}", **arguments))

    assert 502 == fault.status
    assert said in str(fault.detail)


async def test_a_server_that_is_down_is_transient(invoke: Invoke, fault_of: FaultOf, slapd: Slapd) -> None:
    """A refused connection is worth another attempt, and its fault has no password in it."""
    fault = await fault_of(
        invoke("ldap.search", server=f"ldap://localhost:{free_port()}", bind=slapd.bind, base=slapd.base)
    )

    assert (503, True) == (fault.status, fault.transient)
    assert PASSWORD not in str(fault)


@pytest.mark.parametrize("server", ["http://x", "ldap://x:0", "ldap://x:65925", "ldap://x:²", "ldap://"])
async def test_a_server_address_of_another_form_is_told(
    invoke: Invoke, fault_of: FaultOf, server: str
) -> None:
    """An address that cannot be right is a configuration fault: some would take port 65925 for 389."""
    fault = await fault_of(invoke("ldap.search", server=server, base=""))

    assert "`server` is not of the form ldap://host:389 or ldaps://host:636" == fault.detail
