"""A table is a dictionary that never changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenuto.engine.table import Table

changes = st.lists(st.tuples(st.integers(0, 300), st.none() | st.text(max_size=3)), max_size=60)


@given(st.lists(changes, max_size=6))
def test_a_table_is_what_a_dictionary_would_be(rounds: list[list[tuple[int, str | None]]]) -> None:
    """After any changes, in any number of drafts; every earlier table stays as it was."""
    table: Table[str] = Table()
    model: dict[int, str] = {}
    earlier: list[tuple[Table[str], dict[int, str]]] = []
    for round_ in rounds:
        draft = table.draft()
        for id, value in round_:
            if value is None:
                assert draft.pop(id) == model.pop(id, None)
            else:
                draft[id] = value
                model[id] = value
            assert draft.get(id) == model.get(id)
        assert draft.items() == sorted(model.items())
        assert draft.values() == [model[id] for id in sorted(model)]
        table = draft.done()
        earlier.append((table, dict(model)))

    for made, expected in earlier:
        assert made == expected
        assert (len(made), bool(made)) == (len(expected), bool(expected))
        assert all(made[id] == value and id in made for id, value in expected.items())
        assert made.get(-1) is None
        assert Table.of(expected) == made
