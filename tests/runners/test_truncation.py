"""Cutting a table: head and tail stay, the budget holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hitui_runners.engines.truncation import PIECE_CHARACTERS, TokenizedTable, note, pieces
from hypothesis import given
from hypothesis import strategies as st


def words(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer for tests: a token is a word with the space before it, or a sign."""
    return [[match.start() for match in re.finditer(r"\s*\w+|\s*[^\w\s]|\s+\Z", text)] for text in texts]


def count(text: str) -> int:
    return len(words([text])[0])


NOTE_TOKENS = count(note(10**6))


def rows(number: int) -> str:
    return "".join(f"| row {n} | {n * 7} |\n" for n in range(number))


def test_a_table_that_fits_stays_as_it_is() -> None:
    table = TokenizedTable(rows(10), words)

    assert table.cut(table.tokens, NOTE_TOKENS).text == rows(10)
    assert table.cut(table.tokens, NOTE_TOKENS).left_out == 0


def test_head_and_tail_stay_in_whole_rows() -> None:
    text = rows(2000)
    cut = TokenizedTable(text, words).cut(1000, NOTE_TOKENS)

    lines = cut.text.splitlines()
    assert lines[0] == "| row 0 | 0 |"
    assert lines[-1] == "| row 1999 | 13993 |"
    (place,) = [number for number, line in enumerate(lines) if line.startswith("[")]
    assert lines[place] == f"[{cut.left_out} characters of the table are left out here]"
    assert all(line in text.splitlines() for line in lines if line and not line.startswith("["))
    assert len(text) - cut.left_out == len(cut.text) - len(note(cut.left_out))
    assert 950 < count(cut.text) <= 1000


def test_a_table_on_one_line_is_cut_between_cells() -> None:
    text = "<table>" + "".join(f"<tr><td>place {n}</td><td>{n}</td></tr>" for n in range(3000)) + "</table>"
    cut = TokenizedTable(text, words).cut(2000, NOTE_TOKENS)

    assert 1900 < count(cut.text) <= 2000
    assert re.search(r"</tr>\n\[\d+ characters of the table are left out here\]\n<tr>", cut.text)
    assert cut.text.endswith("<td>2999</td></tr></table>")


def test_a_text_without_any_boundary_is_cut_all_the_same() -> None:
    cut = TokenizedTable("0" * 5000, lambda texts: [range(len(text)) for text in texts]).cut(1000, 60)

    assert len(cut.text) == 940 + len(note(cut.left_out))


def test_no_room_leaves_nothing() -> None:
    assert TokenizedTable(rows(50), words).cut(0, NOTE_TOKENS).text == ""
    assert TokenizedTable(rows(50), words).cut(-20, NOTE_TOKENS).text == ""


@given(st.lists(st.text("ab1,|\n <>/td", max_size=60), max_size=80), st.integers(-5, 400))
def test_never_above_the_budget_and_made_of_head_and_tail(lines: list[str], budget: int) -> None:
    text = "\n".join(lines)
    table = TokenizedTable(text, words)
    cut = table.cut(budget, NOTE_TOKENS)

    # The seams may come out differently by a token or two on each side, as the module says.
    assert count(cut.text) <= max(budget, 0) + 4
    if cut.left_out and cut.text:
        head, _, tail = cut.text.partition(note(cut.left_out))
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + cut.left_out + len(tail) == len(text)


@given(st.integers(0, 40), st.integers(0, 3 * PIECE_CHARACTERS))
def test_pieces_are_the_whole_text_and_end_at_lines(lines: int, long: int) -> None:
    text = "x" * long + "".join("line of a table\n" * 300 for _ in range(lines))
    parts = pieces(text)

    assert "".join(parts) == text
    assert all(len(part) <= PIECE_CHARACTERS for part in parts)
    assert all(part.endswith("\n") for part in pieces(rows(5000))[:-1])
