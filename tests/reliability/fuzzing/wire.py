"""What other systems send: HTTP answers, streams of events, descriptions of services, LDAP, tokens, mail addresses."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any, Final

import msgspec
from google.protobuf import descriptor_pb2

from tenuto.connectors import ldap_wire
from tenuto.connectors.a2a import _uri_in
from tenuto.connectors.asyncapi import _target
from tenuto.connectors.compression import unpacker
from tenuto.connectors.content import decode_body, encode_body
from tenuto.connectors.digest import choose, parse_challenges, respond
from tenuto.connectors.documents import Document, _parse, follow, reading
from tenuto.connectors.http import check_status, shaped
from tenuto.connectors.http_client import Response
from tenuto.connectors.http_form import checked_headers, checked_method, parse_uri
from tenuto.connectors.json_rpc import answers, message_of, result_of
from tenuto.connectors.messages import EventReader, LineReader, with_correlation
from tenuto.connectors.oauth import _answer_of, _token_of
from tenuto.connectors.openapi import request_of
from tenuto.connectors.protobuf import Schema
from tenuto.connectors.smtp import _mailbox
from tenuto.connectors.sql_text import bind
from tests.reliability.fuzzing.language import _json
from tests.reliability.fuzzing.target import Target

UNPACKED_MAX: Final = 8 * 1024 * 1024
URI: Final = "https://api.example/described.yaml"


def _pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return data without its first byte, and the same in pieces as long as that says."""
    if not data:
        return b"", []
    size, rest = data[0] % 17 + 1, data[1:]
    return rest, [rest[at : at + size] for at in range(0, len(rest), size)]


# ── HTTP ──────────────────────────────────────────────────────────────────────────────────


def read_events(data: bytes) -> None:
    """Read server-sent events: the same in whatever pieces they arrive."""
    whole, pieces = _pieces(data)
    once = EventReader().feed(whole)
    reader = EventReader()
    assert once == [event for piece in pieces for event in reader.feed(piece)], "it matters where it is cut"


def read_stream(data: bytes) -> None:
    """Read lines: the same in whatever pieces they arrive, and none is lost."""
    whole, pieces = _pieces(data)
    one, many = LineReader(), LineReader()
    once = one.feed(whole) + one.rest()
    assert once == [line for piece in pieces for line in many.feed(piece)] + many.rest(), (
        "it matters where it is cut"
    )
    text = whole.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    assert "\n".join(once).rstrip("\n") == text.rstrip("\n"), "something is lost"


def unpack(data: bytes) -> None:
    """Unpack a compressed answer, bounded."""
    _, pieces = _pieces(data)
    for coding in ("gzip", "deflate"):
        decoder, size = unpacker(coding, "a.example"), 0
        for chunk in pieces:
            for piece in decoder.feed(chunk):
                assert len(piece) <= 64 * 1024
                size += len(piece)
            if size > UNPACKED_MAX:
                return
        decoder.finish()


def read_answer(data: bytes) -> None:
    """Read an answer: its status and content type stand in the first lines."""
    head, _, body = data.partition(b"\n\n")
    status, _, kind = head.decode("latin-1").partition("\n")
    number = int(status) if status.isascii() and status.isdigit() and len(status) < 4 else 200
    answer = Response(
        status=number,
        reason=kind[:20],
        headers=(("Content-Type", kind), ("Location", kind), ("X-" + kind[:5], kind)),
        body=body,
        uri=URI,
        sent=(("Authorization", "Bearer s3cret"),),
    )
    check_status("get", answer, {"bearer": {"token": "s3cret"}})
    for output in ("raw", "content", "response"):
        msgspec.json.encode(shaped("get", answer, output))


def write_body(data: bytes) -> None:
    """Write a body as a content type wants it, and read that again."""
    given = _json(data)
    kind, value = (given.get("kind"), given.get("value")) if isinstance(given, dict) else (None, given)
    kind = kind if isinstance(kind, str) else None
    body, sent = encode_body(value, kind)
    if body is not None:
        decode_body(body, sent, "here")


