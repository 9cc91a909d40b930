"""Calls of gRPC services, against a real server whose code the Protocol Buffers compiler made."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc as grpcio
import grpc_tools
import pytest
import pytest_asyncio
import trustme
from grpc import aio
from grpc_tools import protoc

from tenuto.connectors import grpc
from tenuto.plugin import Call, Faulted
from tenuto.runtime.network import SystemNetwork

GREET = """
syntax = "proto3";
package greeter;
import "google/protobuf/timestamp.proto";
import "mood.proto"; // import "not_this.proto";

service Greeter {
  rpc SayHello (Hello) returns (Greeting);
  rpc SayOften (Hello) returns (stream Greeting);
  rpc SayToAll (stream Hello) returns (Greeting);
  rpc Chat (stream Hello) returns (stream Greeting);
  rpc Refuse (Hello) returns (Greeting);
}
message Hello { string first_name = 1; int64 times = 2; }
message Greeting {
  string full_text = 1;
  int64 big_number = 2;
  google.protobuf.Timestamp said_at = 3;
  Mood mood = 4;
  repeated string metadata = 5;
}
"""
MOOD = 'syntax = "proto3"; package greeter; enum Mood { CALM = 0; GLAD = 1; }'


@dataclass
class Served:
    """A running server: where it listens, and the metadata of each call."""

    folder: Path
    port: int = 0
    tls_port: int = 0
    trust_file: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)

    @property
    def proto(self) -> dict[str, Any]:
        """The external resource that describes the service."""
        return {"endpoint": "greet.proto"}

    def call(self, *mappings: str) -> Call:
        """Return a call that finds files in the server's folder and trusts its authority."""
        return Call(
            run="r1",
            task="/do/0/greet",
            attempt=1,
            idempotency_key="r1:greet",
            network=SystemNetwork(mappings, trust_file=self.trust_file),
            folders=(self.folder,),
        )

    async def ask(self, method: str, arguments: Any = None, **service: Any) -> Any:
        """Call a method of the server over its plain port."""
        where = {"name": "greeter.Greeter", "host": "localhost", "port": self.port, **service}
        return await grpc.call(
            self.call(), proto=self.proto, service=where, method=method, arguments=arguments
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the description and the code made from it."""
    path = tmp_path_factory.mktemp("proto")
    (path / "greet.proto").write_text(GREET)
    (path / "mood.proto").write_text(MOOD)
    given = Path(grpc_tools.__file__).parent / "_proto"
    words = [f"-I{path}", f"-I{given}", f"--python_out={path}", f"--grpc_python_out={path}"]
    assert protoc.main(["protoc", *words, "greet.proto", "mood.proto"]) == 0
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))


@pytest_asyncio.fixture
async def served(folder: Path) -> AsyncIterator[Served]:
    """A greeter on a plain and on a TLS port of loopback."""
    messages: Any = importlib.import_module("greet_pb2")
    services: Any = importlib.import_module("greet_pb2_grpc")
    here = Served(folder)

    class Greeter(services.GreeterServicer):  # type: ignore[misc]
        async def SayHello(self, request: Any, context: Any) -> Any:
            here.seen.append({key: str(value) for key, value in context.invocation_metadata()})
            return messages.Greeting(
                full_text=f"Hello {request.first_name}",
                big_number=request.times,
                said_at={"seconds": 0},
                mood="GLAD" if request.times else "CALM",
            )

        async def SayOften(self, request: Any, context: Any) -> AsyncIterator[Any]:
            for number in range(request.times):
                yield messages.Greeting(full_text=f"{request.first_name} {number}")

        async def SayToAll(self, requests: AsyncIterator[Any], context: Any) -> Any:
            return messages.Greeting(full_text=",".join([one.first_name async for one in requests]))

        async def Chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for one in requests:
                yield messages.Greeting(full_text=f"and {one.first_name}")

        async def Refuse(self, request: Any, context: Any) -> Any:
            sent = dict(context.invocation_metadata()).get("authorization", "")
            code = getattr(grpcio.StatusCode, request.first_name)
            await context.abort(code, f"no: {sent.partition(' ')[2]}")

    authority = trustme.CA()
    certificate = authority.issue_cert("greeter.example")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    server = aio.server()
    services.add_GreeterServicer_to_server(Greeter(), server)
    here.port = server.add_insecure_port("127.0.0.1:0")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    key = [(certificate.private_key_pem.bytes(), chain)]
    here.tls_port = server.add_secure_port("127.0.0.1:0", grpcio.ssl_server_credentials(key))
    here.trust_file = str(folder / "authority.pem")
    await server.start()
    yield here
    await server.stop(None)


async def fault_of(action: Awaitable[Any]) -> dict[str, Any]:
    """Return the fault that an action ends with."""
    with pytest.raises(Faulted) as caught:
        await action
    return caught.value.fault.to_json()


async def test_a_call_takes_and_gives_json(served: Served) -> None:
    """Arguments become the message; the answer has lowerCamelCase names, defaults and imported types."""
    assert await served.ask("SayHello", {"firstName": "Ada", "times": 12}) == {
        "fullText": "Hello Ada",
        "bigNumber": "12",
        "saidAt": "1970-01-01T00:00:00Z",
        "mood": "GLAD",
        "metadata": [],
    }


async def test_no_arguments_are_an_empty_message(served: Served) -> None:
    """Without arguments every field has its default; both spellings of a field are accepted."""
    assert (await served.ask("SayHello"))["fullText"] == "Hello "
    assert (await served.ask("SayHello", {"first_name": "Bo"}))["fullText"] == "Hello Bo"


async def test_the_idempotency_key_travels(served: Served) -> None:
    """Each attempt carries the action's key in its metadata."""
    await served.ask("SayHello")

    assert served.seen[0]["idempotency-key"] == "r1:greet"


async def test_a_service_is_found_by_its_last_name_too(served: Served) -> None:
    """Where only one service ends so, the package may be left out."""
    assert (await served.ask("SayHello", {"firstName": "Ada"}, name="Greeter"))["fullText"] == "Hello Ada"


async def test_a_description_may_be_given_as_text(served: Served) -> None:
    """`proto` may be the text itself, or a resource that was read before."""
    text = (
        'syntax = "proto3"; package greeter; message M { string first_name = 1; } '
        "message A { string full_text = 1; } service Greeter { rpc SayHello (M) returns (A); }"
    )
    service = {"name": "greeter.Greeter", "host": "127.0.0.1", "port": served.port}
    for proto in (text, {"content": text, "mediaType": "text/plain"}):
        answer = await grpc.call(
            served.call(), proto=proto, service=service, method="SayHello", arguments={"firstName": "Ada"}
        )
        assert answer == {"fullText": "Hello Ada"}


async def test_streams_are_lists(served: Served) -> None:
    """A server stream gives a list; a client stream takes one, or one message."""
    many = [{"firstName": "Ada"}, {"firstName": "Bo"}]

    assert [one["fullText"] for one in await served.ask("SayOften", {"firstName": "Hi", "times": 3})] == [
        "Hi 0",
        "Hi 1",
        "Hi 2",
    ]
    assert (await served.ask("SayToAll", many))["fullText"] == "Ada,Bo"
    assert (await served.ask("SayToAll", many[0]))["fullText"] == "Ada"
    assert [one["fullText"] for one in await served.ask("Chat", many)] == ["and Ada", "and Bo"]


async def test_a_stream_has_a_limit(served: Served) -> None:
    """More messages than the limit end the call with a fault that names it."""
    fault = await fault_of(served.ask("SayOften", {"times": grpc.GRPC_STREAM_MESSAGES + 1}))

    assert fault["type"].endswith("/runtime")
    assert "GRPC_STREAM_MESSAGES" in fault["detail"]


@pytest.mark.parametrize(
    ("code", "kind", "status", "transient"),
    [
        ("INVALID_ARGUMENT", "communication", 400, False),
        ("NOT_FOUND", "communication", 404, False),
        ("ALREADY_EXISTS", "communication", 409, False),
        ("RESOURCE_EXHAUSTED", "communication", 429, True),
        ("INTERNAL", "communication", 500, False),
        ("UNIMPLEMENTED", "communication", 501, False),
        ("UNAVAILABLE", "communication", 503, True),
        ("DEADLINE_EXCEEDED", "timeout", 408, True),
        ("UNAUTHENTICATED", "authentication", 401, False),
        ("PERMISSION_DENIED", "authorization", 403, False),
    ],
)
async def test_codes_become_errors_of_the_standard(
    served: Served, code: str, kind: str, status: int, transient: bool
) -> None:
    """Each status code has its error type, its HTTP status, and says whether to try again."""
    fault = await fault_of(served.ask("Refuse", {"firstName": code}))

    assert (kind, status, transient) == (
        fault["type"].rpartition("/")[2],
        fault["status"],
        fault.get("transient", False),
    )
    assert fault["detail"].startswith(
        f"greeter.Greeter/Refuse at localhost:{served.port} answered {code}: no"
    )


@pytest.mark.parametrize(
    ("authentication", "sent"),
    [
        ({"bearer": {"token": "canary"}}, "Bearer canary"),
        ({"basic": {"username": "ada", "password": "canary"}}, "Basic YWRhOmNhbmFyeQ=="),
    ],
)
async def test_credentials_are_metadata(served: Served, authentication: dict[str, Any], sent: str) -> None:
    """A credential travels as `authorization`, as it would over HTTP."""
    await served.ask("SayHello", authentication=authentication)

    assert served.seen[0]["authorization"] == sent


async def test_a_credential_never_shows_in_a_fault(served: Served) -> None:
    """What a server repeats of a credential is not repeated by us."""
    fault = await fault_of(
        served.ask("Refuse", {"firstName": "NOT_FOUND"}, authentication={"bearer": {"token": "canary"}})
    )

    assert fault["detail"].endswith("NOT_FOUND: no: ***")


async def test_tls_with_the_name_of_the_host(served: Served) -> None:
    """Port 443 means TLS; the address is mapped, the name that is checked is not."""
    call = served.call(f"greeter.example:443=127.0.0.1:{served.tls_port}")
    service = {"name": "greeter.Greeter", "host": "greeter.example"}
    answer = await grpc.call(call, proto=served.proto, service=service, method="SayHello", arguments={})

    assert answer["fullText"] == "Hello "


async def test_a_credential_for_another_machine_means_tls(served: Served) -> None:
    """A credential leaves this machine over TLS only, whatever the port."""
    call = served.call(f"greeter.example:5011=127.0.0.1:{served.tls_port}")
    service = {
        "name": "greeter.Greeter",
        "host": "greeter.example",
        "port": 5011,
        "authentication": {"bearer": {"token": "canary"}},
    }
    answer = await grpc.call(call, proto=served.proto, service=service, method="SayHello", arguments={})

    assert answer["fullText"] == "Hello "


async def test_a_wrong_name_in_the_certificate_is_refused(served: Served) -> None:
    """Negative control: the certificate must be the host's own."""
    call = served.call(f"other.example:443=127.0.0.1:{served.tls_port}")
    service = {"name": "greeter.Greeter", "host": "other.example"}
    fault = await fault_of(
        grpc.call(call, proto=served.proto, service=service, method="SayHello", arguments={})
    )

    assert fault["status"] == 503


async def test_tls_can_be_chosen(served: Served) -> None:
    """`service.tls` overrides the choice, for what the port does not say."""
    call = served.call(f"greeter.example:443=127.0.0.1:{served.port}")
    service = {"name": "greeter.Greeter", "host": "greeter.example", "tls": False}
    answer = await grpc.call(call, proto=served.proto, service=service, method="SayHello", arguments={})

    assert answer["fullText"] == "Hello "


async def test_a_server_that_is_not_there_may_come_back(served: Served, free_port: int) -> None:
    """No connection is a transient communication error, at once."""
    fault = await fault_of(served.ask("SayHello", {}, port=free_port))

    assert (503, True) == (fault["status"], fault["transient"])


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"method": "Sing"}, "configuration", "`greeter.Greeter` has no method `Sing`; its methods: Chat,"),
        ({"service": {"name": "x.Y"}}, "configuration", "no service `x.Y`; its services: greeter.Greeter"),
        ({"service": {"port": "80"}}, "configuration", "`service.port` must be a port from 1 to 65535"),
        ({"service": {"authentication": {"digest": {}}}}, "configuration", "digest needs HTTP"),
        ({"arguments": {"nmae": "x"}}, "validation", 'no field named "nmae"'),
        ({"arguments": {"times": "x"}}, "validation", "`arguments` do not fit message `greeter.Hello`"),
        ({"arguments": [{}]}, "configuration", "method `SayHello` takes one message, not a stream"),
        ({"proto": "message {"}, "configuration", "`proto` cannot be compiled: service.proto:1:9"),
        ({"proto": 'syntax = "proto3"; import "../x.proto";'}, "configuration", "../x.proto"),
        ({"proto": 'syntax = "proto3"; import "/etc/passwd";'}, "configuration", "/etc/passwd"),
        ({"proto": {}}, "configuration", "`proto` must be an external resource with `endpoint`"),
    ],
)
async def test_each_mistake_gives_one_clear_error(
    served: Served, change: dict[str, Any], kind: str, said: str
) -> None:
    """What is wrong, where, and what would be right."""
    service = {
        "name": "greeter.Greeter",
        "host": "localhost",
        "port": served.port,
        **change.pop("service", {}),
    }
    given: dict[str, Any] = {"proto": served.proto, "method": "SayHello", "arguments": {}, **change}
    fault = await fault_of(grpc.call(served.call(), service=service, **given))

    assert kind == fault["type"].rpartition("/")[2]
    assert said in fault["detail"]


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
