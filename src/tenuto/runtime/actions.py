"""The one gate to the outside world: every action of every run is carried out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from tenuto.engine.model import Json, Perform
from tenuto.errors import (
    Fault,
    Faulted,
    NotFound,
    TenutoError,
    Unfit,
    authorization_fault,
    configuration_fault,
    runtime_fault,
)
from tenuto.governance.secrets import redact, redact_cut, resolve, texts_in
from tenuto.plugin import Call, Network
from tenuto.settings import secret_variable


class Invocable(Protocol):
    """A function of the catalog, as the gate uses it."""

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Call it with checked arguments; raises `Faulted`."""

    def accepts(self, name: str) -> bool:
        """Whether it has a parameter of that name."""


class Functions(Protocol):
    """Where functions are found."""

    def find(self, name: str) -> Invocable:
        """Return a function by name and version; raises `NotFound`."""


class Gate:
    """Carries out actions: resolves secrets, calls the function, redacts what comes back."""

    def __init__(self, functions: Functions, network: Network, secrets: Mapping[str, Json]) -> None:
        self._functions = functions
        self._network = network
        self._secrets = secrets

    async def perform(
        self,
        run: str,
        command: Perform,
        folders: tuple[Path, ...],
        report: Callable[[Json], None] = lambda progress: None,
    ) -> tuple[Json, str | None] | Fault:
        """Carry out an action; answer its output and the kind of credential used, or its fault.

        `report` is called on this thread with what the action tells of its progress. Raises `Unfit` for
        what cannot be recorded.
        """
        used: list[str] = []
        schemes: list[str] = []
        try:
            function = self._functions.find(command.function)
            arguments = command.arguments
            if command.nonce:
                arguments = resolve(arguments, command.nonce, partial(self._look_up, used))
            if command.undoing:
                arguments = {name: value for name, value in arguments.items() if function.accepts(name)}
            call = Call(
                run=run,
                task=command.task,
                attempt=command.attempt,
                idempotency_key=command.key,
                network=self._network,
                folders=folders,
                authorized=lambda scheme, parameter: schemes.append(scheme),
                mask=lambda text: redact(text, used),
                report=lambda progress: report(redact(progress, used) if used else progress),
                progress=command.progress,
            )
            output = await function.invoke(call, arguments)
            if used:
                output = redact(output, used)
        except Faulted as error:
            return _redacted(error.fault, used)
        except Unfit as error:
            if not used:
                raise
            hint = None if error.hint is None else _cleaned(error.hint, used)
            raise Unfit(_cleaned(error.message, used), hint=hint) from None
        except NotFound as error:
            detail = error.message if error.hint is None else f"{error.message} ({error.hint})"
            return configuration_fault(detail).fault
        except TenutoError as error:
            return _redacted(runtime_fault(error.message).fault, used)
        except Exception as error:
            # A run whose action never ends would wait for ever: whatever happens here, it is told.
            return runtime_fault(f"{command.function} could not be called: {type(error).__name__}").fault
        return output, schemes[-1] if schemes else None

    def _look_up(self, used: list[str], path: str) -> Json:
        steps = path.split(".")
        for size in range(1, len(steps) + 1):  # a name may have dots in it, too
            try:
                value: Json = self._secrets[".".join(steps[:size])]
                for field in steps[size:]:
                    value = value[field]
            except (KeyError, TypeError):
                continue
            used.extend(texts_in(value))
            return value
        raise authorization_fault(
            f"there is no secret {path!r}; give it with --secrets or {secret_variable(steps[0])}"
        )


def _redacted(fault: Fault, used: list[str]) -> Fault:
    if not used:
        return fault
    told: dict[str, Json] = {
        name: _cleaned(text, used)
        for name, text in (("title", fault.title), ("detail", fault.detail))
        if text is not None
    }
    raised = fault.exception
    if raised is not None and raised.arguments is not None:
        arguments = [
            _cleaned(value, used) if isinstance(value, str) else redact(value, used)
            for value in raised.arguments
        ]
        told["exception"] = msgspec.structs.replace(raised, arguments=arguments)
    return msgspec.structs.replace(fault, **told)


def _cleaned(text: str, used: list[str]) -> str:
    return redact_cut(redact(text, used), used)
