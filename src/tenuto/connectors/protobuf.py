"""Protocol Buffers descriptions: `.proto` text compiled at run time to usable messages and methods."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import grpc_tools  # type: ignore[import-untyped]  # has no types
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message

from tenuto.connectors.arguments import endpoint_of
from tenuto.connectors.child import clean_environment, fresh_folder, run, tail
from tenuto.connectors.documents import fetch
from tenuto.plugin import Call, configuration_fault, runtime_fault, validation_fault

IMPORT_LIMIT: Final = 100  # files that one description may import, directly or not
COMPILE_SECONDS: Final = 30.0  # for the compiler to end
SCHEMA_LIMIT: Final = 64  # compiled descriptions that are kept

_COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_IMPORT: Final = re.compile(r"""^\s*import\s+(?:(?:public|weak)\s+)?["']([^"']+)["']\s*;""", re.MULTILINE)
_FILE_NAME: Final = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_WARNING: Final = re.compile(r"WARNING|[IW]\d{4} |.*: warning: ")
_GIVEN: Final = "google/protobuf/"  # what the compiler brings along


class Schema:
    """One compiled description: its services, and JSON to and from its messages."""

    def __init__(self, compiled: bytes) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled)
        self._services = [
            f"{file.package}.{service.name}".lstrip(".") for file in files.file for service in file.service
        ]
        for file in files.file:
            self._pool.Add(file)

    def method(self, service: str, method: str) -> MethodDescriptor:
        """Return a method; `service` is its full name, or its last part if that is unambiguous."""
        named = [name for name in self._services if name == service]
        named = named or [name for name in self._services if name.rpartition(".")[2] == service]
        if len(named) != 1:
            known = ", ".join(sorted(self._services)) or "none"
            raise configuration_fault(f"the proto has no service `{service}`; its services: {known}")
        described = self._pool.FindServiceByName(named[0])
        found: MethodDescriptor | None = described.methods_by_name.get(method)
        if found is None:
            known = ", ".join(sorted(described.methods_by_name)) or "none"
            raise configuration_fault(f"service `{named[0]}` has no method `{method}`; its methods: {known}")
        return found

    def encode(self, kind: Descriptor, value: Mapping[str, Any]) -> bytes:
        """Return the bytes of a message given as JSON; raises a `validation` fault if it does not fit."""
        message = message_factory.GetMessageClass(kind)()
        try:
            json_format.ParseDict(dict(value), message, descriptor_pool=self._pool)
            return message.SerializeToString()
        except (json_format.ParseError, OverflowError, TypeError, ValueError) as error:
            raise validation_fault(f"`arguments` do not fit message `{kind.full_name}`: {error}") from None

    def decode(self, kind: Descriptor, data: bytes) -> dict[str, Any]:
        """Return a message as JSON: lowerCamelCase names, 64-bit integers as strings, defaults present."""
        try:
            message: Message = message_factory.GetMessageClass(kind).FromString(data)
            value: dict[str, Any] = json_format.MessageToDict(
                message, always_print_fields_with_no_presence=True, descriptor_pool=self._pool
            )
        except (DecodeError, json_format.SerializeToJsonError, TypeError, ValueError) as error:
            raise runtime_fault(f"the answer is no `{kind.full_name}`: {error}") from None
        return value


async def schema_of(call: Call, proto: str | Mapping[str, Any]) -> Schema:
    """Return the compiled description of a text, or of an external resource with all its imports."""
    files = await _files_of(call, proto)
    key = hashlib.sha256(repr(files).encode()).digest()
    compiled = _COMPILED.get(key)
    if compiled is None:
        compiled = _COMPILED[key] = await _compile(files)
        while len(_COMPILED) > SCHEMA_LIMIT:
            _COMPILED.popitem(last=False)
    return Schema(compiled)


_COMPILED: Final[OrderedDict[bytes, bytes]] = OrderedDict()


async def _files_of(call: Call, proto: str | Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and text of the description and of all that it imports; its own come first."""
    if isinstance(proto, str):
        return [("service.proto", proto)]
    if isinstance(proto.get("content"), str):
        return [("service.proto", proto["content"])]
    if "endpoint" not in proto:
        raise configuration_fault("`proto` must be an external resource with `endpoint`")
    uri, authentication = endpoint_of(proto["endpoint"], "proto.endpoint")
    folder, slash, last = uri.rpartition("/")
    wanted = [(last if _FILE_NAME.fullmatch(last) else "service.proto", uri)]
    files: dict[str, str] = {}
    while wanted:
        name, place = wanted.pop(0)
        if name in files:
            continue
        if len(files) > IMPORT_LIMIT:
            raise configuration_fault(f"`proto` imports more than {IMPORT_LIMIT} files (limit IMPORT_LIMIT)")
        document = await fetch(call, {"uri": place, "authentication": authentication})
        files[name] = document.text
        # Other names are left to the compiler, which refuses them with the line where they stand.
        wanted.extend(
            (imported, f"{folder}{slash}{imported}")
            for imported in _IMPORT.findall(_COMMENT.sub(" ", document.text))
            if not imported.startswith(_GIVEN) and _FILE_NAME.fullmatch(imported)
        )
    return list(files.items())


async def _compile(files: list[tuple[str, str]]) -> bytes:
    """Compile with the compiler of grpcio-tools in a child process, which a broken text cannot harm."""
    async with fresh_folder() as folder:
        for name, text in files:
            target = folder / "in" / PurePosixPath(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        result = folder / "compiled"
        argv = [
            *(sys.executable, "-I", "-m", "grpc_tools.protoc"),
            f"--proto_path={folder / 'in'}",
            f"--proto_path={importlib.resources.files(grpc_tools) / '_proto'}",
            "--include_imports",
            f"--descriptor_set_out={result}",
            files[0][0],
        ]
        try:
            async with asyncio.timeout(COMPILE_SECONDS) as deadline:
                ended = await run(argv, environment=clean_environment(), folder=folder)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise configuration_fault(
                f"`proto` was not compiled within {COMPILE_SECONDS:g} s (limit COMPILE_SECONDS)"
            ) from None
        if ended.code != 0:
            said = tail(ended.stderr).replace(f"{folder / 'in'}/", "").splitlines()
            errors = [line for line in said if not _WARNING.match(line)]
            raise configuration_fault(f"`proto` cannot be compiled: {'; '.join(errors[:3])}")
        return result.read_bytes()
