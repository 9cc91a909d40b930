"""Programs of third parties, as scripts that keep what they were told in the file `told` beside them."""

from __future__ import annotations

import sys
from typing import Final

# As `docker` does: runs a container whose image says hello, or whose entrypoint is our own shell.
DOCKER: Final = f"""#!{sys.executable} -I
import json, os, pathlib, sys
here, words = pathlib.Path(sys.argv[0]).parent, sys.argv[1:]
if words[0] == "run":
    words[1], file = "--cidfile=FILE", words[1].partition("=")[2]
    with (here / "told").open("a") as told:
        told.write(json.dumps(words) + "\\n")
    pathlib.Path(file).write_text("c0ffee")
    if "--entrypoint=/bin/sh" in words:
        os.execv("/bin/sh", ["sh", *words[words.index("alpine") + 1:]])
    print("Hello from Docker!")
    print("Unable to find image 'hello-world:latest' locally", file=sys.stderr)
    sys.exit(CODE)
"""

# As `npx` starts it: a server for MCP on standard input and output, with one tool.
NPX: Final = f"""#!{sys.executable} -I
import json, os, pathlib, sys
here = pathlib.Path(sys.argv[0]).parent
INFORMATION = {{
    "protocolVersion": "2025-06-18",
    "capabilities": {{"tools": {{}}}},
    "serverInfo": {{"name": "slack", "version": "1.0.0"}},
}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        result = INFORMATION
    else:
        assert (asked["method"], asked["params"]["name"]) == ("tools/call", "conversations_add_message")
        told = {{
            "words": sys.argv[1:],
            "token": os.environ["SLACK_MCP_XOXP_TOKEN"],
            "arguments": asked["params"]["arguments"],
        }}
        (here / "told").write_text(json.dumps(told) + "\\n")
        result = {{"content": [{{"type": "text", "text": "sent"}}], "isError": False}}
    print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], "result": result}}), flush=True)
"""
