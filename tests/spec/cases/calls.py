"""The examples that call services over HTTP, with every kind of credential."""

from __future__ import annotations

from typing import Any, Final

from tests.spec.cases.case import Asked, Case, Text, fault
from tests.spec.hosts import Reply

PET: Final = {"id": 1, "name": "Rex", "status": "available"}
ONE_PET: Final = {"get petstore.swagger.io/v2/pet/1": [PET]}
GET_PET: Final = Asked("get", "petstore.swagger.io/v2/pet/1")

# ── authentication ───────────────────────────────────────────────────────────────────────

BEARER: Final = Case(
    input={"petId": 1, "token": "abc"},
    replies=ONE_PET,
    output=PET,
    asked=[Asked("get", "petstore.swagger.io/v2/pet/1", headers={"authorization": "Bearer abc"})],
)
REFUSED: Final = Case(
    input={"petId": 1, "token": "wrong"},
    replies={"get petstore.swagger.io/v2/pet/1": [401]},
    status="faulted",
    fault=fault(
        "communication",
        401,
        "Unauthorized",
        Text(".*https://petstore.swagger.io/v2/pet/1.*401.*"),
        "/do/0/getPet",
    ),
)

REALM: Final = "keycloak/realms/fake-authority"
TOKEN: Final = {"access_token": "t0k3n", "token_type": "Bearer", "expires_in": 300}
CLIENT: Final = (
    "grant_type=client_credentials&client_id=workflow-runtime-id&client_secret=workflow-runtime-secret"
)
DISCOVERY: Final = {
    "issuer": f"http://{REALM}",
    "token_endpoint": f"http://{REALM}/protocol/openid-connect/token",
}
WITH_TOKEN: Final = Asked("get", "petstore.swagger.io/v2/pet/1", headers={"authorization": "Bearer t0k3n"})
POLICY: Final = {
    "authority": f"http://{REALM}",
    "grant": "client_credentials",
    "client": {"id": "workflow-runtime-id", "secret": "workflow-runtime-secret"},
}


def oauth2(path: str, **more: Any) -> Case:
    """A token is fetched from the authority's token endpoint at `path`, and used."""
    return Case(
        input={"petId": 1},
        replies={**ONE_PET, f"post {REALM}{path}": [TOKEN]},
        output=PET,
        asked=[Asked("post", REALM + path, CLIENT), WITH_TOKEN],
        **more,
    )


def oidc(**more: Any) -> Case:
    """The token endpoint is found by discovery."""
    well_known, endpoint = (
        f"{REALM}/.well-known/openid-configuration",
        f"{REALM}/protocol/openid-connect/token",
    )
    return Case(
        input={"petId": 1},
        replies={**ONE_PET, f"get {well_known}": [DISCOVERY], f"post {endpoint}": [TOKEN]},
        output=PET,
        asked=[Asked("get", well_known), Asked("post", endpoint, CLIENT), WITH_TOKEN],
        **more,
    )


def without_secret(name: str = "mySecret") -> Case:
    """A secret that nobody gave is named, and how to give it."""
    return Case(
        input={"petId": 1},
        status="faulted",
        fault=fault(
            "authorization",
            403,
            "Authorization Error",
            f"there is no secret '{name}'; give it with --secrets or TENUTO_SECRET_{name.upper()}",
            "/do/0/getPet",
        ),
        asked=[],
    )


AUTHENTICATION: Final[dict[str, dict[str, Case]]] = {
    "authentication-bearer": {"accepted": BEARER, "refused": REFUSED},
    "authentication-bearer-uri-format": {"accepted": BEARER, "refused": REFUSED},
    "authentication-reusable": {"accepted": BEARER, "refused": REFUSED},
    "authentication-oauth2": {
        "token": oauth2("/auth/token"),
        "no token": Case(
            input={"petId": 1},
            replies={f"post {REALM}/auth/token": [Reply(401, {"error": "invalid_client"})]},
            status="faulted",
            fault=fault(
                "authentication", 401, "Authentication Error", Text(".*invalid_client.*"), "/do/0/getPet"
            ),
            asked=[Asked("post", f"{REALM}/auth/token")],
        ),
    },
    "authentication-oauth2-secret": {
        "token": oauth2("/oauth2/token", secrets={"mySecret": POLICY}),
        "no secret": without_secret(),
    },
    "authentication-oidc": {"token": oidc()},
    "authentication-oidc-secret": {
        "token": oidc(secrets={"mySecret": POLICY}),
        "no secret": without_secret(),
    },
}

