"""What settings ask of GPUs for a job of a config: its own word, else its matrix's, else its runner's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitui.domain.configs import Config
from hitui.domain.placement import Need
from hitui.settings import load_settings
from hitui.supervisor.needs import need_of

GIB = 2**30
TOML = """
[gpus]
min_free = "20GiB"
[runner.large]
command = ["true"]
gpus = 2
[runner.small]
command = ["true"]
share = true
min_free = "10GiB"
[runner.shown]
engine = "demo"
[runner.asked]
engine = "openai"
base_url = "http://localhost:8000/v1"
[runner.beside]
engine = "openai"
base_url = "http://localhost:8000/v1"
min_free = "10GiB"
[[config]]
name = "g/one"
runner = "large"
gpus = 1
[[config]]
name = "g/alone"
runner = "small"
share = false
[matrix.m]
modality = ["image"]
runner = "large"
gpus = 4
share = true
"""


@pytest.mark.parametrize(
    ("name", "runner", "need"),
    [
        ("found", "large", Need(20 * GIB, 2)),
        ("found", "small", Need(10 * GIB, 1, True)),
        ("g/one", "large", Need(20 * GIB, 1)),
        ("g/alone", "small", Need(10 * GIB, 1, False)),
        ("m/image", "large", Need(20 * GIB, 4, True)),
        ("found", None, Need(20 * GIB)),
        ("found", "shown", Need(0)),
        ("found", "asked", Need(0)),
        ("found", "beside", Need(10 * GIB)),
    ],
)
def test_the_nearest_word_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runner: str | None, need: Need
) -> None:
    monkeypatch.delenv("HITUI_SIMULATED_GPUS", raising=False)
    file = tmp_path / "hitui.toml"
    file.write_text(TOML)
    config = Config(name, "realhitbench", (), "/w", runner=runner)
    assert need_of(load_settings(tmp_path, file), config) == need
