"""Answers made with other settings: a rerun is refused, once and in one line, and can be forced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ended, Ending
from tests.tools.commands import typed
from tests.tools.control import HEAD, Control, control
from tests.tools.eventually import eventually
from tests.tools.plain_python import demo_runner

QUESTIONS = 4


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0")
    monkeypatch.setenv("HITUI_DEMO_FAILURE_RATE", "0")
    with control(tmp_path, monkeypatch, questions=QUESTIONS, gpus=1) as made:
        yield made


def settle(here: Control, runner: str) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD.replace("retries = 0", 'retries = 2\nretry_pause = "100ms"')
        + runner
        + '[matrix.g]\nrunner = "mine"\nmodality = ["text"]\nformat = ["html", "csv"]\n'
    )
    here.connect()


def demo(here: Control, keys: str) -> str:
    return demo_runner(here.root.parent, "mine", keys)


def settings_of(here: Control, mode: str) -> list[str]:
    """Of each result in the order of the journal."""
    lines = (here.output(mode) / "results.jsonl").read_text().splitlines()
    return [json.loads(line)["Settings"] for line in lines]


def test_it_is_said_in_one_line_not_tried_again_and_can_be_forced(here: Control) -> None:
    settle(here, demo(here, "max_new_tokens = 64"))
    assert typed(here, "run", "text_html", "--ids", "1,2", "--wait").returncode == 0
    settle(here, demo(here, "max_new_tokens = 128"))

    # The other config has nothing to be mixed with, and is answered by the same process.
    done = typed(here, "rerun", "text_html", "text_csv", "--wait")
    assert done.returncode == 1
    assert f"g/text_csv: {QUESTIONS} tasks answered" in done.stdout
    jobs = here.client.last_known(None).jobs
    (failed,) = [job for job in jobs if job.refused_to_mix]
    assert failed.request.configs == ("g/text_html", "g/text_csv")
    assert isinstance(failed.state, Ended)
    assert failed.state.exit_status == 2
    said = (
        "exit status 2: error: not run: g/text_html: resume refused: max_new_tokens was 64, now 128; set that back, or mix "
        "the answers by --force ("
    )
    assert failed.state.reason.startswith(said)
    assert failed.state.reason.endswith("; not tried again: it would be refused again")
    assert failed.successor is None
    assert said in done.stderr
    why = typed(here, "why", "text_html").stdout.splitlines()
    assert why[0].startswith("g/text_html: would start now")
    assert why[1].startswith(f"  its last job ({failed.id}) failed: {said}")
    assert why[2] == "  `hitui rerun g/text_html --force` mixes the answers"
    told = json.loads(typed(here, "why", "text_html", "--json").stdout)["last_failure"]
    assert (told["job"], told["reason"]) == (failed.id, failed.state.reason)

    forced = typed(here, "retry", str(failed.id), "--force")
    assert forced.returncode == 0, forced.stderr
    eventually(lambda: not here.client.last_known(None).jobs[-1].active, "the forced try has ended")
    assert sorted(here.answered("text_html")) == [1, 2, 3, 4]
    first, second, third, fourth = settings_of(here, "text_html")
    assert (first, third) == (second, fourth)
    assert first != third
    newest = here.client.last_known(None).jobs[-1]
    assert newest.state.ending is Ending.SUCCEEDED  # type: ignore[union-attr]
    assert [part.force for part in newest.request.parts] == [True, True]
    assert newest.request.configs == failed.request.configs

    # What was recorded goes with the answers when these go.
    assert typed(here, "rollback", "text_html").returncode == 0
    assert not (here.output("text_html") / "run_settings.json").exists()
    settle(here, demo(here, "max_new_tokens = 256"))
    assert typed(here, "run", "text_html", "--wait").returncode == 0


def test_a_command_of_the_users_own_is_not_forced(here: Control) -> None:
    settle(here, '[runner.mine]\ncommand = ["true"]\n')
    assert typed(here, "run", "text_html", "--wait").returncode == 1
    for words in (["run", "text_html"], ["retry", "1"]):
        done = typed(here, *words, "--force")
        assert done.returncode == 1
        assert (
            "g/text_html: --force is for hitui's own runner, and [runner.mine] has a command of its own"
            in done.stderr
        )
    assert len(here.client.last_known(None).jobs) == 1
