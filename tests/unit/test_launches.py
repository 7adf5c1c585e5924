"""What a request comes to when it is started: which tasks, and with what its runner is told them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.adapters.processes import JOB_VARIABLE
from hitui.domain.jobs import JobRequest, Shard
from hitui.domain.tasks import ErrorClass, TaskId
from hitui.errors import LaunchError
from hitui.supervisor import arguments
from hitui.supervisor.launches import Launches
from hitui.supervisor.request_checks import Away, UnreadableResults
from tests.tools.results import answer, append_lines, write_results, write_workspace

ENVIRONMENT = {"PATH": os.environ["PATH"]}
TEXT = JobRequest("g/text_html")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_workspace(tmp_path / "workspace")
    write_settings(root)
    return root


def write_settings(root: Path, more: str = "") -> None:
    command = f'["{sys.executable}", "x.py", "{{output}}", "--ids={{ids}}"]'
    (root / "hitui.toml").write_text(
        '[workspace]\nresults = ["result"]\nquestions = "data/questions.json"\ndata = "data"\nrunner = "demo"\n'
        '[runner.demo]\nengine = "demo"\n'
        f"[runner.script]\ncommand = {command}\n{more}\n"
        '[[config]]\nname = "g/image"\nrunner = "script"\n'
    )


def ids(launches: Launches, request: JobRequest) -> tuple[TaskId, ...] | None:
    (part,) = launches.parts(request)
    return part.ids


def test_only_what_is_pending_at_its_start_is_run_whatever_was_asked_for(root: Path) -> None:
    launches = Launches(root)
    assert ids(launches, TEXT) == (3, 4, 5, 6, 7)
    assert ids(launches, replace(TEXT, ids=(1, 4, 6))) == (4, 6)
    assert ids(launches, replace(TEXT, error_class=ErrorClass.NO_FINAL_ANSWER)) == (5,)
    assert ids(launches, replace(TEXT, shard=Shard(1, 0, 2, (1, 3, 6)))) == (3, 6)
    # A shard of an earlier run, in a folder that was not there.
    append_lines(root / "result" / "g" / "text_html_shard1" / "results.jsonl", [answer(3), answer(6)])
    assert ids(launches, TEXT) == (4, 5, 7)
    (root / "data" / "html" / "table4.html").unlink()
    assert ids(launches, TEXT) == (5, 7)


def test_nothing_is_run_while_answers_cannot_be_read_or_nothing_lists_what_is_pending(root: Path) -> None:
    launches = Launches(root)
    assert launches.resolve(JobRequest("text_html"), ENVIRONMENT).config == TEXT.config
    (root / "result" / "g" / "text_html" / "results.jsonl").mkdir()
    for refused in (lambda: launches.parts(TEXT), lambda: launches.resolve(TEXT, ENVIRONMENT)):
        with pytest.raises(UnreadableResults, match="g/text_html"):
            refused()
    (root / "result" / "g" / "text_html" / "results.jsonl").rmdir()
    (root / "data" / "questions.json").unlink()
    with pytest.raises(Away, match="questions"):
        Launches(root).parts(TEXT)


def test_a_job_waits_for_the_runners_that_an_upgrade_is_replacing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job that was free to start in these seconds was ended for good."""
    monkeypatch.setattr(arguments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Away, match="runners are not installed") as refused:
        Launches(root).check_while_it_waits(TEXT, ENVIRONMENT)
    assert refused.value.wait.words.startswith("hitui's own runners: ")


def test_a_config_that_came_since_the_last_look_is_found(root: Path) -> None:
    launches = Launches(root)
    launches.resolve(TEXT, ENVIRONMENT)
    write_results(root / "result" / "g" / "mix_csv" / "results.json", [answer(1)])
    assert launches.resolve(JobRequest("mix_csv"), ENVIRONMENT).config == "g/mix_csv"


def test_a_runner_sees_its_own_gpus_alone_and_is_part_of_no_other_job(root: Path) -> None:
    write_settings(root, 'env = { MODE = "its own" }')
    asked_in = {
        **ENVIRONMENT,
        JOB_VARIABLE: "of another",
        "CUDA_VISIBLE_DEVICES": "all",
        "MODE": "of who asked",
    }
    made = Launches(root).command(
        JobRequest("g/image"), (7, 8), root / "ids.json", ("GPU-1", "GPU-2"), asked_in
    )
    assert made.argv[1:] == ("x.py", str(root / "result" / "g" / "image"), "--ids=7,8")
    assert JOB_VARIABLE not in made.environment
    assert made.environment["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert made.environment["MODE"] == "its own"
    assert made.cwd == root


def test_only_our_own_runner_is_told_to_insist_and_only_where_that_was_asked_for(root: Path) -> None:
    launches = Launches(root)

    def arguments(request: JobRequest) -> tuple[str, ...]:
        return launches.command(request, (3,), root / "ids.json", ("GPU-1",), ENVIRONMENT).argv

    assert not {"--force", "--retry-exhausted"} & set(arguments(TEXT))
    assert "--force" in arguments(replace(TEXT, force=True))
    assert "--retry-exhausted" in arguments(replace(TEXT, ids=(3,)))
    shard = replace(TEXT, shard=Shard(1, 1, 2, (3,)))
    assert str(root / "result" / "g" / "text_html_shard1") in arguments(shard)
    with pytest.raises(LaunchError, match="--force is for hitui's own runner"):
        launches.check_forced([JobRequest("g/image")])
    launches.check_forced([TEXT])


def test_a_plan_names_what_was_answered_in_other_folders_of_each_config(root: Path) -> None:
    shard = root / "result" / "g" / "text_html_shard1"
    append_lines(shard / "results.jsonl", [answer(3)])
    launches = Launches(root)
    parts = launches.parts(replace(TEXT, also=(JobRequest("g/image"),)))
    first, second = launches.plan(parts)["configs"]  # type: ignore[misc]
    assert (first["ids"], first["earlier"]) == ([4, 5, 6, 7], [str(shard)])
    assert (second["name"], second["ids"], "earlier" in second) == ("g/image", [], False)
