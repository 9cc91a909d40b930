"""The working copy of a state during one event: frames to change, commands to open.

The state that was given stays as it was: tables are copied at once, frames before their first
change. This is what keeps the fold pure while it works in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tenuto.engine.model import Command, Drop, Json, Note, Wake
from tenuto.language.program import Outline
from tenuto.language.state import ROOT, ListFrame, State, TaskFrame


class Working:
    """A state in the making; see the module's text."""

    def __init__(self, outline: Outline, state: State, now: float) -> None:
        self.outline = outline
        self.now = now
        self.state = replace(state)
        self.frames = state.frames.draft()
        self.waits = state.waits.draft()
        self.commands: list[Command] = []
        self.agenda: deque[int] = deque(state.agenda)
        self.cursor = 0
        self._owned: set[int] = set()

    def schedule(self, frame: TaskFrame) -> None:
        """Let a frame go on in this fold."""
        self.agenda.appendleft(frame.id)

    def own(self, frame: Any) -> Any:
        """Return this fold's own copy of a frame, safe to change."""
        if frame.id in self._owned:
            return self.frames[frame.id]
        mine = replace(frame)
        if isinstance(mine, TaskFrame) and mine.data is not None:
            mine.data = replace(mine.data)
        self.frames[mine.id] = mine
        self._owned.add(mine.id)
        return mine

    def next_phase(self, frame: TaskFrame, phase: int) -> None:
        """Let a frame enter a phase."""
        frame.phase = phase
        self.forget_answers(frame)

    def forget_answers(self, frame: TaskFrame) -> None:
        """Begin to ask anew: what the frame was told belongs to what is now done."""
        if frame.answers:
            frame.answers = []
        self.cursor = 0

    def open(self, command: Callable[[int], Command], waiting: int) -> int:
        """Open a command, whose answer goes to the frame `waiting` (0: to nobody)."""
        id = self.state.next
        self.state.next = id + 1
        self.commands.append(command(id))
        self.waits[id] = waiting
        return id

    def drop(self, command: int) -> None:
        """Take back a command, if it is still open."""
        if command and self.waits.pop(command) is not None:
            self.commands.append(Drop(command))

    def wake(self, frame: TaskFrame, at: float) -> int:
        """Ask to be woken at a time."""
        return self.open(lambda id: Wake(id, at), frame.id)

    def note(
        self, frame: TaskFrame, what: str, kind: str = "", data: Json = None, attempt: int | None = None
    ) -> None:
        """Say what happened to a task."""
        if frame.id != ROOT:
            self.commands.append(Note(frame.path, what, kind, attempt or frame.attempt, data))

    def context(self, frame: TaskFrame | ListFrame) -> Json:
        """Return `$context` as the frame sees it: its branch's own, or the run's."""
        if not frame.context:
            return self.state.context
        holder = self.frames[frame.context]
        assert isinstance(holder, ListFrame)
        return holder.own_context

    def set_context(self, frame: TaskFrame | ListFrame, context: Json) -> None:
        """Replace `$context` where the frame sees it."""
        if frame.context:
            self.own(self.frames[frame.context]).own_context = context
        else:
            self.state.context = context