def read_challenge(data: bytes) -> None:
    """Read what a server asks for, and answer it."""
    header = data.decode("latin-1")
    parse_challenges(header)
    challenge = choose([header])
    if challenge is not None:
        said = respond(challenge, username="Ada", password="x", method="GET", uri="/", cnonce="c")
        assert "\n" not in said or "\n" in header


def read_uri(data: bytes) -> None:
    """Read a URI; what goes over the wire is plain."""
    wire = str(parse_uri(data.decode(errors="replace")))
    assert wire.isascii(), wire
    assert not set(wire) & set(" \r\n\t\x00"), wire
    assert str(parse_uri(wire)) == wire, "it reads otherwise again"


def read_headers(data: bytes) -> None:
    """Check headers and a method; what may be sent cannot end a line."""
    pairs = [line.partition(":")[::2] for line in data.decode(errors="replace").split("\x1e")]
    for name, value in checked_headers(pairs):
        assert not set(name + value) & set("\r\n\x00")
    checked_method(data.decode(errors="replace"))


def read_token(data: bytes) -> None:
    """Read what an authority answers."""
    status = 200 if not data or data[0] < 200 else 400 + data[0] % 200
    answer = Response(status=status, reason="", headers=(), body=data[1:], uri=URI, sent=())
    token = _token_of(_answer_of(answer, "request for a token"), "a.example", 0.0, None)
    assert token.until == token.until, "a time that is none"


# ── descriptions of services ──────────────────────────────────────────────────────────────


def read_described(data: bytes) -> None:
    """Read a document of a service, as JSON or YAML."""
    kind = "application/json" if data[:1] == b"j" else "application/yaml"
    try:
        text = data[1:].decode()
    except UnicodeDecodeError:
        return
    value = _parse(Document(text, kind, URI))
    assert not isinstance(value, datetime.date), "YAML's dates are no JSON"
    if isinstance(value, dict):
        follow(value, {"$ref": "#/paths"})


def read_openapi(data: bytes) -> None:
    """Find an operation and make its request."""
    given = _json(data)
    if not isinstance(given, dict) or not isinstance(given.get("document"), dict):
        return
    values = given.get("values")
    request = request_of(given["document"], URI, "update", values if isinstance(values, dict) else {})
    checked_headers(request.headers)
    parse_uri(request.uri)


def read_asyncapi(data: bytes) -> None:
    """Find where an operation leads."""
    given = _json(data)
    if not isinstance(given, dict):
        return
    with reading(URI, "AsyncAPI"):
        target = _target(given, URI, None, "tell", {"variables": {"v": 1}}, None, sends=True)
    parse_uri(target.url)
    with_correlation({"payload": {"a": [1, {"b": 2}]}, "headers": {"X": "y"}}, target.correlation)


def read_correlation(data: bytes) -> None:
    """Find a correlation id."""
    given = _json(data)
    if isinstance(given, dict):
        location, payload = given.get("location"), given.get("payload")
        message = {"payload": payload, "headers": {"Correlation-Id": payload}}
        found = with_correlation(message, location if isinstance(location, str) else None)
        assert isinstance(found.get("correlationId"), str | None)


def read_card(data: bytes) -> None:
    """Find where an agent is, and read what it answers."""
    given = _json(data)
    if isinstance(given, dict) and "card" in given:
        assert isinstance(_uri_in(given["card"], URI), str)
    message = message_of(data, "a.example")
    if answers(message, 1):
        result_of(message, "a.example", ["s3cret"])


