"""With which settings answers were made: written beside them, and no others mixed with them unasked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines import ENGINES, engine_class
from hitui_runners.realhitbench import run_record, run_settings
from hitui_runners.realhitbench.arguments import evaluation_parser, parse_arguments
from hitui_runners.realhitbench.plan import PlannedConfig, config_of_options
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import Question
from hitui_runners.realhitbench.run_record import (
    ResumeRefused,
    RunRecord,
    differences,
    recorded_runs,
    with_folders,
)
from hitui_runners.realhitbench.run_settings import RunSettings
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.versions import VERSION, own_version

from tests.runners.conftest import Runner
from tests.runners.test_plan import Plan, of_three
from tests.tools.chat_server import chat_server

ROOT = Path(__file__).resolve().parents[2]
OF_ALL = {"engine", "max_input_tokens", "max_new_tokens", "prompt_order"}
DECIDING: dict[str, set[str]] = {
    "demo": set(),
    "openai": {"max_pixels"},
    "transformers": {"max_pixels", "truncation"},
    "vllm": {"max_pixels", "truncation"},
}
"""Options that change what a model answers. One that is new belongs here, or into `speed_options` of its engine, or among
those of the run in run_settings.py: else nobody has thought of whether answers made with and without it may be mixed."""


def options_of(name: str) -> set[str]:
    parser = evaluation_parser(engine_class(name))
    return {action.dest for action in parser._actions if action.dest != "help"}


@pytest.mark.parametrize("name", ENGINES)
def test_every_option_decides_answers_or_does_not(name: str) -> None:
    engine = engine_class(name)
    deciding, of_speed = run_settings.options(dict.fromkeys(options_of(name)), engine)
    assert set(deciding) | {"engine"} == OF_ALL | DECIDING[name]
    assert set(of_speed) == set(engine.speed_options)


def test_those_of_the_run_are_options_of_some_engine() -> None:
    assert set().union(*map(options_of, ENGINES)) >= run_settings.OF_THE_RUN


@pytest.mark.usefixtures("with_libraries")
def test_a_run_is_written_down_once_and_its_results_name_it(runner: Runner) -> None:
    assert runner.run("--ids", "1,2").returncode == 0
    # Other tasks, another speed, another place of the files: nothing that decides an answer.
    runner.benchmark.data.rename(runner.benchmark.data.with_name("moved"))
    words = ["--data", runner.benchmark.data.with_name("moved"), "--max-rungs", "2"]
    ended = runner.run("--resume", "--max-queries", "1", *words)

    assert (ended.returncode, ended.stderr.count("warning")) == (0, 0), ended.stderr
    [run] = runner.runs
    assert [result["Settings"] for result in runner.journal] == [run["id"]] * 3
    assert run["settings"].items() >= {
        "engine": "demo", "modality": "text", "format": "html", "max_input_tokens": 100_000, "max_new_tokens": 1024
    }.items()  # fmt: skip
    assert re.fullmatch("[0-9a-f]{12}", run["settings"]["prompts"]["Fact Checking"])
    assert {"python", "hitui_runners", "question list"} <= run["versions"].keys()
    assert run["beside"]["demo_seconds"] == 0
    assert [path.name for path in runner.output.glob(".*")] == []


def test_a_resume_with_other_settings_is_refused_in_one_line_before_anything_is_loaded(
    runner: Runner,
) -> None:
    runner.run("--ids", "1,2")
    before = {path.name: path.read_bytes() for path in runner.output.iterdir()}
    ended = runner.run("--resume", "--max-new-tokens", "64", "--max-input-tokens", "5000")

    assert ended.returncode == 2
    assert ended.stderr == (
        "error: resume refused: max_input_tokens was 100000, now 5000; max_new_tokens was 1024, now 64; set that back, or "
        f"mix the answers by --force ({runner.output}/run_settings.json)\n"
    )
    assert "no model is loaded" not in ended.stdout
    assert {path.name: path.read_bytes() for path in runner.output.iterdir()} == before

    forced = runner.run("--resume", "--max-new-tokens", "64", "--force", "--ids", "3")
    assert forced.returncode == 0
    assert f"warning: {runner.output}: answers are mixed, as forced: max_new_tokens was 1024" in forced.stderr
    assert [run["settings"]["max_new_tokens"] for run in runner.runs] == [1024, 64]
    assert [result["Settings"] for result in runner.journal] == [
        runner.runs[number]["id"] for number in (0, 0, 1)
    ]


@pytest.mark.parametrize(
    ("modality", "nothing", "deciding"),
    [("text", "--max-pixels", "--max-input-tokens"), ("image", "--max-input-tokens", "--max-pixels")],
)
def test_options_of_pictures_decide_no_text_and_those_of_tables_no_picture(
    modality: str, nothing: str, deciding: str
) -> None:
    def settings(*more: str) -> Mapping[str, object]:
        words = (
            "--engine openai --base-url http://127.0.0.1:1/v1 --format html --questions q --data d --output o"
        )
        arguments = parse_arguments([*words.split(), "--modality", modality, *more])
        engine = engine_class("openai").from_arguments(arguments)
        return run_settings.gather(arguments, config_of_options(arguments), engine, OwnPrompts(), ()).settings

    assert settings(nothing, "5000") == settings()
    assert differences(settings(), settings(deciding, "5000"))


def test_what_a_server_says_first_when_it_is_asked_is_compared_then(runner: Runner) -> None:
    with chat_server() as server:
        asking = ("--base-url", server.url, "--resume")
        assert runner.run(*asking, "--ids", "1,2", engine="openai").returncode == 0
        server.act_on_models = lambda chat: chat.json(200, {"data": [{"id": "harbour-70b"}]})
        ended = runner.run(*asking, engine="openai")

    assert ended.returncode == 2
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ": model was harbour-7b, now harbour-70b; " in error
    assert sorted(result["id"] for result in runner.journal) == [1, 2]
    assert [event["exit"] for event in runner.events if event["event"] == "end"] == [0, 2]


def test_a_refused_config_of_a_plan_is_refused_alone(plan: Plan) -> None:
    of_three(plan)
    plan.configs[1]["ids"] = [1]
    plan.run()
    csv = plan.output / "g/text_csv"
    told = json.loads((csv / "run_settings.json").read_bytes())
    told["runs"][0]["settings"]["prompts"]["Fact Checking"] = "as it was"
    (csv / "run_settings.json").write_text(json.dumps(told))
    for config, ids in zip(plan.configs, ([1, 2, 3, 4], [1, 2], [1, 2, 3, 4, 5, 6]), strict=True):
        config["ids"] = ids
    ended = plan.run("--resume")

    assert ended.returncode == 2
    first, again = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert first.startswith("error: g/text_csv: resume refused: ")
    assert ": other prompts (Fact Checking); set " in first
    assert again == first.replace("error: ", "error: not run: ")
    assert ended.stderr.endswith(again + "\n")
    assert plan.ids("g/text_html") == [1, 2, 3, 4]
    assert plan.ids("g/text_csv") == [1]
    assert [line["exit"] for line in plan.told("end", "g/text_csv")] == [0, 2]
    assert plan.events[-1]["exit"] == 2
    assert plan.run("--resume", "--force").returncode == 0
    assert plan.ids("g/text_csv") == [1, 2]

    # The last line is what is said of every config of the job: it names those that it is about.
    for config in plan.configs:
        config["ids"] = [1, 2, 3, 4, 5, 6]
    last = plan.run("--resume", "--max-new-tokens", "9").stderr.splitlines()[-1]
    assert last.startswith("error: not run: g/text_html, g/text_csv: resume refused: max_new_tokens was "), (
        last
    )


@pytest.fixture
def plan(runner: Runner) -> Plan:
    plan = Plan(runner.benchmark, runner.output, processes=runner.processes)
    plan.configs = []
    return plan


def runs(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "run_settings.json").read_bytes())["runs"]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def answer(
    folder: Path, run: RunSettings, *ids: int, resume: bool = True, force: bool = False, **more: Any
) -> None:
    """What a run does: compares, and stores an answer each."""
    store = ResultStore(folder, pytest.fail, more.get("earlier", ()))
    try:
        record = RunRecord(store, (folder, *more.get("earlier", ())), lambda: run, resume=resume, force=force)
        record.check()
        record.begin()
        for identifier in ids:
            store.append({"id": identifier, "Prediction": more.get("prediction", "41")})
    finally:
        store.close()


def test_results_without_settings_are_gone_on_with_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "results.jsonl").write_text('{"id": 1, "Prediction": "41"}\n')
    answer(folder, RunSettings({"engine": "demo"}), 2)
    said = f"{folder}: nothing says with which settings the answers there were made\n"
    assert capsys.readouterr() == (said, "")
    answer(folder, RunSettings({"engine": "demo"}), 3)
    assert capsys.readouterr() == ("", "")


def test_other_versions_are_told_and_no_reason_to_refuse(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(folder, RunSettings({"engine": "demo"}, {"torch": "2.6.0", "python": "3.10.1"}), 1)
    assert capsys.readouterr() == ("", "")
    answer(folder, RunSettings({"engine": "demo"}, {"torch": "2.13.0", "python": "3.10.1"}, {"batch": 3}), 2)
    assert capsys.readouterr().err == (
        f"warning: {folder}: other versions than those of the answers there: torch was 2.6.0, now 2.13.0\n"
    )
    answer(folder, RunSettings({"engine": "demo"}, {"torch": "2.13.0", "python": "3.10.1"}, {"batch": 4}), 3)
    assert capsys.readouterr().err == ""
    assert [run["beside"] for run in runs(folder)] == [{}, {"batch": 3}, {"batch": 4}]


def test_what_is_known_only_when_the_engine_is_loaded_is_compared_then(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(folder, RunSettings({"engine": "openai", "model": "a"}, {"torch": "2.6.0"}), 1)
    now = RunSettings({"engine": "openai"}, {"torch": "2.13.0"})
    store = ResultStore(folder, pytest.fail)
    record = RunRecord(store, (folder,), lambda: now, resume=True, force=False)
    record.check()
    now = RunSettings({"engine": "openai", "model": "b"})
    with pytest.raises(ResumeRefused, match="refused: model was a, now b; "):
        record.begin()
    # What was said before is not said again.
    now = RunSettings({"engine": "openai", "model": "a"}, {"torch": "2.13.0"})
    record.begin()
    store.close()
    assert capsys.readouterr().err.count(": other versions than ") == 1


def test_the_other_folders_of_a_config_count_too(folder: Path, tmp_path: Path) -> None:
    shard = tmp_path / "results_shard1"
    answer(shard, RunSettings({"max_new_tokens": 8}), 1)
    with pytest.raises(ResumeRefused, match=re.escape(f"({shard}/run_settings.json)")):
        answer(folder, RunSettings({"max_new_tokens": 9}), 2, earlier=(shard,))
    answer(folder, RunSettings({"max_new_tokens": 8}), 2, earlier=(shard,))
    assert recorded_runs(shard) == recorded_runs(folder)
    # What was forced once need not be forced again because of the folders that are only read.
    answer(folder, RunSettings({"max_new_tokens": 9}), 3, earlier=(shard,), force=True)
    answer(folder, RunSettings({"max_new_tokens": 9}), 4, earlier=(shard,))
    # Nor that of those which the others have.
    answer(folder, RunSettings({"max_new_tokens": 8}), 5, earlier=(shard,))


def test_another_folder_that_says_nothing_is_told_and_no_reason_to_refuse(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = tmp_path / "results_shard1"
    answer(shard, RunSettings({"max_new_tokens": 8}), 1)
    (shard / "run_settings.json").write_bytes(b"[]")
    answer(folder, RunSettings({"max_new_tokens": 9}), 2, earlier=(shard,))
    assert capsys.readouterr().err == (
        f"warning: {shard}/run_settings.json: holds no list of runs; its answers are not compared\n"
    )


def test_what_runs_anew_or_has_only_failed_is_not_refused(folder: Path) -> None:
    answer(
        folder, RunSettings({"max_new_tokens": 8}), 1, 2, prediction="[ERROR] OOM: Text too large (9 tokens)"
    )
    answer(folder, RunSettings({"max_new_tokens": 9}), 1)
    answer(folder, RunSettings({"max_new_tokens": 10}), 1, resume=False)
    with pytest.raises(ResumeRefused, match="max_new_tokens was 10, now 9; "):
        answer(folder, RunSettings({"max_new_tokens": 9}), 2)


def test_the_run_used_last_is_the_one_that_is_compared(folder: Path) -> None:
    first, second = RunSettings({"max_new_tokens": 8}), RunSettings({"max_new_tokens": 9})
    answer(folder, first, 1)
    told = {"runs": [{**runs(folder)[0], "first": "2026-01-31T08:00:00Z"}]}
    (folder / "run_settings.json").write_text(json.dumps(told))
    answer(folder, second, 2, force=True)
    answer(folder, first, 3, force=True)
    assert [run["id"] for run in runs(folder)] == [second.id, first.id]
    assert runs(folder)[1] == told["runs"][0]
    answer(folder, first, 4)
    # One that stored nothing leaves nothing to be mixed with.
    answer(folder, second, resume=False)
    answer(folder, first, 5)


def test_another_model_is_told_by_its_folder_too(folder: Path) -> None:
    answer(folder, RunSettings({"model": "sha256:1"}, beside={"model_folder": "Harbour-7B"}), 1)
    with pytest.raises(ResumeRefused, match=r"model was Harbour-7B \(sha256:1\), now Quay-8B \(sha256:2\); "):
        answer(folder, RunSettings({"model": "sha256:2"}, beside={"model_folder": "Quay-8B"}), 2)
    # Where it lies decides nothing.
    answer(folder, RunSettings({"model": "sha256:1"}, beside={"model_folder": "moved"}), 2)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"runs": 3}', b"[" * 100_000], ids=range(5))
def test_a_file_that_says_nothing_is_refused_kept_and_replaced_when_forced(
    folder: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(folder, RunSettings(), 1)
    (folder / "run_settings.json").write_bytes(content)
    with pytest.raises(
        ResumeRefused, match=r"refused: .*run_settings\.json: (is|holds) no .*; mend it, .* by --force"
    ):
        answer(folder, RunSettings(), 2)
    assert (folder / "run_settings.json").read_bytes() == content
    answer(folder, RunSettings(), 2, force=True)
    assert (folder / "run_settings.json.unreadable").read_bytes() == content
    assert [run["id"] for run in runs(folder)] == [RunSettings().id]
    assert "it is kept as run_settings.json.unreadable" in capsys.readouterr().err


def test_one_that_is_no_file_is_not_waited_for(folder: Path) -> None:
    answer(folder, RunSettings(), 1)
    (folder / "run_settings.json").unlink()
    os.mkfifo(folder / "run_settings.json")
    with pytest.raises(ResumeRefused, match=r"run_settings\.json: is no regular file; "):
        answer(folder, RunSettings(), 2)


def test_entries_of_others_in_the_file_stay(folder: Path) -> None:
    answer(folder, RunSettings({"a": 1}), 1)
    odd: list[object] = [7, {"id": 3}, {"id": "x", "settings": [], "note": "mine"}]
    known = runs(folder)
    (folder / "run_settings.json").write_text(json.dumps({"runs": [*odd, *known]}))
    answer(folder, RunSettings({"a": 1}, {"python": "4"}), 2)
    assert runs(folder)[:4] == [*odd, *known]
    assert len(recorded_runs(folder)) == 2


def test_nothing_is_stored_whose_settings_cannot_be_written(folder: Path) -> None:
    folder.mkdir()
    (folder / run_record._PARTIAL).mkdir()
    with pytest.raises(
        run_record.RunnerError, match=r"run_settings\.json: the settings of this run cannot be written"
    ):
        answer(folder, RunSettings(), 1)
    assert (folder / "results.jsonl").read_bytes() == b""


def test_differences_are_of_what_both_know() -> None:
    recorded = {"a": 1, "gone": 2, "parts": {"x": "1", "y": "2"}}
    now = {"a": 1, "new": 3, "parts": {"x": "1", "y": "3", "z": "4"}}
    assert differences(recorded, now) == [("parts", {"y": "2"}, {"y": "3"})]
    assert differences({"parts": "x"}, now) == [("parts", "x", now["parts"])]
    assert differences(recorded, {"parts": "x"}) == [("parts", recorded["parts"], "x")]
    found = [(str(number), None, "long " * 20) for number in range(5)]
    line = run_record.shown(found)
    assert line.startswith("0 was not set, now long long")
    assert line.endswith("…; and 2 more")
    assert len(line) < 200
    assert run_record.shown(found[:3]).endswith("…")
    # A supervisor keeps some 200 characters of a last line: digests would fill them, and the mend be lost.
    kinds = {"Fact Checking": "04a5a0136c56", "Summary Analysis": "668dd6f3ec4c"}
    changed = differences({"prompts": kinds}, {"prompts": dict.fromkeys(kinds, "3e399ff927f8")})
    assert run_record.shown(changed) == "other prompts (Fact Checking, Summary Analysis)"


def test_the_prompts_are_told_by_kind_whichever_questions_are_run() -> None:
    config = PlannedConfig(None, "text", "html", Path())
    asked = [
        Question(1, "t", "How many?", "Fact Checking", "Value-Matching", ""),
        Question(2, "t", "Why?", "Data Analysis", "Summary Analysis", ""),
    ]
    found = run_settings.prompt_digests(asked, OwnPrompts(), config)
    more = [*asked, Question(3, "u", "Who?", "Fact Checking", "Multi-hop", "")]
    assert run_settings.prompt_digests(more, OwnPrompts(), config) == found
    assert len({*found.values()}) == len(found) == 2
    other = run_settings.prompt_digests(asked, OwnPrompts(), PlannedConfig(None, "mix", "html", Path()))
    assert not set(other.values()) & set(found.values())


def test_that_another_model_has_other_weights_is_not_said() -> None:
    recorded, now = (
        {"model": "sha256:1", "weights": "sha256:2"},
        {"model": "sha256:3", "weights": "sha256:4"},
    )
    folders = ({"model_folder": "qwen"}, {"model_folder": "qwen"})
    assert with_folders(differences(recorded, now), *folders) == [
        ("model", "qwen (sha256:1)", "qwen (sha256:3)")
    ]
    # One folder alone would not say which models they are.
    assert with_folders([("model", 1, 2)], {}, folders[1]) == [("model", 1, 2)]
    now["model"] = recorded["model"]
    assert with_folders(differences(recorded, now), *folders) == [("weights", "sha256:2", "sha256:4")]


def test_the_version_of_the_programs_is_that_of_the_package() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(re.escape(VERSION) + r" \([0-9a-f]{8}\)", own_version())
