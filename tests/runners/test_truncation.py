"""Cutting a table: head and tail stay, the budget holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hitui_runners.engines.headers import header_rows
from hitui_runners.engines.original_truncation import original_cuts
from hitui_runners.engines.tokens import CONTEXT_CHARACTERS, PIECE_CHARACTERS, Tokens, tokenize_long
from hitui_runners.engines.truncation import Cut, TokenizedTable, note
from hypothesis import given
from hypothesis import strategies as st


def tokenized(texts: Sequence[str]) -> list[Tokens]:
    """A tokenizer for tests: a token is a word with the space before it, or a sign; its id says what it is."""
    found = [[*re.finditer(r"\s*\w+|\s*[^\w\s]|\s+\Z", text)] for text in texts]
    return [Tokens([hash(m[0]) & 0xFFFF for m in matches], [m.start() for m in matches]) for matches in found]


def count(text: str) -> int:
    return len(tokenized([text])[0].ids)


def table_of(text: str, table_format: str | None = None) -> TokenizedTable:
    return TokenizedTable(text, tokenized([text])[0].starts, header_rows(text, table_format))


NOTE_TOKENS = count(note(10**6))


def told_left_out(cut: Cut) -> int:
    """Characters, by the notes."""
    return sum(int(found) for found in re.findall(r"\[(\d+) characters of the table", cut.text))


def rows(number: int) -> str:
    return "".join(f"| row {n} | {n * 7} |\n" for n in range(number))


def test_a_table_that_fits_stays_as_it_is() -> None:
    table = table_of(rows(10))

    assert table.cut(table.tokens, NOTE_TOKENS) == Cut(rows(10), ((0, len(rows(10))),))
    assert table.cut(table.tokens, NOTE_TOKENS).text == rows(10)


def test_head_and_tail_stay_and_the_tail_in_whole_rows() -> None:
    text = rows(2000)
    cut = table_of(text).cut(1000, NOTE_TOKENS)

    head, tail = cut.text.split(note(cut.left_out))
    assert head.startswith("| row 0 | 0 |\n| row 1 | 7 |\n")
    assert tail.endswith("\n| row 1999 | 13993 |\n")
    assert set(tail.splitlines()) <= set(text.splitlines())
    assert len(text) - cut.left_out == len(head) + len(tail)
    assert 990 <= count(cut.text) <= 1000


def test_where_a_row_is_within_what_may_be_given_up_the_head_ends_with_one() -> None:
    cut = table_of(rows(20_000)).cut(20_000, NOTE_TOKENS)

    head, _, _ = cut.text.partition(note(cut.left_out))
    assert head.endswith(" |\n")
    assert 19_900 <= count(cut.text) <= 20_000


def test_a_table_on_one_line_is_cut_between_cells() -> None:
    text = "<table>" + "".join(f"<tr><td>place {n}</td><td>{n}</td></tr>" for n in range(3000)) + "</table>"
    cut = table_of(text, "html").cut(4000, NOTE_TOKENS)

    assert 3960 < count(cut.text) <= 4000
    assert re.search(r"</t[rd]>\n\[\d+ characters of the table are left out here\]\n<tr>", cut.text)
    assert cut.text.endswith("<td>2999</td></tr></table>")


def test_a_text_without_any_boundary_is_cut_all_the_same() -> None:
    cut = TokenizedTable("0" * 5000, range(5000)).cut(1000, 60)

    assert len(cut.text) == 940 + len(note(cut.left_out))


def test_no_room_leaves_nothing() -> None:
    assert table_of(rows(50)).cut(0, NOTE_TOKENS).text == ""
    assert table_of(rows(50)).cut(-20, NOTE_TOKENS).text == ""


STYLES = "<style>\n" + "td.column { border: 1px solid black }\n" * 300 + "</style>\n"
HEAD = "".join(f"<tr><th>level {n}</th></tr>\n" for n in range(7))
BODY = "".join(f"<tr><td>place {n}</td><td>{n}</td></tr>\n" for n in range(900))


@pytest.mark.parametrize("budget", [300, 2000, 6000])
def test_header_rows_stay_where_styles_would_push_them_out(budget: int) -> None:
    text = f"{STYLES}<table><thead>{HEAD}</thead>{BODY}</table>"
    cut = table_of(text, "html").cut(budget, NOTE_TOKENS)

    assert HEAD in cut.text
    assert cut.text.endswith("<td>899</td></tr>\n</table>")
    # What the styles are cut to is of no use, but what fits is kept.
    assert (STYLES in cut.text) == (budget == 6000)
    assert budget * 0.97 <= count(cut.text) <= budget
    assert told_left_out(cut) == cut.left_out
    assert count(cut.text[cut.text.rindex("]") :]) >= budget * 0.2


def test_a_tail_without_a_row_that_begins_near_is_cut_between_cells() -> None:
    # Of the last 1,200 words 880 stand on the last line: the row before it does not end near enough.
    cut = table_of(("cell " * 3000 + "\n") * 3 + "cell " * 880, "html").cut(4000, NOTE_TOKENS)

    tail = cut.text[cut.text.rindex("]") :]
    assert tail.startswith("]\ncell cell ")
    assert 1000 <= count(tail) <= 1200
    assert 3990 <= count(cut.text) <= 4000


def test_styles_alone_are_cut_where_the_rest_fits() -> None:
    text = f"{STYLES}<table>{HEAD}</table>"
    cut = table_of(text, "html").cut(1000, NOTE_TOKENS)

    begin, end = cut.text.split(note(cut.left_out))
    assert STYLES.startswith(begin)
    assert end.startswith("<tr><th>level 0")
    assert end.endswith("level 6</th></tr>\n</table>")
    assert 990 <= count(cut.text) <= 1000


def test_header_rows_longer_than_the_budget_are_cut_and_a_tail_stays() -> None:
    text = "<table><thead>" + "<th>column</th>" * 5000 + f"</thead>{BODY}</table>"
    cut = table_of(text, "html").cut(1000, NOTE_TOKENS)

    assert cut.text.startswith("<th>") or cut.text.startswith("<table><thead><th>")
    assert cut.text.endswith("<td>899</td></tr>\n</table>")
    assert 980 <= count(cut.text) <= 1000


@pytest.mark.parametrize(
    ("table_format", "table", "header"),
    [
        (
            "html",
            "<p><table><TR><td>a</td></TR><tr><td>1</td></tr>",
            "<TR><td>a</td></TR><tr><td>1</td></tr>",
        ),
        ("html", "<p><thead><tr><th>a</th></tr></thead><tr>", "<thead><tr><th>a</th></tr></thead>"),
        ("html", "no table", ""),
        ("csv", "a\nb\nc\nd\ne\n", "a\nb\nc\nd\n"),
        ("markdown", "| a |\n|--|\n| 1 |\n| 2 |\n| 3 |", "| a |\n|--|\n| 1 |\n| 2 |\n"),
        (
            "latex",
            "% note\n\\begin{tabular}{l}\na \\\\ b \\\\ c \\\\ d \\\\ e",
            "\\begin{tabular}{l}\na \\\\ b \\\\ c \\\\ d \\\\",
        ),
        ("latex", "no table \\\\ a", "no table \\\\"),
        (
            "json",
            '[{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}, {"a": 5}]',
            '[{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}',
        ),
        (None, "a\nb", "a\n"),
    ],
)
def test_where_header_rows_stand(table_format: str | None, table: str, header: str) -> None:
    start, end = header_rows(table, table_format)
    assert table[start:end] == header


@given(st.lists(st.text("ab1,|\n <>/td", max_size=60), max_size=80), st.integers(-5, 400))
def test_never_above_the_budget_and_made_of_head_and_tail(lines: list[str], budget: int) -> None:
    text = "\n".join(lines)
    cut = table_of(text).cut(budget, NOTE_TOKENS)

    # The seams may come out differently by a token or two on each side, as the module says.
    assert count(cut.text) <= max(budget, 0) + 4
    if cut.left_out and cut.text:
        head, _, tail = cut.text.partition(note(cut.left_out))
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + cut.left_out + len(tail) == len(text)


LONG = "".join(f"| row {n} |{' ' * (n % 150)}{n * 7 % 9001} |\n" for n in range(4000))


@pytest.mark.parametrize(
    "text",
    [LONG, LONG.replace("\n", " "), LONG[: 3 * PIECE_CHARACTERS], "word" * 20_000, "", "short"],
    ids=["lines", "one line", "few pieces", "one word", "empty", "short"],
)
def test_pieces_come_to_the_tokens_of_the_whole(text: str) -> None:
    whole = tokenized([text])[0]
    asked: list[int] = []

    def watched(texts: Sequence[str]) -> list[Tokens]:
        asked.extend(map(len, texts))
        return tokenized(texts)

    tokens = tokenize_long(text, watched)

    assert list(tokens.ids) == whole.ids
    assert list(tokens.starts) == whole.starts
    if text.startswith(LONG[:100]):
        assert max(asked) <= PIECE_CHARACTERS + CONTEXT_CHARACTERS


def original(text: str) -> list[str]:
    return [
        "".join(part if isinstance(part, str) else text[part[0] : part[1]] for part in parts)
        for parts in original_cuts(text)
    ]


def test_the_older_scripts_cuts() -> None:
    lines = [f"line {n}" for n in range(100)]
    cuts = original("\n".join(lines))

    # 35 % of the lines at each end, then 0.8 times as many each time, rounded down
    kept = [35, 27, 22, 17, 14, 11]
    assert cuts == [
        "\n".join([*lines[:n], f"\n... [{100 - 2 * n} rows omitted] ...\n", *lines[-n:]]) for n in kept
    ]


def test_the_older_scripts_cuts_of_few_lines() -> None:
    assert original("a line")[0] == "\n... [1 rows omitted] ...\n\na line"
    assert original("a line")[1:] == ["a line\n\n... [-1 rows omitted] ...\n\na line"] * 5
    assert original("a\nb\nc")[0] == "a\n\n... [1 rows omitted] ...\n\nc"
