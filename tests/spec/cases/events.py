"""The examples that emit events and listen for them, and those that events start."""

from __future__ import annotations

from typing import Final

from tests.spec.cases.case import Asked, Cancelled, Case, Happens, Sleeps, Text, Waits, event, fault

HOT, COLD = (
    Happens("com.fake-hospital.vitals.measurements.temperature", {"temperature": degrees})
    for degrees in (39.5, 36.6)
)
SLOW, CALM = (Happens("com.fake-hospital.vitals.measurements.bpm", {"bpm": beats}) for beats in (55, 70))
CHECKED_OUT: Final = Happens("com.fake-hospital.patient.checked-out", {"patient": 1})
OTHER: Final = Happens("com.fake-hospital.other", {"temperature": 40, "bpm": 200})


def happened(what: Happens) -> dict[str, object]:
    """The whole event, as it is heard."""
    return event(what.type, what.source, what.data)


SENSOR: Final = "https://my.home.com/sensor"


def reading(kind: str, room: str, value: float, source: str = SENSOR) -> Happens:
    """A sensor's reading."""
    return Happens(f"my.home.sensors.{kind}", {"reading": value}, source, {"roomid": room})


RACE: Final = "com.virtual-wf-powered-race.events.race.started.v1"
PLACED: Final = event(
    "com.petstore.order.placed.v1",
    "https://petstore.com",
    {
        "client": {"firstName": "Cruella", "lastName": "de Vil"},
        "items": [{"breed": "dalmatian", "quantity": 101}],
    },
)
HEARTBEAT: Final = {
    "specversion": "1.0",
    "type": "com.example.hospital.events.patients.heartbeat.low",
    "data": {
        "timestamp": "2026-01-01T00:00:00Z",
        "patient": {"id": 7, "name": "Ada", "room": {"number": 12}, "vitals": {"bpm": 41}},
    },
}
TRIGGER: Final = {"type": "io.serverlessworkflow.samples.events.trigger.v1", "data": {"n": 1}}


def posted(what: Happens) -> Asked:
    """What the chat is told of an event."""
    return Asked("post", "fake-chat-api.com/room/7", {"event": what.data})


LISTENING: Final[dict[str, dict[str, Case]]] = {
    "listen-to-one": {
        "started": Case(
            input={"carId": 7},
            steps=[OTHER, Happens(RACE, {"race": 1})],
            # The input of the second task is what was heard, an array: there is no `carId` in it.
            replies={"post virtual-wf-powered-race.com/api/v4/cars//start": [{"started": True}]},
            output={"started": True},
            asked=[Asked("post", "virtual-wf-powered-race.com/api/v4/cars//start", "")],
        ),
        "not started": Case(steps=[OTHER, Waits()], status="waiting", asked=[]),
    },
    "listen-to-all": {
        "both": Case(steps=[COLD, CALM, OTHER, SLOW, HOT], output=[SLOW.data, HOT.data]),
        "one of them twice": Case(steps=[HOT, HOT, Waits()], status="waiting"),
    },
    "listen-to-all read-envelope": {
        "both": Case(steps=[COLD, HOT, SLOW], output=[happened(HOT), happened(SLOW)]),
    },
    "listen-to-any-filter": {
        "the first that fits": Case(steps=[COLD, CALM, OTHER, SLOW], output=[SLOW.data]),
        "none fits": Case(steps=[COLD, CALM, OTHER, Waits()], status="waiting"),
    },
    "listen-to-any": {"anything": Case(steps=[OTHER], output=[OTHER.data])},
    "listen-to-any-until-condition": {
        "four": Case(steps=[HOT, COLD, OTHER, CALM], output=[HOT.data, COLD.data, OTHER.data, CALM.data]),
        "three": Case(steps=[HOT, COLD, OTHER, Waits()], status="waiting"),
    },
    "listen-to-any-until-consumed": {
        "checked out": Case(steps=[HOT, COLD, SLOW, CHECKED_OUT], output=[HOT.data, SLOW.data]),
        "at once": Case(steps=[CHECKED_OUT], output=[]),
        "not checked out": Case(steps=[HOT, SLOW, Waits()], status="waiting"),
    },
    "listen-to-any-forever-foreach": {
        "for ever": Case(
            input={"roomId": 7},
            replies={"post fake-chat-api.com/room/7": [{"ok": True}]},
            steps=[HOT, OTHER, Cancelled()],
            status="cancelled",
            asked=[posted(HOT), posted(OTHER)],
        ),
        "a chat that fails": Case(
            input={"roomId": 7},
            replies={"post fake-chat-api.com/room/7": [{"ok": True}, 500]},
            steps=[HOT, OTHER],
            status="faulted",
            fault=fault(
                "communication",
                500,
                "Internal Server Error",
                Text(".*fake-chat-api.*"),
                "/do/0/listenToGossips/foreach/1/do/0/postToChatApi",
                transient=True,
            ),
        ),
    },
    # What `listen` gives is an array, and an array has no member `data`: so the standard's own
    # example ends there.
    "accumulate-room-readings": {
        "two of one room": Case(
            steps=[
                reading("temperature", "kitchen", 21.5),
                reading("humidity", "bath", 80),
                reading("humidity", "kitchen", 40, source="https://elsewhere.example"),
                reading("humidity", "kitchen", 40),
            ],
            status="faulted",
            fault=fault(
                "expression",
                400,
                "Expression Error",
                Text('Cannot index array with.*"data".*'),
                "/do/0/consumeReading",
            ),
            asked=[],
        ),
        "nothing for an hour": Case(
            steps=[reading("temperature", "kitchen", 21.5), Sleeps(3600)],
            status="faulted",
            fault=fault("timeout", 408, "Timeout", Text(".+"), "/"),
            asked=[],
        ),
    },
    # The same: `.pets` of an array.
    "for": {
        "a vet": Case(
            input={"vet": "Doolittle", "pets": [{"id": 1}, {"id": 2}]},
            steps=[Happens("com.fake.petclinic.pets.checkup.completed.v2", {"pets": []})],
            status="faulted",
            fault=fault(
                "expression",
                400,
                "Expression Error",
                Text('Cannot index array with.*"pets".*'),
                "/do/0/checkup/for/0/do/0/waitForCheckup",
            ),
        ),
        "no vet": Case(input={"pets": [{"id": 1}]}, output={"pets": [{"id": 1}]}),
        "no pets": Case(input={"vet": "Doolittle", "pets": []}, output={"vet": "Doolittle", "pets": []}),
    },
}

EVENTS: Final[dict[str, dict[str, Case]]] = {
    **LISTENING,
    "emit": {"emitted": Case(output=PLACED, emitted=[PLACED])},
    # The input is the array that the schedule gives; here, as the example wants it, of whole events.
    "schedule-event-driven": {
        "alarm": Case(
            input=[HEARTBEAT],
            replies={"post hospital.example.com/api/v1/notify": [{"notified": True}]},
            output={"notified": True},
            asked=[
                Asked(
                    "post",
                    "hospital.example.com/api/v1/notify",
                    {
                        "patientId": 7,
                        "patientName": "Ada",
                        "roomNumber": 12,
                        "vitals": {"heartRate": 41, "timestamp": "2026-01-01T00:00:00Z"},
                        "message": "Alert: Patient's heartbeat is critically low. Immediate attention required.",
                    },
                )
            ],
        )
    },
    "set": {"triggered": Case(input=[TRIGGER], output={"startEvent": TRIGGER})},
    "set-expression": {"triggered": Case(input=[TRIGGER], output=TRIGGER)},
}
