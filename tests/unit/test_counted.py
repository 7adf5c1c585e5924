"""One of a thing is not told as several of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.journal import Journal
from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.commands.launching import progress_line
from hitui.commands.verify import _lines
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Ended, Ending, Job, JobRequest
from hitui.domain.notices import of_ended_job
from hitui.domain.progress import JobProgress
from hitui.domain.records import JobRecord, words_of_end
from hitui.domain.units import counted
from hitui.services.verification import Verdict
from hitui.settings import ConfigSettings, Settings
from tests.tools.results import answer, append_lines

DONE = Job(3, JobRequest("g/a"), 0.0, Ended(Ending.SUCCEEDED, 5.0, started_at=1.0))


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 addresses"), (1, "1 address"), (2, "2 addresses"), (21, "21 addresses")]
)
def test_one_thing_or_several(number: int, told: str) -> None:
    assert counted(number, "address", "addresses") == told
    assert counted(number, "job") == told.replace("addresses", "jobs").replace("address", "job")


@pytest.mark.parametrize(("number", "word"), [(1, "task"), (2, "tasks")])
def test_tasks_of_a_job_and_of_a_config(number: int, word: str) -> None:
    notice = of_ended_job(DONE, number, 0)
    assert notice is not None
    assert notice.text.endswith(f"; {number} {word} answered")
    assert words_of_end(DONE, JobRecord(done=0, failed=number)) == f"{number} of {number} {word} failed"
    for record in (None, JobRecord(), JobRecord(done=number, failed=0), JobRecord(failed=number)):
        assert words_of_end(DONE, record) == ""
    state = ConfigState(Config("g/a", "realhitbench", ("/w",), "/w"), True, total=number, done=0)
    assert _lines(Verdict(state, ("x",), ())) == [f"g/a: not whole, 0 of {number} {word} done", "  x"]


@pytest.mark.parametrize(("number", "told"), [(1, "running 2, 1 error"), (2, "running 2, 2 errors")])
def test_errors_of_a_job_that_runs(number: int, told: str) -> None:
    assert progress_line(JobProgress(phase="running", done=2, errors=number)) == told


def test_lines_of_a_journal_and_of_a_file_that_is_counted(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    with path.open("a") as file:
        file.write("rubbish\n" * 6)
    assert Journal(path).read().problems[-1] == "1 more line is no result: not counted"
    path.write_text("rubbish\n")
    with pytest.raises(UnreadableFile, match="is no journal, its one line is no result: "):
        Journal(path).read()
    config = ConfigSettings(name="g/scores", kind="line_count", total=0, output="out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.jsonl").write_text("first\n")
    catalogue = Catalogue(Settings(root=tmp_path, configs=(config,)))
    state = catalogue.read(catalogue.find("g/scores")).state
    assert state.notes == ("1 line, 1 more than the total of 0",)
