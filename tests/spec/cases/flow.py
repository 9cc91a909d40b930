"""The examples about the order of tasks, errors, retries and waiting."""

from __future__ import annotations

from typing import Final

from tests.spec.cases.calls import GET_PET, ONE_PET, PET
from tests.spec.cases.case import Asked, Case, Sleeps, Text, event, fault
from tests.spec.hosts import NEVER, Reply

PET_PLACE: Final = "petstore.swagger.io/v2/pet/1"
UNAVAILABLE: Final = fault(
    "communication", 503, "Service Unavailable", Text(f".*{PET_PLACE}.*503.*"), "/do/0/tryGetPet/try/0/getPet"
)
NOT_FOUND: Final = fault(
    "communication", 404, "Not Found", Text(f".*{PET_PLACE}.*404.*"), "/do/0/tryGetPet/try/0/getPet"
)
BROKEN: Final = fault(
    "communication",
    500,
    "Internal Server Error",
    Text(f".*{PET_PLACE}.*500.*"),
    "/do/0/tryGetPet/try/0/getPet",
    transient=True,
)

RETRIES: Final = {
    "at once": Case(input={"petId": 1}, replies=ONE_PET, output=PET, asked=[GET_PET]),
    "twice": Case(
        input={"petId": 1},
        replies={f"get {PET_PLACE}": [503, 503, PET]},
        steps=[Sleeps(3), Sleeps(6)],
        output=PET,
        asked=[GET_PET] * 3,
    ),
    "always": Case(
        input={"petId": 1},
        replies={f"get {PET_PLACE}": [503]},
        steps=[Sleeps(3), Sleeps(6), Sleeps(12), Sleeps(24), Sleeps(48)],
        status="faulted",
        fault={**UNAVAILABLE, "transient": True},
        asked=[GET_PET] * 6,
    ),
    "another error": Case(
        input={"petId": 1},
        replies={f"get {PET_PLACE}": [500]},
        status="faulted",
        fault=BROKEN,
        asked=[GET_PET],
    ),
}

TRYING: Final[dict[str, dict[str, Case]]] = {
    "try-catch": {
        "found": Case(input={"petId": 1}, replies=ONE_PET, output=PET, asked=[GET_PET]),
        "not found": Case(
            input={"petId": 1}, replies={f"get {PET_PLACE}": [404]}, output={"petId": 1}, asked=[GET_PET]
        ),
        "another error": Case(
            input={"petId": 1}, replies={f"get {PET_PLACE}": [500]}, status="faulted", fault=BROKEN
        ),
    },
    "try-catch-retry-inline": RETRIES,
    "try-catch-retry-reusable": RETRIES,
    "try-catch-then": {
        "found": Case(
            input={"petId": 1},
            replies={**ONE_PET, "put petstore.swagger.io/v2/pet/": [{"sold": True}]},
            output={"sold": True},
            asked=[GET_PET, Asked("put", "petstore.swagger.io/v2/pet/", {**PET, "status": "sold"})],
            emitted=[],
        ),
        # `$error` in `set` is a text, for it has no `${ }`; in `export.as` it is an expression.
        "not found": Case(
            input={"petId": 1},
            replies={f"get {PET_PLACE}": [404]},
            output={"error": "$error"},
            asked=[GET_PET],
            emitted=[
                event(
                    "io.swagger.petstore.events.pets.not-found.v1",
                    "https://petstore.swagger.io",
                    NOT_FOUND,
                )
            ],
        ),
    },
    "try-catch-then-directive": {
        "an answer": Case(
            replies={"get external-service.example.com/api": [{"up": True}]}, output={"status": "ok"}
        ),
        "unavailable": Case(
            replies={"get external-service.example.com/api": [503]}, output={"status": "failed"}
        ),
        "another error": Case(
            status="faulted",
            fault=fault(
                "communication",
                404,
                "Not Found",
                Text(".*external-service.*"),
                "/do/0/trySomething/try/0/callExternalService",
            ),
        ),
    },
}


def raised(source: str) -> dict[str, Case]:
    """The error with its detail evaluated."""
    return {
        "raised": Case(
            status="faulted",
            fault={
                "type": "https://serverlessworkflow.io/errors/not-implemented",
                "status": 500,
                "title": "Not Implemented",
                "detail": f"The workflow '{source}' is a work in progress and cannot be run yet",
                "instance": "/do/0/notImplemented",
            },
        )
    }


