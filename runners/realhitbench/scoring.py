"""Scores of an answer, as RealHiTBench (arXiv 2506.13405) runs store them; all are percentages with two decimals.

    decimals:  \\b\\d+\\.\\d+\\b  →  rounded to one place
    normal:    lower case, punctuation out, the words a/an/the out, white space folded
    r = normal(decimals(reference));  p = normal(decimals(prediction)) or "#"
    F1: overlap of words;  EM: r == p;  ROUGE-L: rouge_score without stemmer;  SacreBLEU: corpus_bleu of one

ROUGE-L and SacreBLEU come from the libraries that define them and are left out where those are not installed.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from hitui_runners.errors import words_of
from hitui_runners.realhitbench.questions import VISUALIZATION, Question

_DECIMALS = re.compile(r"\b\d+\.\d+\b")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_STORED_VERDICT = re.compile(r"[\s*]*(\d{1,3}(?:\.\d{1,6})?)[\s*]*(?:/\s*100[\s*]*)?")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

Score = Callable[[str, str], float]
"""Of a reference and an answer, both normal."""

JUDGED = ("Summary Analysis", "Anomaly Analysis")
"""Sub types that a judge model scores."""
UNJUDGED = {"GPT_EVAL": "N/A (no eval_api_key)"}
"""What is stored for them where no judge was at hand."""
MOST_JUDGED = 100.0
"""A judge gives from 0 to this; see `judge_prompts`."""
NO_CHART = {"ECR": False, "Pass": "None"}
"""What is stored for a chart of which there is no code."""


def metrics_for(question: Question, prediction: str, *, failed: bool) -> dict[str, Any]:
    """The `Metrics` of one result; none where the question list does not tell the answer.

    Charts are scored afterwards, by running the model's program (`score`): theirs are empty until then, but for
    the failed ones, which have no program to run.
    """
    if question.question_type == VISUALIZATION:
        return dict(NO_CHART) if failed else {}
    if question.sub_type in JUDGED:
        return dict(UNJUDGED)
    if question.reference is None:
        return {}
    if failed:
        return dict.fromkeys(text_score_names(), 0.0)
    return text_scores(question.reference, prediction)


def judged_score(value: object) -> float | None:
    """What stands under `GPT_EVAL` as a score; None where it is none.

    The benchmark's programs store it as the text behind its label, asterisks of Markdown too.
    """
    if isinstance(value, str):
        match = _STORED_VERDICT.fullmatch(value)
        value = None if match is None else float(match[1])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_JUDGED:
        return None
    return float(value)


def text_scores(reference: str, prediction: str) -> dict[str, float]:
    """F1, EM and, where installed, ROUGE-L and SacreBLEU."""
    wanted, given = _normal(reference), _normal(prediction) or "#"
    scores = {"F1": 100 * _f1(wanted, given), "EM": 100.0 * (wanted == given)}
    scores.update({name: float(score(wanted, given)) for name, score in _libraries().items()})
    return {name: round(value, 2) for name, value in scores.items()}


def text_score_names() -> tuple[str, ...]:
    """The names of the scores of a text that can be made here."""
    return ("F1", "EM", *_libraries())


def missing_scores() -> tuple[str, ...]:
    """The scores that this environment cannot make, each with why: `SacreBLEU (No module named 'sacrebleu')`."""
    return tuple(f"{name} ({why})" for name, why in _loaded()[1].items())


def _normal(text: str) -> str:
    rounded = _DECIMALS.sub(lambda match: str(round(float(match[0]), 1)), text)
    return " ".join(_ARTICLES.sub(" ", rounded.lower().translate(_PUNCTUATION)).split())


def _f1(wanted: str, given: str) -> float:
    wanted_words, given_words = wanted.split(), given.split()
    common = sum((Counter(wanted_words) & Counter(given_words)).values())
    if not common:
        return 0.0
    precision, recall = common / len(given_words), common / len(wanted_words)
    return 2 * precision * recall / (precision + recall)


def _libraries() -> Mapping[str, Score]:
    return _loaded()[0]


@functools.lru_cache(maxsize=1)
def _loaded() -> tuple[dict[str, Score], dict[str, str]]:
    """The scores that libraries make, by name, and why others cannot be made."""
    scores: dict[str, Score] = {}
    absent: dict[str, str] = {}
    for name, load in (("ROUGE-L", _rouge), ("SacreBLEU", _bleu)):
        try:
            score = load()
            # One that is only half there may fail when it is used first.
            score("1", "1")
            scores[name] = score
        except Exception as error:  # noqa: BLE001
            # A broken library raises anything; answers are worth more than their scores, which can be made later.
            absent[name] = words_of(error, 200)
    return scores, absent


def _rouge() -> Score:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda wanted, given: 100 * scorer.score(wanted, given)["rougeL"].fmeasure


def _bleu() -> Score:
    import sacrebleu

    return lambda wanted, given: sacrebleu.corpus_bleu([given], [[wanted]]).score
