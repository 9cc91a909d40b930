"""The company's IT services: mailboxes, licences and cloud access over HTTP, with OAuth 2.0 tokens.

Every `POST` may carry an `Idempotency-Key`: a key that was already answered gets the same
answer again, and nothing is done twice. The licence service fails on purpose: it answers 503
the first two times that it sees a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote

from onboarding.servers.child import Options, announce_ready, read_options
from onboarding.servers.request_log import RequestLog, read_json, replace_json

CLIENT: Final = "onboarding"
TOKEN_SECONDS: Final = 3600
FAILURES_PER_KEY: Final = 2
MAX_BODY_BYTES: Final = 1 << 20

PRODUCTS: Final = ("office", "ide", "crm", "design")
CLOUD_ROLES: Final = ("developer", "analyst")

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "mailboxes": ("employee", "address"),
    "licences": ("employee", "product"),
    "cloud-access": ("employee", "role"),
}


class Reply(NamedTuple):
    """An answer: its status, its JSON body, and whether the services' state changed."""

    status: int
    body: dict[str, Any] | None
    changed: bool = False


def problem(status: int, detail: str) -> Reply:
    """Return an error as problem details (RFC 7807)."""
    return Reply(status, {"title": HTTPStatus(status).phrase, "status": status, "detail": detail})


class Services:
    """What the services know, kept in one JSON file; safe to use from several threads."""

    def __init__(self, options: Options) -> None:
        self._path = options.folder / "it_services.json"
        empty: dict[str, Any] = {
            "mailboxes": [],
            "licences": [],
            "cloud-access": [],
            "answers": {},
            "failures": {},
        }
        self._state: dict[str, Any] = read_json(self._path, empty)
        self._lock = threading.Lock()
        self._secret = options.secret
        self._latency = options.latency_seconds

    def token(self, authorization: str, form: dict[str, list[str]]) -> Reply:
        """Answer a token request: client credentials in the header or in the form (RFC 6749)."""
        client, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        if authorization.startswith("Basic "):
            client, secret = _basic(authorization)
        if form.get("grant_type") != ["client_credentials"]:
            return Reply(400, {"error": "unsupported_grant_type"})
        if client != CLIENT or not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return Reply(401, {"error": "invalid_client"})
        until = str(int(time.time()) + TOKEN_SECONDS)
        token = f"{until}.{self._signature(until)}"
        return Reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})

    def admits(self, authorization: str) -> bool:
        """Whether a request carries a token that we signed and that is still good."""
        until, _, signature = authorization.removeprefix("Bearer ").partition(".")
        return (
            authorization.startswith("Bearer ")
            and hmac.compare_digest(signature, self._signature(until))
            and int(until) > time.time()
        )

    def _signature(self, until: str) -> str:
        return hmac.new(self._secret.encode(), until.encode(), hashlib.sha256).hexdigest()

    def create(self, kind: str, wish: Any, key: str | None) -> Reply:
        """Create one mailbox, licence or cloud access, once per key."""
        time.sleep(self._latency)
        if not isinstance(wish, dict) or any(not isinstance(wish.get(name), str) for name in REQUIRED[kind]):
            return problem(400, f"expected an object with {', '.join(REQUIRED[kind])}")
        with self._lock:
            answers, failures = self._state["answers"], self._state["failures"]
            if key in answers:
                return Reply(*answers[key])
            if kind == "licences" and key and failures.get(key, 0) < FAILURES_PER_KEY:
                failures[key] = failures.get(key, 0) + 1
                reply = problem(503, "the licence service is having one of its days")
            else:
                reply = self._created(kind, wish)
                if key and reply.changed:
                    answers[key] = [reply.status, reply.body]
            replace_json(self._path, self._state)
        return reply

    def _created(self, kind: str, wish: dict[str, str]) -> Reply:
        record = {name: wish[name] for name in REQUIRED[kind]}
        if kind == "licences" and record["product"] not in PRODUCTS:
            return problem(422, f"no such product: {record['product']}; there are {', '.join(PRODUCTS)}")
        if kind == "cloud-access" and record["role"] not in CLOUD_ROLES:
            return problem(422, f"cloud role {record['role']} needs a sponsor, and none is named")
        if record in self._state[kind]:
            return problem(409, f"already there: {', '.join(record.values())}")
        self._state[kind].append(record)
        return Reply(201, record, changed=True)

    def remove(self, kind: str, employee: str, product: str) -> Reply:
        """Take away what an employee has of a kind, or one product; nothing there is no error."""
        time.sleep(self._latency)
        gone = {"employee": employee} | ({"product": product} if product else {})
        with self._lock:
            before = self._state[kind]
            after = [record for record in before if not gone.items() <= record.items()]
            self._state[kind] = after
            replace_json(self._path, self._state)
        return Reply(204, None, changed=after != before)


def _basic(authorization: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client, _, secret = pair.partition(":")
    return unquote(client), unquote(secret)


class Handler(BaseHTTPRequestHandler):
    """Translates HTTP to the services' verbs."""

    protocol_version = "HTTP/1.1"
    server_version = "ExampleCompany/1.0"
    disable_nagle_algorithm = True
    server: ItServer

    def do_POST(self) -> None:
        """Create something, or give out a token."""
        self._answer(self._post())

    def do_DELETE(self) -> None:
        """Take something away."""
        self._answer(self._delete())

    def do_GET(self) -> None:
        """Refuse to read: nobody needs it."""
        self._answer(problem(405, "only POST and DELETE are served here"))

    def _post(self) -> Reply:
        size = int(self.headers.get("Content-Length") or 0)
        if size > MAX_BODY_BYTES:
            self.close_connection = True
            return problem(413, f"over MAX_BODY_BYTES ({MAX_BODY_BYTES})")
        body = self.rfile.read(size)
        services = self.server.services
        if self.path == "/oauth2/token":
            return services.token(
                self.headers.get("Authorization", ""), parse_qs(body.decode("utf-8", "replace"))
            )
        kind = self.path.strip("/")
        if kind not in REQUIRED:
            return problem(404, f"no such service: {self.path}")
        if not services.admits(self.headers.get("Authorization", "")):
            return problem(401, "a bearer token is needed")
        try:
            wish = json.loads(body)
        except ValueError:
            return problem(400, "the body is not JSON")
        return services.create(kind, wish, self.headers.get("Idempotency-Key"))

    def _delete(self) -> Reply:
        kind, _, what = self.path.strip("/").partition("/")
        employee, _, product = what.partition("/")
        if kind not in REQUIRED or not employee:
            return problem(404, f"no such service: {self.path}")
        if not self.server.services.admits(self.headers.get("Authorization", "")):
            return problem(401, "a bearer token is needed")
        return self.server.services.remove(kind, unquote(employee), unquote(product))

    def _answer(self, reply: Reply) -> None:
        key = self.headers.get("Idempotency-Key")
        self.server.log.write(self.command, self.path, key, reply.status, reply.changed)
        data = b"" if reply.body is None else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        if reply.status != HTTPStatus.NO_CONTENT:
            kind = "application/json" if reply.status < 400 else "application/problem+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on standard error: the request log has it."""


class ItServer(ThreadingHTTPServer):
    """The HTTP server with what its handlers share."""

    daemon_threads = True

    def __init__(self, options: Options) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.services = Services(options)
        self.log = RequestLog(options.folder / "it_services.log.jsonl")


if __name__ == "__main__":
    server = ItServer(read_options())
    announce_ready()
    server.serve_forever()
