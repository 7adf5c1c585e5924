"""Several configs in one launch: one load, each with its own folder, and one that fails stops no other."""

from __future__ import annotations

import argparse
import fcntl
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed
from hitui_runners.events import EventWriter
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluate import Launch
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, load_questions
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Plan, Runner
from tests.tools.benchmark import Benchmark, harbours

LOADING = {"event": "phase", "phase": "loading"}


def of_three(plan: Plan) -> None:
    plan.add("g/text_html", ids=[1, 2, 3])
    plan.add("g/text_csv", table="csv", ids=["2"])
    plan.add("g/image", "image", None)


def test_the_model_is_loaded_once_and_every_config_has_its_own_folder(plan: Plan) -> None:
    of_three(plan)
    ended = plan.run("--resume")

    assert ended.returncode == 0, ended.stderr
    assert len([line for line in plan.events if line.items() >= LOADING.items()]) == 1
    assert [plan.ids(config["name"]) for config in plan.configs] == [[1, 2, 3], [2], [1, 2, 3, 4, 5, 6]]
    for config in plan.configs:
        snapshot = json.loads((Path(config["output"]) / "checkpoint.json").read_text())
        assert snapshot["processed_ids"] == plan.ids(config["name"])
        assert snapshot["written_by"] == "hitui"
    assert plan.run("--resume").returncode == 0
    assert sum(line.items() >= LOADING.items() for line in plan.events) == 1


def test_event_lines_are_of_a_config_or_of_all(plan: Plan) -> None:
    of_three(plan)
    plan.run()

    for name, total in (("g/text_html", 3), ("g/text_csv", 1), ("g/image", 6)):
        progress = [(line["done"], line["total"], line["errors"]) for line in plan.told("progress", name)]
        assert progress == [(done, total, 0) for done in range(total + 1)]
        assert len(plan.told("task", name)) == total
        assert [line["exit"] for line in plan.told("end", name)] == [0]
        assert [line["phase"] for line in plan.told("phase", name)] == ["running"]
    assert plan.told("task", None) == []
    assert [(line["done"], line["total"]) for line in plan.told("progress", None)] == [
        (done, 10) for done in range(11)
    ]
    # How much there is in all is known before the model is loaded, which may take minutes.
    phases = [line.get("phase") for line in plan.events]
    before_running = plan.events[: phases.index("running")]
    told = [line["config"] for line in before_running if line["event"] == "progress"]
    assert told == ["g/text_html", "g/text_csv", "g/image"]
    assert {**plan.events[-1], "time": 0} == {"time": 0, "event": "end", "done": 10, "errors": 0, "exit": 0}


def test_a_config_that_another_runner_writes_is_one_line_and_the_others_run(plan: Plan) -> None:
    of_three(plan)
    journal = plan.output / "g/text_html/results.jsonl"
    journal.parent.mkdir(parents=True)
    with journal.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = plan.run()

    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: g/text_html: {journal}: another runner is writing it; wait for that one, or stop it"
    ]
    assert (plan.ids("g/text_csv"), len(plan.ids("g/image"))) == ([2], 6)
    assert [line["exit"] for line in plan.told("end", "g/text_html")] == [1]
    assert plan.events[-1]["exit"] == 1


