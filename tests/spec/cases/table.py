"""Every example of the standard, with the ways to play it."""

from __future__ import annotations

from typing import Final

from tests.spec.cases.calls import CALLS
from tests.spec.cases.case import Case
from tests.spec.cases.events import EVENTS
from tests.spec.cases.flow import FLOW
from tests.spec.cases.processes import PROCESSES
from tests.spec.cases.services import SERVICES

TABLE: Final[dict[str, dict[str, Case]]] = {
    **CALLS,
    **SERVICES,
    **EVENTS,
    **FLOW,
    **PROCESSES,
}

HOSTS: Final = (
    "example.com",
    "external-service.example.com",
    "fake-chat-api.com",
    "fake-hospital.com",
    "fake.com",
    "hospital.example.com",
    "keycloak",
    "myorg.io",
    "raw.githubusercontent.com",
    "superbet-casinos.com",
    "swapi.dev",
    "virtual-wf-powered-race.com",
)
