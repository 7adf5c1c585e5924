"""A `hitui.toml`, and what it names, that goes, comes back and is seen half written while jobs wait: none of them is
lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.configs import Config
from hitui.domain.jobs import Ending, Queued
from hitui.supervisor.request_checks import Away, check_inputs
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch, gpus=1) as made:
        yield made


def says(here: Control, job_id: int, words: str) -> None:
    eventually(lambda: words in here.waits_for(job_id), f"job {job_id} waits for {words}")
    assert isinstance(here.job(job_id).state, Queued)


@pytest.mark.parametrize("restarted", [False, True])
def test_jobs_wait_for_a_file_that_is_gone(here: Control, restarted: bool) -> None:
    file = here.root / "hitui.toml"
    first = here.submit("hang")
    here.running(first)
    waiting = here.submit("answer")
    file.rename(file.with_name("aside"))
    # What a folder above says is of another workspace.
    (here.root.parent / "hitui.toml").write_text('[runner.other]\ncommand = ["false"]\n')
    if restarted:
        kill(here.supervisor())
        here.client.start(here.root)
    here.client.stop([first])
    says(here, waiting, f"a mended hitui.toml: {file}: is not there")
    file.with_name("aside").rename(file)
    assert here.ended(waiting).ending is Ending.SUCCEEDED


@pytest.mark.parametrize("text", ["", HEAD, HEAD + '[[config]]\nname = "g/answer"\n'])
def test_jobs_wait_for_the_rest_of_a_file_of_which_the_beginning_is_whole(here: Control, text: str) -> None:
    file = here.root / "hitui.toml"
    whole = file.read_text()
    first = here.submit("hang")
    here.running(first)
    waiting = here.submit("answer")
    file.write_text(text)
    here.client.stop([first])
    says(here, waiting, "a mended hitui.toml: g/answer")
    file.write_text(whole)
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_jobs_wait_for_what_their_runner_needs_that_is_away_as_a_disk_when_the_machine_starts(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0")
    disk, settings = here.root / "disk", here.root / "hitui.toml"
    disk.mkdir()
    (disk / "true").symlink_to("/bin/true")
    (here.root / "data").rename(disk / "data")
    runners = {"folder": 'command = ["true"]\ncwd = "disk"', "program": 'command = ["disk/true"]'}
    text = HEAD.replace('"data"', '"disk/data"')
    for name, keys in (runners | {"own": 'engine = "demo"'}).items():
        text += f'[runner.{name}]\n{keys}\n[[config]]\nname = "g/{name}"\nrunner = "{name}"\n'
        text += 'modality = "text"\nformat = "html"\n'
    settings.write_text(text)
    here.connect()
    here.service.change_queue("pause")
    waiting = [here.submit(name) for name in ("folder", "program", "own")]
    kill(here.supervisor())
    disk.rename(here.root.parent / "aside")
    here.service.change_queue("resume")
    for job_id, missing in zip(
        waiting,
        (
            "its working folder: hitui.toml: [runner.folder] cwd: ",
            "its program: hitui.toml: [runner.program] command: disk/true is not there",
            "its dataset: g/own: its data cannot be told",
        ),
        strict=True,
    ):
        says(here, job_id, missing)
    (here.root.parent / "aside").rename(disk)
    assert [here.ended(job_id).ending for job_id in waiting] == [Ending.SUCCEEDED] * 3


def test_jobs_wait_for_the_question_list_that_said_what_is_pending(here: Control) -> None:
    here.service.change_queue("pause")
    waiting = here.submit("answer")
    kill(here.supervisor())
    questions = here.root / "questions.json"
    questions.rename(questions.with_name("aside"))
    here.service.change_queue("resume")
    says(here, waiting, "its question list: g/answer: there is no question list")
    questions.with_name("aside").rename(questions)
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_a_runner_of_ours_is_not_started_on_inputs_that_are_remembered_and_gone(tmp_path: Path) -> None:
    config = Config("g/a", "realhitbench", (), "")
    questions, data = tmp_path / "questions.json", tmp_path / "data"
    questions.touch()
    data.mkdir()
    check_inputs(config, questions, data)
    data.rmdir()
    with pytest.raises(Away, match=r"g/a: its data, .*/data, cannot be read; bring that back"):
        check_inputs(config, questions, data)
    questions.unlink()
    with pytest.raises(Away, match=r"g/a: its questions, .*/questions\.json, cannot be read"):
        check_inputs(config, questions, data)