def test_a_config_whose_part_of_the_data_is_gone_is_one_line_and_the_others_run(plan: Plan) -> None:
    of_three(plan)
    html = plan.benchmark.data / "html"
    html.rename(html.with_name("moved"))
    ended = plan.run()

    assert ended.returncode == 1
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: g/text_html: {html}: the folder of input files is gone")
    assert [plan.ids(config["name"]) for config in plan.configs] == [[], [2], [1, 2, 3, 4, 5, 6]]
    assert [line["exit"] for line in plan.told("end", "g/text_html")] == [1]
    assert [line["exit"] for line in plan.told("end", "g/image")] == [0]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_signal_stops_all_of_it_and_keeps_what_was_answered(plan: Plan, number: int, status: int) -> None:
    plan.benchmark = harbours(plan.benchmark.folder, 24)
    of_three(plan)
    process = plan.start("--demo-seconds", "0.2")
    plan.wait_for_tasks(4)
    process.send_signal(number)
    process.communicate(timeout=60)

    assert process.returncode == status
    answered = {config["name"]: plan.ids(config["name"]) for config in plan.configs}
    assert answered["g/text_html"] == [1, 2, 3]
    assert len(answered["g/image"]) < 24
    told = [(line["config"], line["id"]) for line in plan.events if line["event"] == "task"]
    assert told == [(name, task) for name, ids in answered.items() for task in ids]
    assert plan.events[-1]["exit"] == status
    assert "config" not in plan.events[-1]

    assert plan.run("--resume").returncode == 0
    assert [plan.ids(config["name"]) for config in plan.configs] == [[1, 2, 3], [2], list(range(1, 25))]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "x", "modality": "text", "output": "x"}, "x: format: one of html, csv,"),
        ({"name": "x", "modality": "sound", "output": "x"}, "x: modality: one of text, image, mix"),
        ({"name": "x", "modality": "image"}, "x: output: a text is expected, not None"),
        ({"name": "x", "modality": "image", "output": "x", "ids": 5}, "x: ids: a list is expected"),
        ({"name": "x", "modality": "image", "output": "x", "fromat": "html"}, "x: unknown key fromat; known"),
        ({"name": "x", "modality": "image", "output": "x", "ids_file": "/no"}, "x: /no: the ids cannot be"),
        ({"name": "x", "modality": "image", "output": "x", "earlier": "no"}, "x: earlier: a list of folders"),
        ({"name": "good", "modality": "image", "output": "x"}, "good: a config before it has the same name"),
        ({"modality": "image"}, "plan.json: config number 2: name: a text is expected, not None"),
        (7, "plan.json: config number 2: an object with the keys name, modality, format"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_one_line_and_the_others_run(
    plan: Plan, entry: Any, said: str
) -> None:
    plan.add("good", ids=[1])
    plan.configs.append(entry)
    ended = plan.run()

    assert ended.returncode == 78
    error, *again = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert said in error
    assert plan.ids("good") == [1]
    # Where it has a name, once more below what the others say, for who looks at the end.
    name, named, why = said.partition(": ") if not said.startswith("plan.json") else ("", "", "")
    assert [line.startswith(f"error: not run: {name}: {why}") for line in again] == [True] * bool(named)


def test_of_several_failures_one_that_may_pass_decides_the_exit_status(plan: Plan) -> None:
    plan.add("held", ids=[1])
    plan.add("wrong", modality="sound")
    journal = plan.output / "held/results.jsonl"
    journal.parent.mkdir(parents=True)
    with journal.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert plan.run().returncode == 1
    assert [line["exit"] for name in ("held", "wrong") for line in plan.told("end", name)] == [1, 78]
    assert plan.run().returncode == 78
    assert plan.ids("held") == [1]


def test_the_folder_of_a_config_that_cannot_run_is_free_while_the_others_do(plan: Plan) -> None:
    plan.add("wrong", ids=[99])
    plan.add("good", "image", None)
    process = plan.start("--demo-seconds", "0.1")
    plan.wait_for_tasks(1)
    with (plan.output / "wrong/results.jsonl").open("a") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate(timeout=60)
    assert process.returncode == 78
    assert len(plan.ids("good")) == 6


def test_a_snapshot_that_cannot_be_written_fails_its_config_alone(plan: Plan) -> None:
    of_three(plan)
    (plan.output / "g/text_html/.checkpoint.json.hitui-part/x").mkdir(parents=True)
    ended = plan.run()
    assert ended.returncode == 1
    assert [line["exit"] for config in plan.configs for line in plan.told("end", config["name"])] == [1, 0, 0]
    assert [len(plan.ids(config["name"])) for config in plan.configs] == [3, 1, 6]


def test_two_configs_never_write_into_one_folder(plan: Plan) -> None:
    plan.add("one", ids=[1])
    plan.add("two", ids=[2], output=str(plan.output / "." / "one"))
    ended = plan.run()

    assert ended.returncode == 78
    assert "error: two: " in ended.stderr
    assert "one writes there; give each its own output" in ended.stderr
    assert plan.ids("one") == [1]


@pytest.mark.parametrize("content", ["{", "[]", '{"configs": []}', '{"configs": 7}', None])
def test_a_plan_that_cannot_be_read_is_one_line(plan: Plan, content: str | None) -> None:
    plan.add("one")
    words = plan.words()
    if content is None:
        plan.file.unlink()
    else:
        plan.file.write_text(content)
    plan.words = lambda *options, **choices: words  # type: ignore[method-assign]
    ended = plan.run()

    assert ended.returncode == 78
    assert ended.stderr.startswith(f"error: {plan.file}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--modality=text", "--output=x", "--ids=1", "--earlier=x"])