# ── HTTP ─────────────────────────────────────────────────────────────────────────────────

PET_BY_ID: Final = Case(input={"petId": 1}, replies=ONE_PET, output=PET, asked=[GET_PET])
NO_PET: Final = Case(
    input={"petId": 9},
    status="faulted",
    fault=fault("communication", 404, "Not Found", Text(".*/v2/pet/9.*404.*"), "/do/0/getPet"),
    asked=[Asked("get", "petstore.swagger.io/v2/pet/9")],
)

LUKE: Final = {"name": "Luke Skywalker", "homeworld": "https://swapi.dev/api/planets/1/"}
PEOPLE: Final = {"count": 1, "results": [LUKE]}
SEARCH: Final = Case(
    input={"searchQuery": "luke s"},
    replies={"get swapi.dev/api/people/": [PEOPLE]},
    output=PEOPLE,
    asked=[
        Asked("get", "swapi.dev/api/people/?search=luke%20s", headers={"accept": Text("application/json.*")})
    ],
)
NO_QUERY: Final = Case(
    input={"search": "luke"},
    status="faulted",
    fault=fault("validation", 400, "Validation Error", Text(".*searchQuery.*"), "/"),
    asked=[],
)
MOVED: Final = {
    "get swapi.dev/api/people/": [Reply(302, {"moved": True}, {"Location": "https://swapi.dev/v2/"})]
}

HTTP: Final[dict[str, dict[str, Case]]] = {
    "call-http-endpoint-interpolation-shorthand": {"found": PET_BY_ID, "not found": NO_PET},
    "call-http-endpoint-interpolation": {
        "found": Case(
            input={"petId": 1},
            replies=ONE_PET,
            output=PET,
            asked=[
                Asked("get", "petstore.swagger.io/v2/pet/1", headers={"content-type": "application/json"})
            ],
        ),
        "not found": NO_PET,
    },
    "call-http-query-parameters": {"search": SEARCH, "invalid input": NO_QUERY},
    "call-http-query-headers-expressions": {"search": SEARCH, "invalid input": NO_QUERY},
    "call-http-redirect": {
        "search": SEARCH,
        "invalid input": NO_QUERY,
        "redirect": Case(input={"searchQuery": "luke"}, replies=MOVED, output={"moved": True}),
    },
    "do-single": {"found": PET_BY_ID, "not found": NO_PET},
    # The pet has no `petId`, and a variable of a URI template that is not there gives nothing.
    "do-multiple": {
        "sold": Case(
            input={"petId": 1},
            replies={**ONE_PET, "put petstore.swagger.io/v2/pet/": [{"sold": True}]},
            output={"sold": True},
            asked=[GET_PET, Asked("put", "petstore.swagger.io/v2/pet/", {**PET, "status": "sold"})],
        )
    },
    "star-wars-homeworld": {
        "found": Case(
            input={"id": 1},
            replies={
                "get swapi.dev/api/people/1": [LUKE],
                "get swapi.dev/api/planets/1/": [{"name": "Tatooine"}],
            },
            output={"name": "Tatooine"},
            asked=[Asked("get", "swapi.dev/api/people/1"), Asked("get", "swapi.dev/api/planets/1/")],
        ),
        "invalid input": Case(
            input={"id": 0},
            status="faulted",
            fault=fault("validation", 400, "Validation Error", Text(".*minimum.*"), "/"),
            asked=[],
        ),
    },
    "schedule-cron": {
        "now": Case(
            replies={"post example.com/api/v1/backup/start": [Reply(202, {"backup": 7})]},
            output={"backup": 7},
            asked=[Asked("post", "example.com/api/v1/backup/start", "")],
        )
    },
}

CALLS: Final = {**AUTHENTICATION, **HTTP}