ALERT: Final = "fake-hospital.com/api/v3/alert"
PATIENT: Final = {"patient": {"fullName": "Ada Lovelace"}, "room": {"number": 12}}
ALERTED: Final = [
    Asked("put", f"{ALERT}/{who}", {"patientId": "Ada Lovelace", "room": 12}) for who in ("doctor", "nurses")
]

FLOW: Final[dict[str, dict[str, Case]]] = {
    **TRYING,
    "raise-inline": raised("raise-not-implemented:0.1.0"),
    "raise-reusable": raised("raise-not-implemented:0.1.0"),
    "wait-duration-inline": {"30 seconds": Case(input={"a": 1}, steps=[Sleeps(30)], output={"a": 1})},
    "wait-duration-iso8601": {"30 seconds": Case(input={"a": 1}, steps=[Sleeps(30)], output={"a": 1})},
    "switch-then-string": {
        "electronic": Case(
            input={"orderType": "electronic"}, output={"validate": True, "status": "fulfilled"}
        ),
        "physical": Case(
            input={"orderType": "physical"},
            output={"inventory": "clear", "items": 1, "address": "Elmer St"},
        ),
        "unknown": Case(input={}, output={"log": "warn", "message": "something's wrong"}),
    },
    "for-inline-array": {
        "three colours": Case(
            output={
                "processed": [
                    {"name": "red", "hex": "#FF0000"},
                    {"name": "green", "hex": "#00FF00"},
                    {"name": "blue", "hex": "#0000FF"},
                ]
            }
        )
    },
    "conditional-task": {
        "underage": Case(
            input={"customer": {"age": 17}},
            status="faulted",
            fault={
                "type": "https://superbet-casinos.com/customer/access-forbidden",
                "status": 400,
                "title": "Access Forbidden",
                "instance": "/do/0/raiseErrorIfUnderage",
            },
            asked=[],
        ),
        # The members of `body` are texts, for they have no `${ }`.
        "of age": Case(
            input={"customer": {"age": 18}, "bet": 5},
            replies={"post superbet-casinos.com/api/bet/on/football": [{"placed": True}]},
            output={"placed": True},
            asked=[
                Asked(
                    "post",
                    "superbet-casinos.com/api/bet/on/football",
                    {"customer": ".customer", "bet": ".bet"},
                )
            ],
        ),
    },
    "fork": {
        "the nurses are first": Case(
            input=PATIENT,
            replies={f"put {ALERT}/nurses": [{"who": "nurse"}], f"put {ALERT}/doctor": [NEVER]},
            output={"who": "nurse"},
        ),
        "the doctor is first": Case(
            input=PATIENT,
            replies={f"put {ALERT}/nurses": [NEVER], f"put {ALERT}/doctor": [{"who": "doctor"}]},
            output={"who": "doctor"},
        ),
        "a branch that fails has lost": Case(
            input=PATIENT,
            replies={
                f"put {ALERT}/nurses": [500],
                f"put {ALERT}/doctor": [Reply(body={"who": "doctor"}, after=2)],
            },
            output={"who": "doctor"},
            asked=ALERTED,
            in_any_order=True,
        ),
        "both fail": Case(
            input=PATIENT,
            replies={f"put {ALERT}/nurses": [500], f"put {ALERT}/doctor": [500]},
            status="faulted",
            fault=fault(
                "communication",
                500,
                "Internal Server Error",
                Text(".*fake-hospital.*"),
                Text("/do/0/raiseAlarm/fork/branches/(0/callNurse|1/callDoctor)"),
                transient=True,
            ),
            asked=ALERTED,
            in_any_order=True,
        ),
    },
    # In the example's `when` an object, the endpoint, is asked with what it starts: jq refuses that.
    "mock-service-extension": {
        "an endpoint that is an object": Case(
            status="faulted",
            fault=fault(
                "expression",
                400,
                "Expression Error",
                Text(r".*startswith\(\) requires string inputs.*"),
                "/do/0/callHttp",
            ),
            asked=[],
        )
    },
}