def test_what_the_plan_says_is_no_option(plan: Plan, option: str) -> None:
    plan.add("one")
    ended = plan.run(option)

    assert ended.returncode == 2
    assert f"{option.partition('=')[0]} is said in the plan, for each of its configs" in ended.stderr


def test_without_a_plan_the_config_is_asked_for(runner: Runner, benchmark_data: Benchmark) -> None:
    words = [word for word in runner.words() if word not in ("--modality", "text")]
    runner.words = lambda *options, **choices: words  # type: ignore[method-assign]
    ended = runner.run()

    assert ended.returncode == 2
    assert "the following arguments are required: --modality (or --plan)" in ended.stderr


def test_a_config_that_is_whole_already_loads_nothing(plan: Plan, tmp_path: Path) -> None:
    plan.add("one", ids=[1], earlier=[str(tmp_path / "elsewhere"), str(tmp_path / "nowhere")])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "results.jsonl").write_text('{"id": 1, "Prediction": "41"}\n')
    ended = plan.run("--resume")

    assert ended.returncode == 0
    assert plan.ids("one") == []
    assert [line["event"] for line in plan.events] == ["end"]
    assert not (plan.output / "one" / "checkpoint.json").exists()


class Broken(Engine):
    """Answers the prompts with these numbers, counted from 0, and fails strangely at all others."""

    name = "broken"

    def __init__(self, *answered: int) -> None:
        self.answered = answered
        self.asked = 0

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """It has no options."""

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Broken:
        return cls()

    def load(self) -> None:
        """There is nothing to load."""

    def answer(self, prompt: Prompt) -> Reply:
        self.asked += 1
        if self.asked - 1 in self.answered:
            return Reply("[Final Answer]: 7")
        raise TaskFailed("RuntimeError: no kernel image", unexpected=True)

    def close(self) -> None:
        """There is nothing to give back."""


@pytest.mark.parametrize(
    ("answered", "tasks"),
    [
        # Five end the first; where the next one begins as strangely, that is enough.
        ((), [5, 1, 1]),
        # One that answers something is its own matter again, and so is the one behind it.
        ((5,), [5, 6, 1]),
        ((5, 6, 7, 8, 9, 10), [5, 6, 5]),
    ],
)
def test_what_breaks_one_config_after_the_other_fails_few_tasks_of_each(
    plan: Plan, capsys: pytest.CaptureFixture[str], answered: tuple[int, ...], tasks: list[int]
) -> None:
    engine, signals = Broken(*answered), StopSignals()
    questions = load_questions(plan.benchmark.questions_file, pytest.fail)
    inputs = InputFiles(plan.benchmark.data, "text", "html")
    asker = Asker(inputs, OwnPrompts(), RecoveryRules(100_000), signals.check)
    launch = Launch(engine, signals, EventWriter(""))
    names = ("g/a", "g/b", "g/c")
    for name in names:
        store = ResultStore(plan.output / name, pytest.fail)
        launch.add(Evaluation(name, questions, asker, engine, store, signals, EventWriter(""), name))
    assert launch.run() == 1
    assert [len(plan.ids(name)) for name in names] == tasks
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert all(
        "tasks failed with errors that are not theirs, the last one with: [ERROR] Ru" in line for line in said
    )
