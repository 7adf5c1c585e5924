"""What libraries say again and again does not fill a run's log."""

from __future__ import annotations

import io
import logging

import pytest
from hitui_runners.library_words import AT_MOST, bound_repetitions


def below(root: logging.Logger) -> logging.Logger:
    library = logging.Logger("library")
    library.parent = root
    return library


def test_the_same_line_is_shown_a_few_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in a new process.
    root = logging.RootLogger(logging.WARNING)
    with_its_own_place = logging.getLogger("own_library_of_a_test")
    monkeypatch.setattr(with_its_own_place, "propagate", False)
    monkeypatch.setattr(with_its_own_place, "handlers", [logging.StreamHandler()])
    for _ in range(2):
        bound_repetitions(root)
    for number in range(9):
        below(root).warning("layer %d is cast", number)
        with_its_own_place.warning("and its own")
    below(root).warning("something else")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "cast" in line] == [
        f"layer {number} is cast" for number in range(AT_MOST)
    ]
    assert said.count("and its own") == AT_MOST
    assert said[-1] == "something else"


def test_what_is_written_elsewhere_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.RootLogger(logging.WARNING)
    elsewhere = io.StringIO()
    root.addHandler(logging.StreamHandler(elsewhere))
    bound_repetitions(root)
    for _ in range(9):
        below(root).warning("again")
    assert elsewhere.getvalue().count("again") == 9
    assert capsys.readouterr().err == ""
