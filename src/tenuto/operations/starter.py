"""The workflow that `tenuto init` writes: small, runs without a network, explains itself."""

from __future__ import annotations

from typing import Final

FILE_NAME: Final = "hello.yaml"

STARTER: Final = """\
# A first workflow. Run it, and read it from top to bottom:
#
#   tenuto run hello.yaml
#   tenuto run hello.yaml --input '{"name": "Ada", "guests": ["Grace", "Alan"]}'
#
# The language is the Open Workflow Specification (https://open-workflow-specification.org).
# Text of the form ${ ... } is a jq expression; in it, `.` is the data a task works on.

document:
  dsl: 1.0.3
  namespace: examples # with `name` and `version`: how other workflows call this one
  name: hello
  version: 0.1.0
  title: Greet somebody, and the guests they bring

# What the workflow accepts. Input that does not fit is refused before anything runs.
input:
  schema:
    document:
      type: object
      properties:
        name: { type: string, minLength: 1 }
        guests: { type: array, items: { type: string } }

# The tasks, one after the other. Each result is recorded before the next task begins,
# so a run that is stopped, even by a crash, goes on where it was: `tenuto resume`.
do:
  # `set` makes data. A task's output is the next task's input.
  - prepare:
      set:
        name: ${ .name // "world" }
        guests: ${ .guests // [] }
        greetings: []

  # `switch` chooses where to go on; `then` names a task of the same list.
  - anyGuests:
      switch:
        - some:
            when: .guests | length > 0
            then: greetGuests
        - nobody:
            then: greet

  # `for` repeats its tasks for each item of a list, here as $guest.
  - greetGuests:
      for:
        each: guest
        in: .guests
      do:
        - greetOne:
            set:
              name: ${ .name }
              guests: ${ .guests }
              greetings: ${ .greetings + ["Hello, \\($guest)!"] }

  # `try` catches errors, and tries again as often as `retry` says.
  # Replace `check` by a call to a real system; `tenuto connectors` lists what can be called.
  - greet:
      try:
        - check:
            if: .name == "nobody"
            raise:
              error:
                type: https://example.com/errors/nobody-to-greet
                status: 404
                title: There is nobody to greet
      catch:
        errors:
          with:
            status: 404
        do:
          - useAnother:
              set:
                name: somebody
                guests: ${ .guests }
                greetings: ${ .greetings }

  # `wait` is a durable timer. A moment here; a month works the same way.
  - pause:
      wait:
        milliseconds: 200

# What the workflow answers.
output:
  as:
    greetings: ${ ["Hello, \\(.name)!"] + .greetings }
"""
