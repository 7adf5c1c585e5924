"""Of a job that was killed: what its log said last that may tell why."""

from __future__ import annotations

import pytest

from hitui.domain.jobs import decide_ending
from hitui.domain.last_words import LAST_LINES, last_words

BAR = "\rProcessing text:  84%|████████▋   | 2560/3061 [13:16<02:35,  3.21it/s]\r          \r"
OURS = """Query ID: 2193 | Fact Checking | Non-adverse, Adverse, Cancelled
  answer:    67.1
  reference: 2016
  {'F1': 0.0, 'EM': 0.0, 'ROUGE-L': 0.0, 'SacreBLEU': 0.0} 0.39 s
"""
CHART = """Query ID: 7 | Visualization | BarChart
  answer:    import pandas as pd
plt.show()
  reference: [1, 2]
  unscored, for `hitui score` runs charts: 12.01 s
"""
SCRIPT = """
============================================================
Query ID: 3 | Type: Fact Checking | SubType: Value-Matching
============================================================
Predictions:  ['2022']
Answer:  ['1953']
Prediction: 2022
Reference: 1953
Metrics: {'F1': 0.0, 'EM': 0.0}
Processing Time: 4.91s
"""
ONCE_MORE = "Query ID: 17 | no final answer in the reply; asking once more\n"


@pytest.mark.parametrize("answer", [OURS, CHART, SCRIPT])
def test_an_ordinary_answer_is_no_last_word(answer: str) -> None:
    assert last_words(answer + BAR) == ""
    assert last_words(answer[answer.index("\n") + 1 :] + BAR + answer + BAR) == ""
    assert last_words("Killed by the watchdog\n" + BAR + answer + BAR) == "Killed by the watchdog"
    assert last_words(answer + BAR + "CUDA error: unspecified launch failure\n" + BAR).startswith(
        "CUDA error"
    )
    assert last_words(answer + BAR + ONCE_MORE + BAR).startswith("Query ID: 17 | no final answer")


def test_what_many_answers_followed_is_not_why_it_ended() -> None:
    assert last_words("a warning\n" + OURS * LAST_LINES) == ""


def test_of_a_killed_job_nothing_is_said_that_tells_nothing() -> None:
    _, reason = decide_ending(
        status=None, signal=9, error=None, stop_asked=False, last_words=last_words(OURS + BAR)
    )
    assert "last in its log" not in reason
    assert reason.startswith("ended by SIGKILL")
