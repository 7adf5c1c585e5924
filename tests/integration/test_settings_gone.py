"""A `hitui.toml` that goes, comes back and is seen half written while jobs wait: none of them is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ending, Queued
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
