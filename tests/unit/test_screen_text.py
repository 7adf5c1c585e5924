"""Numbers and names as the screen writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hitui.ui import text
from hitui.ui.line import fit_line, spread, width_of

GIB = 1024**3


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0"), (7.5 * GIB, "7.5"), (80 * GIB, "80"), (79.97 * GIB, "80"), (141.2 * GIB, "141")],
)
def test_gigabytes(size: float, shown: str) -> None:
    assert text.gigabytes(size) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(512, "512 B"), (1536, "1.5 KiB"), (200 * 1024**2, "200 MiB"), (3 * 1024**5, "3072 TiB")],
)
def test_sizes(size: float, shown: str) -> None:
    assert text.size_text(size) == shown


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [
        (8, "8s", "8s"),
        (59.7, "1m", "1m"),
        (240, "4m", "4m"),
        (3599, "1h00", "1h"),
        (4320, "1h12", "1h 12m"),
        (187_200, "2d04", "2d 4h"),
        (86_399, "1d00", "1d"),
    ],
)
def test_durations(seconds: float, short: str, long: str) -> None:
    assert text.duration(seconds) == short
    assert text.long_duration(seconds) == long


@given(st.floats(0, 90 * 86400))
def test_a_duration_fits_its_column(seconds: float) -> None:
    assert len(text.duration(seconds)) <= 5


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(None, ""), (0, ""), (2.1, "2.1/s"), (0.065, "3.9/m"), (12 / 3600, "12/h"), (1e-5, "0.0/h")],
)
def test_rates(per_second: float | None, shown: str) -> None:
    assert text.rate(per_second) == shown


@given(st.floats(0, 1), st.integers(1, 60))
def test_a_bar_is_exactly_as_wide_as_asked(fraction: float, width: int) -> None:
    filled, empty = text.bar(fraction, width)
    assert cell_len(filled + empty) == width
    # What is not quite full never looks full; what is not quite empty never looks empty.
    assert (filled == "█" * width) == (fraction == 1)
    assert (filled == "") == (fraction == 0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_longer_bar_is_never_less(one: float, other: float) -> None:
    def eighths(fraction: float) -> int:
        filled = text.bar(fraction, 20)[0]
        return sum("▏▎▍▌▋▊▉█".index(cell) + 1 for cell in filled)

    low, high = sorted((one, other))
    assert eighths(low) <= eighths(high)


def test_a_sparkline_has_gaps_where_nothing_was_measured() -> None:
    assert text.sparkline([0, 50, None, 100, 250], 8) == "   ▁▅ ██"
    assert text.sparkline([0, 100], 1) == "█"


@given(st.text(max_size=30), st.integers(0, 20))
def test_fitted_text_has_exactly_the_width(value: str, width: int) -> None:
    shown = "".join(character for character in value if character.isprintable())
    for fitted in (text.fit(shown, width), text.fit_tail(shown, width), text.fit_right(shown, width)):
        assert cell_len(fitted) == width


@given(st.text(max_size=60), st.integers(10, 20))
def test_wrapped_text_is_no_wider_and_has_all_its_characters(value: str, width: int) -> None:
    shown = "".join(character for character in value if character.isprintable())
    lines = text.wrapped(shown, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(shown.split())


def test_wrapped_text_is_cut_between_words_and_keeps_its_indent() -> None:
    assert text.wrapped("    表格 of ships in the harbour", 14) == ["    表格 of", "ships in the", "harbour"]
    assert text.wrapped("港湾局の船", 10) == ["港湾局の船"]
    assert text.wrapped("港湾局の船は多い", 10) == ["港湾局の船", "は多い"]
    assert text.wrapped("", 10) == [""]


def test_names_are_cut_where_they_differ_least() -> None:
    assert text.fit_tail("qwen3vl_text/text_html", 12) == "…t/text_html"
    assert text.fit("qwen3vl_text/text_html", 12) == "qwen3vl_tex…"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA A800-SXM4-80GB", "A800"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_gpu_names_are_their_model(name: str, short: str) -> None:
    assert text.gpu_name(name) == short


@pytest.mark.parametrize(
    ("numbers", "shown"), [([5, 6, 7], "5-7"), ([0, 1], "0,1"), ([7, 0, 2, 3, 4, 9], "0,2-4,7,9"), ([], "")]
)
def test_ranges(numbers: list[int], shown: str) -> None:
    assert text.ranges(numbers) == shown


LINES = st.lists(st.tuples(st.text("ab表 ", max_size=8), st.sampled_from(["", "dim"])), max_size=5).map(tuple)


@given(LINES, st.integers(1, 30))
def test_a_fitted_line_has_exactly_the_width(line: tuple[tuple[str, str], ...], width: int) -> None:
    assert width_of(fit_line(line, width)) == width


@given(LINES, LINES, st.integers(1, 30))
def test_two_ends_fill_the_width(
    left: tuple[tuple[str, str], ...], right: tuple[tuple[str, str], ...], width: int
) -> None:
    assert width_of(spread(left, right, width)) == width


def test_a_line_that_goes_on_says_so() -> None:
    assert fit_line((("abc", ""), ("def", "dim")), 4) == (("abc", ""), ("…", "dim"))
    assert fit_line((("abc", ""), ("def", "dim")), 3) == (("ab…", ""),)
    assert fit_line((("abc", ""), ("def", "dim")), 6) == (("abc", ""), ("def", "dim"))
