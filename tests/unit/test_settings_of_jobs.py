"""What settings say of jobs: a config goes before the queue, and of several configs the strictest holds."""

from pathlib import Path

from hitui.domain.watching import WatchRules
from hitui.settings import load_settings
from hitui.supervisor.rules import retry_rules, watch_rules

JUDGE = "[judge]\nbase_url = 'http://localhost:8000/v1'\nmodel = 'gpt-4o'\n"
OF_A_MODEL = "[runner.a]\nengine = 'transformers'\nmodel = 'm'\n"
OF_A_SERVER = "[runner.a]\nengine = 'openai'\nbase_url = 'http://localhost:8000/v1'\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "hitui.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_what_a_config_says_of_its_jobs_goes_before_what_the_queue_says(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [queue]
        retries = 5
        stall = "10m"
        resume = true
        [matrix.m]
        modality = ["image"]
        stall = "never"
        [[config]]
        name = "own"
        stall = "2h"
        restart_stalled = true
        resume = false
        """,
    )
    settings = load_settings(tmp_path, file)
    assert watch_rules(settings, ["found"]) == WatchRules(stall=600.0)
    assert watch_rules(settings, ["m/image"]) == WatchRules(stall=None)
    assert watch_rules(settings, ["own"]) == WatchRules(stall=7200.0, restart=True)
    assert [retry_rules(settings, [name]).resume for name in ("found", "own")] == [True, False]
    assert retry_rules(settings, ["own"]).retries == 5


def test_a_job_of_several_configs_follows_the_strictest_of_them(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [queue]
        resume = true
        restart_stalled = true
        [[config]]
        name = "patient"
        stall = "never"
        [[config]]
        name = "short"
        stall = "5m"
        [[config]]
        name = "long"
        stall = "2h"
        [[config]]
        name = "by_hand"
        restart_stalled = false
        resume = false
        """,
    )
    settings = load_settings(tmp_path, file)
    for configs, stall in (
        (("patient", "patient"), None),
        (("patient", "long"), 7200.0),
        (("long", "short"), 300.0),
        (("short", "patient", "long"), 300.0),
    ):
        assert watch_rules(settings, configs) == WatchRules(stall=stall, restart=True)
        assert retry_rules(settings, configs).resume
    for configs in (("by_hand", "long"), ("long", "by_hand")):
        assert watch_rules(settings, configs) == WatchRules(stall=1800.0)
        assert not retry_rules(settings, configs).resume
