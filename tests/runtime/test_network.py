"""Address mapping and TLS trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from tenuto.errors import InvalidInput
from tenuto.runtime.network import SystemNetwork, parse_resolve


def test_a_mapping_names_two_places() -> None:
    """Several mappings are separated by commas; IPv6 addresses stand in brackets; names ignore case."""
    mapping = parse_resolve("API.example.com:443=127.0.0.1:8443,b.example:80=[::1]:8080, [::2]:1=c.example:2")

    assert {
        ("api.example.com", 443): ("127.0.0.1", 8443),
        ("b.example", 80): ("::1", 8080),
        ("::2", 1): ("c.example", 2),
    } == mapping


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a.example:443", "no `=`"),
        ("a.example=127.0.0.1:1", "not HOST:PORT"),
        (":443=127.0.0.1:1", "not HOST:PORT"),
        ("a.example:0=127.0.0.1:1", "`0` is not a port"),
        ("a.example:443=127.0.0.1:65536", "`65536` is not a port"),
        ("a.example:443=127.0.0.1:x", "`x` is not a port"),
        ("a.example:443=::1:8443", "brackets"),
        ("a.example:1=b:2,a.example:1=c:3", "mapped twice"),
    ],
)
def test_a_bad_mapping_gets_one_clear_error(text: str, word: str) -> None:
    """The error names the mapping and says what is wrong; its hint says how to write it."""
    with pytest.raises(InvalidInput, match=word) as caught:
        parse_resolve(text)

    assert caught.value.hint


def test_only_the_mapped_place_moves() -> None:
    """Host and port both have to fit; everything else stays where it is."""
    network = SystemNetwork(["a.example:443=127.0.0.1:8443"])

    assert ("127.0.0.1", 8443) == network.address("A.example", 443)
    assert ("127.0.0.1", 8443) == network.address("a.example.", 443)
    assert ("a.example", 80) == network.address("a.example", 80)
    assert ("b.example", 443) == network.address("b.example", 443)


def test_a_trust_file_replaces_the_systems(tmp_path: Path) -> None:
    """Only the named authority is trusted, with names checked and TLS 1.2 as the oldest version."""
    authority = trustme.CA()
    trust = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trust)

    context = SystemNetwork(trust_file=str(trust)).tls()

    assert 1 == len(context.get_ca_certs())
    assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version


def test_the_context_is_made_once() -> None:
    """Loading the system's authorities takes time, so it happens once."""
    network = SystemNetwork()

    assert network.tls() is network.tls()


def test_a_missing_trust_file_is_named(tmp_path: Path) -> None:
    """The error names the file and the setting."""
    missing = tmp_path / "none.pem"
    with pytest.raises(InvalidInput, match=r"none\.pem") as caught:
        SystemNetwork(trust_file=str(missing)).tls()

    assert "SSL_CERT_FILE" in str(caught.value.hint)
