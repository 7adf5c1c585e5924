"""A `hitui.toml` that changes while the dashboard is open: real files, the real services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hitui.domain.jobs import JobRequest
from hitui.factory import Services, build_services
from hitui.services.workspace import WorkspaceSnapshot
from hitui.ui.app import Dashboard
from tests.tools.eventually import eventually
from tests.tools.results import answer, write_questions, write_results
from tests.ui.conftest import gone, line_with, screen_text, shown, until

HEAD = (
    '[workspace]\nresults = ["result"]\nquestions = "questions.json"\n\n[runner.mine]\ncommand = ["true"]\n'
)
OLD = '\n[[config]]\nname = "a/text_html"\n'
NEW = '\n[[config]]\nname = "a/text_csv"\nmodality = "text"\nformat = "csv"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_questions(tmp_path / "questions.json", range(1, 6))
    write_results(tmp_path / "result" / "a" / "text_html" / "results.json", [answer(1), answer(2)])
    file = tmp_path / "hitui.toml"
    file.write_text(HEAD + OLD)
    return file


@pytest.fixture
def services(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    gpus = tmp_path / "gpus"
    gpus.mkdir()
    gpu = {"index": 0, "uuid": "GPU-0", "name": "NVIDIA A800", "memory_total": 80 * 1024**3}
    (gpus / "gpus.json").write_text(json.dumps({"gpus": [gpu]}))
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(gpus))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    services = build_services(str(file.parent))
    yield services
    services.close()


def say(file: Path, text: str) -> None:
    file.write_text(text)


def names(snapshot: WorkspaceSnapshot) -> list[str]:
    return [state.name for state in snapshot.configs]


def test_new_configs_and_runners_come_with_the_file(services: Services, file: Path) -> None:
    services.workspace.start(lambda snapshot: services.use(snapshot.settings or services.settings))
    latest = services.workspace
    eventually(lambda: names(latest.latest) == ["a/text_html"] and not latest.latest.scanning)
    file.write_text(HEAD + OLD + NEW + 'runner = "other"\n\n[runner.other]\ncommand = ["false"]\n')
    eventually(lambda: names(latest.latest) == ["a/text_csv", "a/text_html"] and not latest.latest.scanning)
    eventually(lambda: services.settings.runners.keys() == {"mine", "other"})
    gpus = services.gpus.read_once(10.0)
    (launch,) = services.jobs.plan([JobRequest("a/text_csv")], latest.latest, gpus).launches
    assert launch.refused is None
    assert launch.task_count == 5


def test_a_file_that_is_broken_or_gone_changes_nothing_and_is_said(services: Services, file: Path) -> None:
    services.workspace.start(lambda snapshot: None)
    latest = services.workspace
    eventually(lambda: names(latest.latest) == ["a/text_html"])
    file.write_text(HEAD + OLD + "\n[gpus]\nexlude = [1]\n")
    (line,) = eventually(lambda: latest.latest.problems)
    assert line.startswith("hitui.toml: [gpus] unknown key 'exlude'")
    assert line.endswith("(what it said before still counts)")
    assert names(latest.latest) == ["a/text_html"]
    file.write_text(HEAD + OLD + NEW)
    eventually(lambda: len(names(latest.latest)) == 2 and not latest.latest.problems)
    file.unlink()
    (line,) = eventually(lambda: latest.latest.problems)
    assert line.startswith("hitui.toml: is not there any more")
    assert len(names(latest.latest)) == 2


def test_results_that_come_with_a_broken_file_are_not_forgotten(services: Services, file: Path) -> None:
    latest = services.workspace
    latest.start(lambda snapshot: None)
    eventually(lambda: names(latest.latest) == ["a/text_html"] and not latest.latest.scanning)
    results = file.parent / "result" / "a" / "text_html" / "results.json"

    def done(count: int) -> bool:
        return bool(latest.latest.problems) and latest.latest.configs[0].done == count

    for number in range(3, 6):
        write_results(results, [answer(task) for task in range(1, number + 1)])
        file.write_text(HEAD + OLD + f"\n[gpus]\nexlude = [{number}]\n")
        # Long before everything is looked at again.
        eventually(partial(done, number), deadline=10)


def test_a_file_that_is_written_later_counts_from_then_on(services: Services, file: Path) -> None:
    file.unlink()
    bare = build_services(str(file.parent))
    assert bare.settings.file is None
    bare.workspace.start(lambda snapshot: None)
    try:
        eventually(lambda: names(bare.workspace.latest) == ["a/text_html"])
        file.write_text(HEAD + NEW)
        eventually(lambda: names(bare.workspace.latest) == ["a/text_csv", "a/text_html"])
    finally:
        bare.close()


async def test_the_screen_takes_up_what_the_file_says_now(services: Services, file: Path) -> None:
    async with Dashboard(services).run_test(size=(120, 30), notifications=True) as pilot:
        await shown(pilot, "a/text_html", "free for jobs")
        say(file, HEAD + OLD + NEW + "\n[gpus]\nexclude = [0]\n")
        await shown(pilot, "a/text_csv", "hitui.toml has changed: what it says now counts")
        await until(pilot, lambda: "excluded" in line_with(pilot, " 0 A800"), "GPU 0 is excluded")
        say(file, "[gpus\n")
        await shown(pilot, "! hitui.toml: is not valid TOML")
        assert "a/text_csv" in screen_text(pilot)
        say(file, HEAD + OLD)
        await gone(pilot, "is not valid TOML")
        await gone(pilot, "a/text_csv ")
