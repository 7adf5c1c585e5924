"""What ran out of memory in every form on one GPU gets several, where the settings say so; and how far it may go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.domain.jobs import Job, JobRequest
from tests.integration.test_supervisor_commands import hitui
from tests.tools.benchmark import Benchmark, harbours
from tests.tools.control import HEAD, Control, control
from tests.tools.plain_python import demo_runner

MANY_ROWS = tuple((f"Harbour {number}", number, number / 4) for number in range(400))
"""As HTML about 5,600 tokens of the demo engine's."""
LARGE = 7


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """One of seven tasks is over a table that no GPU alone has memory for, however it is cut."""
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0")
    monkeypatch.setenv("HITUI_DEMO_FAILURE_RATE", "0")
    monkeypatch.setenv("HITUI_DEMO_MEMORY_TOKENS", "1500")
    with control(tmp_path, monkeypatch, gpus=5) as made:
        benchmark = harbours(made.root, LARGE - 1)
        benchmark.add_table("large", MANY_ROWS)
        benchmark.ask(LARGE, "large", "How many boats lie in Harbour 3?", "3")
        settle(made, "recovery_gpus = 4")
        yield made


def settle(here: Control, config: str) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD
        + demo_runner(here.root.parent, keys="max_input_tokens = 8000")
        + f'[[config]]\nname = "g/text_html"\nrunner = "demo"\nmodality = "text"\nformat = "html"\n{config}\n'
    )
    here.connect()


def run(here: Control) -> Job:
    (job,) = here.service.submit([JobRequest("g/text_html")])
    here.ended(job.id)
    return here.job(job.id)


def results(here: Control) -> list[dict[str, Any]]:
    """Of the task over the large table, in the order of the journal."""
    lines = (here.output("text_html") / "results.jsonl").read_text().splitlines()
    return [result for result in map(json.loads, lines) if result["id"] == LARGE]


def test_several_gpus_come_last_and_only_for_what_nothing_else_is_left_for(here: Control) -> None:
    assert len(run(here).gpus) == 1
    assert len(run(here).gpus) == 1
    tried = results(here)
    assert [result.get("Recovery", {}).get("rung") for result in tried] == [None, 3, 4]
    assert all(result["Prediction"].startswith("[ERROR] OOM: ") for result in tried)
    assert "recovery ladder exhausted" in hitui(here, "ids", "text_html").stdout

    wide = run(here)
    assert (len(wide.gpus), wide.request.gpu_count) == (4, 4)
    answered = results(here)[-1]
    assert (answered["Prediction"], answered["Recovery"]) == ("3", {"gpus": 4})
    assert "7 of 7 tasks done" in hitui(here, "verify", "text_html").stdout


def test_what_a_config_says_of_its_ladder_holds(here: Control) -> None:
    settle(here, "max_rungs = 3\nrecovery = 'at-once'")
    assert run(here).request.gpu_count is None
    assert [result.get("Recovery", {}).get("rung") for result in results(here)] == [None, 3]
    # Nothing is left, and nobody said that it may have more GPUs.
    assert len(run(here).gpus) == 1
    assert len(results(here)) == 2


def test_the_plan_tells_of_the_gpus_that_it_takes(here: Control) -> None:
    from hitui.factory import build_services

    run(here)
    run(here)
    services = build_services(str(here.root))
    snapshot = services.workspace.scan_once()
    plan = here.service.plan([JobRequest("g/text_html")], snapshot, services.gpus.read_once(5))
    assert plan.launches[0].where == "GPU 0, 1, 2, 3 now"


def test_named_gpus_are_not_shared_out_among_tasks_that_need_them_together(here: Control) -> None:
    questions = here.root / "questions.json"
    listed = json.loads(questions.read_text())
    tables = Benchmark(here.root, listed["queries"])
    tables.add_table("also", MANY_ROWS)
    tables.ask(LARGE + 1, "also", "How many boats lie in Harbour 4?", "4")
    run(here)
    run(here)
    (job,) = here.service.submit([JobRequest("g/text_html", gpus=("0", "1"), shards=4)])
    here.ended(job.id)
    done = [known for known in here.client.last_known(None).jobs if known.id >= job.id]
    assert [len(known.gpus) for known in done] == [2]
    assert results(here)[-1]["Prediction"] == "3"
