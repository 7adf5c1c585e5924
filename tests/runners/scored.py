"""Results to be scored, and the program that scores them."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.programs import main
from hitui_runners.realhitbench.rescoring import Notes, Sample, Scorer, sample_of, usable
from hitui_runners.stopping import EXIT_STATUSES

from tests.runners.conftest import RUNNERS, environment

FULL = {"F1": 100.0, "EM": 100.0, "ROUGE-L": 100.0, "SacreBLEU": 0.0}
NOTHING = dict.fromkeys(FULL, 0.0)


def result(task: object, reference: object = "41", prediction: object = "41", **more: Any) -> dict[str, Any]:
    """One result; `None` among `more` takes the key away."""
    made = {
        "id": task,
        "QuestionType": "Fact Checking",
        "SubQType": "Ranking",
        "Reference": reference,
        "Prediction": prediction,
        "Metrics": dict(FULL),
    }
    return {key: value for key, value in (made | more).items() if key not in more or value is not None}


def chart(task: int, ran: bool, passed: object) -> dict[str, Any]:
    return result(task, QuestionType="Visualization", Metrics={"ECR": ran, "Pass": passed})


def judged(task: int) -> dict[str, Any]:
    return result(task, SubQType="Summary Analysis", Metrics={"GPT_EVAL": "N/A (no eval_api_key)"})


def write(path: Path, results: Iterable[object], **beside: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**beside, "results": list(results)}))
    return path


def score(
    *words: object, cwd: Path | None = None, feed: str = "", path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The program's own entry, without the second that a process of its own takes to start.

    `path`: the variable PATH.
    """
    given = [str(word) for word in words]
    streams = {name: io.TextIOWrapper(io.BytesIO(), "utf-8") for name in ("stdin", "stdout", "stderr")}
    streams["stdin"].buffer.write(feed.encode())
    streams["stdin"].buffer.seek(0)
    handlers = {number: signal.getsignal(number) for number in EXIT_STATUSES}
    with pytest.MonkeyPatch.context() as patched:
        for name, stream in streams.items():
            patched.setattr(sys, name, stream)
        if path is not None:
            patched.setenv("PATH", path)
        if cwd is not None:
            patched.chdir(cwd)
        try:
            status = main(["score", *given])
        except SystemExit as error:
            status = int(str(error.code))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    output, errors = (
        streams[name].buffer.getvalue().decode()  # type: ignore[attr-defined]
        for name in ("stdout", "stderr")
    )
    return subprocess.CompletedProcess(given, status, output, errors)


def score_process(
    *words: object, python: Sequence[str] = (sys.executable,)
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    command = [*python, str(RUNNERS), "score", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def scores_in(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_bytes())
    return data


def samples(results: Sequence[Mapping[str, Any]]) -> list[Sample]:
    notes, scorer = Notes(), Scorer()
    return [sample_of(each, scorer, notes) for each in usable(results, notes)]
