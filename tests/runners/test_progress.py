"""The progress bar has the form of tqdm's, which is how the dashboard reads it."""

from __future__ import annotations

import pytest
from hitui_runners.progress import ProgressBar, bar_line
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm


@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(0.5, 40000))
def test_it_reads_as_tqdms_own_line(done: int, total: int, elapsed: float) -> None:
    done = min(done, total)
    theirs = tqdm.format_meter(done, total, elapsed, prefix="Processing text", ncols=None)
    ours = bar_line("Processing text", done, total, elapsed)

    def without_bar(line: str) -> str:
        head, _, tail = line.partition("|")
        return head + tail.rpartition("|")[2]

    assert without_bar(ours).replace(" ", "") == without_bar(theirs).replace(" ", "")


def test_text_and_bar_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("Work", 2)
    bar.show(1)
    bar.write("one")
    bar.show(2)
    bar.close()

    shown = capsys.readouterr()
    assert shown.out == "one\n"
    lines = shown.err.split("\r")
    assert lines[1].startswith("Work:  50%|")
    assert lines[2].strip() == ""
    assert lines[4].startswith("Work: 100%|")
    assert shown.err.endswith("]\n")
