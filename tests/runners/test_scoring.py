"""The scores of one answer; `tests/real/test_scores.py` compares them with those that real runs stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hitui_runners.realhitbench.questions import Question, load_questions
from hitui_runners.realhitbench.scoring import metrics_for, text_scores


def question(kind: str = "Fact Checking", sub: str = "Ranking") -> Question:
    return Question(1, "table", "Which?", kind, sub, "The Lower Quay, 41.26")


def test_decimals_case_punctuation_and_articles_do_not_count() -> None:
    assert text_scores("The Lower Quay, 41.26", "lower quay 41.34") == {
        "F1": 100.0,
        "EM": 100.0,
        "ROUGE-L": 100.0,
        "SacreBLEU": 0.0,
    }


def test_an_empty_prediction_scores_nothing() -> None:
    assert text_scores("41", "") == {"F1": 0.0, "EM": 0.0, "ROUGE-L": 0.0, "SacreBLEU": 0.0}
    assert text_scores("41", "The")["F1"] == 0.0


def test_words_overlap_as_often_as_they_stand() -> None:
    assert text_scores("a b b c", "b b b d")["F1"] == pytest.approx(57.14)


def test_what_is_not_scored_says_so() -> None:
    assert metrics_for(question("Data Analysis", "Summary Analysis"), "text", failed=False) == {
        "GPT_EVAL": "N/A (no eval_api_key)"
    }
    assert metrics_for(question("Visualization", "BarChart Generation"), "code", failed=False) == {}
    assert metrics_for(question("Visualization"), "[ERROR] x", failed=True) == {"ECR": False, "Pass": "None"}


def test_a_failure_scores_zero() -> None:
    scores = metrics_for(question(), "[ERROR] the lower quay, 41.26", failed=True)
    assert scores == dict.fromkeys(("F1", "EM", "ROUGE-L", "SacreBLEU"), 0.0)


def test_an_answer_that_the_list_does_not_tell_is_none(tmp_path: Path) -> None:
    of_all = {"FileName": "t", "Question": "Who?", "QuestionType": "Fact Checking"}
    listed: list[dict[str, object]] = [
        {"id": 1, **of_all},
        {"id": 2, **of_all, "FinalAnswer": None},
        {"id": 3, **of_all, "FinalAnswer": ["Zürich", "東京"]},
        {"id": 4, **of_all, "FinalAnswer": 41.5},
    ]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    untold, null, several, number = load_questions(tmp_path / "list.json", pytest.fail)
    for told_nothing in (untold, null):
        assert told_nothing.reference is None
        assert metrics_for(told_nothing, "null", failed=False) == {}
        assert metrics_for(told_nothing, "[ERROR] OOM", failed=True) == {}
    assert metrics_for(several, "Zürich, 東京", failed=False)["EM"] == 100
    assert metrics_for(number, "41.5", failed=False)["EM"] == 100
