"""Listings that fit a terminal, whatever stands in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hitui.commands.tables import fitted, lines_of

HEADER = ("job", "config", "state", "")
CELLS = st.text(st.sampled_from("ab/_0"), min_size=1, max_size=90)
SAID = st.lists(st.text(st.sampled_from("abc:;"), min_size=1, max_size=60), max_size=12).map(" ".join)
ROWS = st.lists(st.tuples(st.integers(1, 99999).map(str), CELLS, st.just("queued"), SAID), max_size=5)


@given(ROWS)
def test_with_room_enough_a_row_is_a_line(rows: list[tuple[str, ...]]) -> None:
    plain = lines_of(HEADER, rows, "><<<")
    assert fitted(HEADER, rows, "><<<", None, 1) == plain
    assert fitted(HEADER, rows, "><<<", max(map(len, plain)), 1) == plain


@given(ROWS, st.integers(40, 100))
def test_no_line_is_longer_than_the_terminal_and_no_word_of_the_last_column_is_lost(
    rows: list[tuple[str, ...]], width: int
) -> None:
    lines = fitted(HEADER, rows, "><<<", width, 1)
    assert max(map(len, lines)) <= width
    said = "".join("".join(row[-1].split()) for row in rows)
    shown = "".join("".join(lines).split())
    at = 0
    for character in said:
        at = shown.index(character, at) + 1
    # Of a name that is too long its end is what tells it from others.
    assert all(row[1][-8:] in " ".join(lines) for row in rows)


def test_a_long_remark_goes_below_its_row_or_its_column() -> None:
    row = ("7", "g/answer", "queued", "waits for 20 GiB free on GPU 0: GPU 0 is held by job 5")
    assert fitted(HEADER, [row], "><<<", 60, 1) == [
        "job  config    state",
        "  7  g/answer  queued  waits for 20 GiB free on GPU 0: GPU 0",
        "                       is held by job 5",
    ]
    assert fitted(HEADER, [row], "><<<", 44, 1) == [
        "job  config    state",
        "  7  g/answer  queued",
        "     waits for 20 GiB free on GPU 0: GPU 0",
        "     is held by job 5",
    ]


def test_nothing_that_stands_in_a_listing_acts_on_a_terminal() -> None:
    row = ("7", "g/\x1b[2Janswer", "queued", "waits for\n\x07" + "a very long wait " * 5)
    for width in (None, 60):
        text = "".join(fitted(HEADER, [row], "><<<", width, 1))
        assert text.isprintable()