@functools.cache
def proto() -> tuple[Schema, Any]:
    """Return a compiled description, and the descriptor of its message."""
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    message = file.message_type.add(name="M")
    field = descriptor_pb2.FieldDescriptorProto
    for number, kind in enumerate(
        (field.TYPE_STRING, field.TYPE_INT64, field.TYPE_BYTES, field.TYPE_DOUBLE), 1
    ):
        message.field.add(name=f"f{number}", number=number, type=kind, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="m", number=9, type=field.TYPE_MESSAGE, type_name=".a.M", label=field.LABEL_REPEATED
    )
    service = file.service.add(name="S")
    service.method.add(name="Do", input_type=".a.M", output_type=".a.M")
    schema = Schema(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    return schema, schema.method("S", "Do").input_type


def read_message(data: bytes) -> None:
    """Read bytes as a message; what is read is what is written again."""
    schema, kind = proto()
    value = schema.decode(kind, data)
    assert schema.decode(kind, schema.encode(kind, value)) == value, "a message comes back otherwise"


def write_message(data: bytes) -> None:
    """Write JSON as a message."""
    schema, kind = proto()
    value = _json(data)
    if isinstance(value, dict):
        schema.encode(kind, value)


# ── LDAP, SQL, mail ───────────────────────────────────────────────────────────────────────


def read_ldap(data: bytes) -> None:
    """Read a reply as the connector does: the header first, then so many bytes."""
    start = 2
    while (sizes := ldap_wire.header_size(data[:start])) is None:
        if start >= len(data):
            return
        start += 1
    header, size = sizes
    assert 0 <= size <= ldap_wire.MAX_REPLY_BYTES
    ldap_wire.read_reply(data[header : header + size])


def read_filter(data: bytes) -> None:
    """Read a filter; nothing in a value is ever syntax."""
    text = data.decode(errors="replace")
    plain = ldap_wire.read_filter(text, {"who": "x", "a": "y"})
    tricky = ldap_wire.read_filter(text, {"who": "*)(uid=*", "a": "\\"})
    assert _shape(plain) == _shape(tricky), "a value became syntax"


def _shape(condition: bytes) -> list[int]:
    """Return the kinds of elements of a filter, in order."""
    found = []
    for tag, content in ldap_wire._elements(condition):
        found.append(tag)
        if tag in {0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA8, 0xA9, 0x30}:
            found += _shape(content)
    return found


def read_statement(data: bytes) -> None:
    """Find the parameters of a statement."""
    text = data.decode(errors="replace")
    for dialect in ("postgresql", "mariadb"):
        bind(text, {"a": 1, "b": 2}, dialect)


def read_mailbox(data: bytes) -> None:
    """Read a mail address; what stands in a header is one line."""
    box = _mailbox("to", data.decode(errors="replace"))
    assert "\n" not in str(box)
    assert "\r" not in str(box)


def _replies() -> list[bytes]:
    sequence, octets, integer = ldap_wire._sequence, ldap_wire._octets, ldap_wire._integer
    result = (integer(0, 0x0A), octets(""), octets("all is well"))
    control = sequence((octets("1.2.840.113556.1.4.319"), octets(sequence((integer(0), octets("cookie"))))))
    values = sequence((octets("cn"), sequence((octets("Ada"), octets(b"\xff")), 0x31)))
    return [
        ldap_wire.request(1, sequence(result, 0x61)),
        ldap_wire.request(2, sequence((octets("cn=ada"), sequence((values,))), ldap_wire.SEARCH_ENTRY)),
        ldap_wire.request(3, sequence(result, 0x65), control),
        ldap_wire.request(4, octets("x" * 300, ldap_wire.SEARCH_REFERENCE)),
    ]


# ── targets ───────────────────────────────────────────────────────────────────────────────

OPENAPI: Final[tuple[Any, ...]] = (
    {
        "document": {
            "openapi": "3.0.3",
            "servers": [{"url": "https://{host}/v1", "variables": {"host": {"default": "a.example"}}}],
            "paths": {
                "/pets/{id}": {
                    "parameters": [
                        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
                    ],
                    "put": {
                        "operationId": "update",
                        "parameters": [
                            {"$ref": "#/components/parameters/q"},
                            {"name": "X-A", "in": "header", "style": "simple", "schema": {"default": "h"}},
                            {"name": "c", "in": "cookie"},
                        ],
                        "requestBody": {
                            "content": {
                                "application/json": {"schema": {"properties": {"name": {"type": "string"}}}},
                                "multipart/form-data": {
                                    "schema": {"properties": {"file": {"format": "binary"}}}
                                },
                            }
                        },
                        "security": [{"key": []}],
                    },
                }
            },
            "components": {
                "parameters": {"q": {"name": "q", "in": "query", "style": "deepObject", "explode": True}},
                "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}},
            },
        },
        "values": {"id": 7, "q": {"a": [1, 2]}, "name": "Ada", "X-A": "x"},
    },
    {
        "document": {
            "swagger": "2.0",
            "host": "a.example",
            "basePath": "/v2",
            "schemes": ["https"],
            "consumes": ["multipart/form-data"],
            "paths": {
                "/f/{id}": {
                    "post": {
                        "operationId": "update",
                        "parameters": [
                            {"name": "id", "in": "path", "type": "string", "required": True},
                            {"name": "file", "in": "formData", "type": "file"},
                            {"name": "ids", "in": "query", "type": "array", "collectionFormat": "pipes"},
                        ],
                    }
                }
            },
        },
        "values": {"id": "a/b", "file": "aGk=", "ids": [1, 2]},
    },
)
ASYNCAPI: Final[tuple[Any, ...]] = (
    {
        "asyncapi": "2.6.0",
        "servers": {"main": {"url": "a.example/{v}", "protocol": "https", "variables": {"v": {"enum": ["1", "2"]}}}},
        "channels": {
            "/told/{id}": {
                "parameters": {"id": {"default": "7"}},
                "publish": {
                    "operationId": "tell",
                    "message": {"oneOf": [{"$ref": "#/components/messages/m"}]},
                    "bindings": {"http": {"method": "PUT", "query": {"properties": {"k": {"const": [1, "a"]}}}}},
                },
            }
        },
        "components": {"messages": {"m": {"contentType": "application/json", "correlationId": {"location": "$message.payload#/a/1/b"}}}},
    },
    {
        "asyncapi": "3.0.0",
        "servers": {"main": {"host": "a.example", "pathname": "/x", "protocol": "http"}},
        "channels": {"c": {"address": "told", "servers": [{"$ref": "#/servers/main"}], "messages": {"m": {"payload": {}}}}},
        "operations": {"tell": {"action": "send", "channel": {"$ref": "#/channels/c"}, "messages": [{"$ref": "#/channels/c/messages/m"}]}},
    },
)  # fmt: skip
_EVENTS: Final = [
    b"\x03id: 7\nevent: tick\ndata: a\ndata: b\n\n",
    b'\x01\xef\xbb\xbf: hi\r\ndata:{"a":1}\r\n\r\ndata\n\n',
]
_JWT: Final = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDAsImlzcyI6ImEifQ.x"


def _data(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [msgspec.json.encode(value) for value in values]


TARGETS: Final = (
    Target("server-sent events", read_events, lambda: _EVENTS, words=("data:", "event:", "id:", "retry:", "\r\n\r\n", "\ufeff")),
    Target("lines of a stream", read_stream, lambda: [b"\x02a\nb\r\nc\rd", b"\x00{}\n\x1e{}\n", "\x04é\u2028\n😀".encode()]),
    Target(
        "compressed answers",
        unpack,
        lambda: [
            b"\x05" + bytes.fromhex("1f8b08000000000002ff4b4c4a060000000000") + b"abc",
            b"\x0f" + bytes.fromhex("789c4b4c4a06000024d0127"[:22]),
            b"\x10" + bytes.fromhex("4b4c4a0600"),
        ],
    ),
    Target(
        "HTTP answers",
        read_answer,
        lambda: [
            b'200\napplication/json; charset=utf-8\n\n{"a": [1, null]}',
            b"404\ntext/plain; charset=latin-1\n\nno such \xe9",
            b"200\napplication/x-www-form-urlencoded\n\na=1&a=2&b=%20",
            b"200\napplication/json; charset=utf-16\n\n" + '{"a": 1}'.encode("utf-16"),
            b"302\nimage/png\n\n\x89PNG",
        ],
        words=("charset=", "utf-7", "idna", "hex", "rot13", "undefined", "base64", "punycode", "unicode_escape", "utf-32", "mbcs", "+json", ";"),
    ),
    Target(
        "bodies to send",
        write_body,
        _data(
            {"kind": "application/json", "value": {"a": 1}},
            {"kind": "text/plain; charset=latin-1", "value": "é"},
            {"kind": "application/x-www-form-urlencoded", "value": {"a": [1, None], "b": True}},
            {"kind": "application/jsonl", "value": [{}, 1]},
        ),
        trees=True,
        words=("charset=hex", "charset=idna", "charset=utf-7", "charset=undefined", "charset=unicode_escape"),
    ),
    Target(
        "challenges",
        read_challenge,
        lambda: [b'Basic realm="a", Digest realm="b, c", nonce="x\\"y", qop="auth,auth-int", algorithm=SHA-256-sess, userhash=true'],
        words=("Digest ", "nonce=", "qop=", "algorithm=MD5", '\\"', "userhash=true", "opaque="),
    ),
    Target(
        "URIs",
        read_uri,
        lambda: [b"https://api.example.com:443/a/b?q=%20x&y=1#top", "http://bücher.example/ü?ü=😀".encode(), b"http://[::1%25eth0]:80/"],
        words=("xn--", "[", "]", "%", "@", ":65536", "//", "\\", "%2F", "ß", "。", "\u200d"),
    ),
    Target("headers", read_headers, lambda: [b"X-A: b\x1eAccept: */*", b"POST"], words=("Content-Length", "\x1e", ":")),
    Target(
        "tokens",
        read_token,
        lambda: [
            b" " + msgspec.json.encode({"access_token": _JWT, "token_type": "bearer", "expires_in": 3600, "refresh_token": "r"}),
            b" " + msgspec.json.encode({"access_token": _JWT, "expires_in": "soon"}),
            b"\xff" + msgspec.json.encode({"error": "invalid_grant", "error_description": "no"}),
        ],
        words=("expires_in", "access_token", "1e999", "NaN", "-1"),
    ),
    Target(
        "documents of services",
        read_described,
        lambda: [b'j{"openapi": "3.0.3", "paths": {}}', b"yopenapi: 3.0.3\npaths: {}\ndate: 2020-01-01\nx: 0x1F\n", b"y[1, 2]"],
        words=("!!int ", "!!float", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!null x", "? ", "<<: ", "=", "1:2:3"),
    ),
    Target("OpenAPI", read_openapi, _data(*OPENAPI), trees=True),
    Target("AsyncAPI", read_asyncapi, _data(*ASYNCAPI), trees=True),
    Target(
        "correlation ids",
        read_correlation,
        _data({"location": "$message.payload#/a/0", "payload": {"a": [7]}}, {"location": "$message.header#/x", "payload": None}),
        trees=True,
        words=("²", "~1", "#/", "٣"),
    ),
    Target(
        "agents and JSON-RPC",
        read_card,
        _data(
            {"card": {"url": "https://a.example/a", "preferredTransport": "JSONRPC", "additionalInterfaces": [{"url": "x", "transport": "JSONRPC"}]}},
            {"jsonrpc": "2.0", "id": 1, "result": {"a": 1}},
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "s3cret", "data": [1]}},
        ),
        trees=True,
    ),
    Target("messages of protobuf", read_message, lambda: [proto()[0].encode(proto()[1], {"f1": "a", "f2": "7", "f3": "aGk=", "f4": 1.5, "m": [{"f1": "b"}, {}]})]),
    Target("arguments of gRPC", write_message, _data({"f1": "a", "f2": "7", "f3": "aGk=", "f4": "NaN", "m": [{"m": []}]}), trees=True),
    Target("replies of LDAP", read_ldap, _replies, refuses=(ValueError,)),
    Target(
        "filters of LDAP",
        read_filter,
        lambda: [b"(&(uid={who})(|(cn=a*b*c)(!(x>=1)))(o:dn:2.4.6:=\\2a))", b"(objectClass=*)"],
        words=("(", ")", "*", "\\2a", "{who}", "{a}", ":=", "~=", "&", "|", "!"),
    ),
    Target(
        "SQL",
        read_statement,
        lambda: [b"SELECT :a, ':b', :b::int /* :c */ -- :d\n", b"INSERT INTO x VALUES (:a, \"q\", $$ :b $$, E'\\'', `t`) # 50% :b"],
        words=(":a", ":b", "::", "/*", "*/", "--", "$$", "$x$", "'", '"', "`", "E'", "\\", "%"),
    ),
    Target(
        "mail addresses",
        read_mailbox,
        lambda: [b"ada@a.example", b"Ada Lovelace <ada@a.example>", b'"A, B" <a.b+c@[127.0.0.1]>'],
        words=("<", ">", "@", '"', "=?utf-8?q?=41?=", "\\", "(c)", ","),
    ),
)  # fmt: skip
