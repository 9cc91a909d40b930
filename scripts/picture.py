"""Draw what a command leaves on a terminal as an SVG file.

    python scripts/picture.py FILE [COMMAND...]      the command is `make run` unless given

The command runs on a real pseudo-terminal; what it writes goes through a small screen that
understands what progress displays use: colours, moving the cursor, erasing.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

COLUMNS: Final = 104
ROWS: Final = 60
CELL_WIDTH: Final = 8.4
LINE_HEIGHT: Final = 19
MARGIN: Final = 16
BAR: Final = 30

INK: Final = "#d7dae0"
PAPER: Final = "#1b1e24"
DIM: Final = "#8a919e"
COLORS: Final = (
    ("#5c6370", "#f0717a", "#93c97a", "#e3c078", "#6cb6f5", "#cf8ee6", "#63c1cc", "#d7dae0"),
    ("#7f8794", "#ff8a92", "#a9dc8f", "#f2d28c", "#86c6ff", "#dfa4f2", "#7ad4de", "#ffffff"),
)
_WORDS: Final = re.compile(r"\S+(?: \S+)*")  # wider gaps are left to coordinates, which every viewer honours
_TOKENS: Final = re.compile(
    r"\x1b\[([?>=]?)([0-9;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\r\n\b]"
)


class Look(NamedTuple):
    """How a cell looks."""

    color: str = INK
    bold: bool = False
    dim: bool = False


PLAIN: Final = Look()
Cell = tuple[str, Look]


@dataclass
class Screen:
    """A terminal of unlimited height: what scrolled off is still there."""

    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    look: Look = PLAIN

    def feed(self, text: str) -> None:
        """Write what a program sent."""
        position = 0
        for token in _TOKENS.finditer(text):
            self._print(text[position : token.start()])
            position = token.end()
            if token[0] in ("\r", "\n", "\b"):
                self._control(token[0])
            elif token[3] and not token[1]:
                self._escape(token[3], [int(part or 0) for part in token[2].split(";")])
        self._print(text[position:])

    def _print(self, text: str) -> None:
        for character in text:
            if self.column >= COLUMNS:
                self._control("\r")
                self._control("\n")
            line = self.lines[self.row]
            line.extend([(" ", Look())] * (self.column + 1 - len(line)))
            line[self.column] = (character, self.look)
            self.column += 1

    def _control(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        else:
            self._move_to(self.row + 1)

    def _move_to(self, row: int) -> None:
        self.row = max(row, 0)
        self.lines.extend([] for _ in range(self.row + 1 - len(self.lines)))

    def _escape(self, verb: str, numbers: list[int]) -> None:
        count = max(numbers[0], 1)
        match verb:
            case "A" | "F":
                self._move_to(self.row - count)
                self.column = 0 if verb == "F" else self.column
            case "B" | "E":
                self._move_to(self.row + count)
                self.column = 0 if verb == "E" else self.column
            case "C":
                self.column += count
            case "D":
                self.column = max(self.column - count, 0)
            case "G":
                self.column = count - 1
            case "K":
                line = self.lines[self.row]
                del line[0 if numbers[0] == 2 else self.column :]
            case "J":
                del self.lines[self.row][self.column :]
                del self.lines[self.row + 1 :]
            case "m":
                self._style(numbers)

    def _style(self, numbers: list[int]) -> None:
        rest = list(numbers)
        while rest:
            number = rest.pop(0)
            if number == 0:
                self.look = Look()
            elif number in (1, 2):
                self.look = self.look._replace(bold=number == 1, dim=number == 2)
            elif number == 22:
                self.look = self.look._replace(bold=False, dim=False)
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self.look = self.look._replace(color=COLORS[number >= 90][number % 10])
            elif number == 39:
                self.look = self.look._replace(color=INK)
            elif number in (38, 48) and rest:
                size = 1 if rest.pop(0) == 5 else 3
                self._wide(number, rest[:size])
                del rest[:size]

    def _wide(self, number: int, parts: list[int]) -> None:
        if number == 48:
            return
        if len(parts) == 3:
            self.look = self.look._replace(color="#{:02x}{:02x}{:02x}".format(*parts))
        elif parts and parts[0] < 16:
            self.look = self.look._replace(color=COLORS[parts[0] >= 8][parts[0] % 8])


def record(command: list[str]) -> Screen:
    """Run a command on a pseudo-terminal and return what it leaves there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True
    ) as child:
        os.close(follower)
        data = b""
        try:
            while chunk := os.read(leader, 65536):
                data += chunk
        except OSError:
            pass  # the last program on the other end has left
        os.close(leader)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}:\n{data.decode()}")
    screen = Screen()
    screen.feed(data.decode("utf-8", "replace"))
    return screen


def draw(lines: list[list[Cell]], title: str) -> str:
    """Return lines of cells as an SVG picture of a terminal window."""
    width = round(COLUMNS * CELL_WIDTH + 2 * MARGIN)
    height = BAR + len(lines) * LINE_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
        *(
            f'<circle cx="{MARGIN + 6 + 20 * at}" cy="{BAR / 2 + 4}" r="6" fill="{color}"/>'
            for at, color in enumerate(("#f0717a", "#e3c078", "#93c97a"))
        ),
        '<g font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14" '
        'xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        y = BAR + MARGIN + (number + 0.75) * LINE_HEIGHT
        column = 0
        for look, cells in groupby(line, key=lambda cell: cell[1]):
            text = "".join(cell[0] for cell in cells)
            parts += [
                _span(word[0], MARGIN + (column + word.start()) * CELL_WIDTH, y, look)
                for word in _WORDS.finditer(text)
            ]
            column += len(text)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _span(text: str, x: float, y: float, look: Look) -> str:
    weight = ' font-weight="bold"' if look.bold else ""
    color = DIM if look.dim and look.color == INK else look.color
    length = f' textLength="{len(text) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}"{weight}{length}>{escape(text)}</text>'


def main() -> None:
    """Record the command and write the picture."""
    target, *given = sys.argv[1:]
    command = given or ["make", "--no-print-directory", "run"]
    lines = record(command).lines
    while lines and not any(cell[0].strip() for cell in lines[-1]):
        lines.pop()
    prompt: list[Cell] = [(character, Look(bold=True)) for character in f"$ {' '.join(given) or 'make run'}"]
    Path(target).write_text(draw([prompt, *lines], f"A terminal: {' '.join(command)}"), encoding="utf-8")


if __name__ == "__main__":
    main()
