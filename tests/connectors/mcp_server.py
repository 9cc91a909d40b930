"""A server of the Model Context Protocol, made with the protocol's own library.

`python mcp_server.py stdio`, or `python mcp_server.py http [json]`, which prints its port.
"""

from __future__ import annotations

import os
import socket
import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("tenuto-tests", version="7")


@server.tool()
def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


@server.tool()
def variables() -> list[str]:
    """Name the variables of the environment."""
    return sorted(os.environ)


@server.prompt()
def greet(who: str) -> str:
    """Ask for a greeting."""
    return f"Greet {who}"


@server.resource("note://today")
def today() -> str:
    """Return a note."""
    return "sunny"


@server.resource("note://{day}/weather")
def weather(day: str) -> str:
    """Return a day's note."""
    return f"rain on {day}"


def main() -> None:
    """Serve as the command line says."""
    if sys.argv[1] == "stdio":
        server.run("stdio")
        return
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    application = server.streamable_http_app(json_response="json" in sys.argv)
    uvicorn.Server(uvicorn.Config(application, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
