"""What the tests of the judge share: a folder of results, and the program `judge` on it, with a server of the test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hitui_runners.realhitbench.judge import judge
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import json_lines
from tests.runners.scored import score
from tests.tools.benchmark import Benchmark
from tests.tools.chat_server import ChatServer, chat_server

RIGHT = "It is near.\n[Score]: 80/100"


def summary(task: object, answer: object = "Boats lie in four harbours.", **more: Any) -> dict[str, Any]:
    return {
        "id": task,
        "FileName": "harbours",
        "QuestionType": "Data Analysis",
        "SubQType": "Summary Analysis",
        "Question": f"What does the table say? (No. {task})",
        "Reference": "Four harbours, their boats and their catch.",
        "Prediction": answer,
        "Metrics": {"GPT_EVAL": "N/A (no eval_api_key)"},
        **more,
    }


def anomaly(task: int, answer: str = "Saltby") -> dict[str, Any]:
    return summary(
        task, answer, SubQType="Anomaly Analysis", Question=f"Which falls out of line? (No. {task})"
    )


def plain(task: int) -> dict[str, Any]:
    return summary(task, SubQType="Ranking", QuestionType="Fact Checking", Metrics={"EM": 0.0})


RESULTS = [summary(1), plain(2), anomaly(3), summary(4), summary(5, "[ERROR] OOM: Text too large (9 tokens)")]


class Judging:
    """Judges one folder of results by one server, in this process."""

    def __init__(self, benchmark: Benchmark, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.benchmark = benchmark
        self.server = server
        self.folder = benchmark.folder / "result"
        self.folder.mkdir()
        self._capsys = capsys
        self.errors = ""
        self.write(*RESULTS)

    def write(self, *results: object) -> None:
        (self.folder / "results.json").write_text(json.dumps({"results": list(results)}))

    def words(self, *options: object, model: str = "gpt-4o", data: bool = True) -> list[str]:
        words: list[object] = [
            self.folder,
            *options,
            "--base-url",
            self.server.url,
            "--model",
            model,
            "--json",
        ]
        words += ["--data", self.benchmark.data] if data else []
        return list(map(str, words))

    def run(self, *options: object, status: int = 0, **choices: Any) -> list[dict[str, Any]]:
        """What it prints; fails where it ends in another way."""
        ended = judge(self.words(*options, **choices), StopSignals())
        output, self.errors = self._capsys.readouterr()
        assert ended == status, self.errors
        reports: list[dict[str, Any]] = json.loads(output)
        return reports

    def score(self) -> dict[str, Any]:
        """The report of `score`."""
        run = score(self.folder, "--json")
        assert (run.returncode, run.stderr) == (0, "")
        (report,) = json.loads(run.stdout)
        assert isinstance(report, dict)
        return report

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        return json_lines(self.folder / "verdicts.jsonl")

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


@contextmanager
def judging_by_server(benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> Iterator[Judging]:
    """With a server that is content with everything."""
    with chat_server() as server:
        server.act = lambda chat: chat.answer(RIGHT)
        yield Judging(benchmark, server, capsys)
