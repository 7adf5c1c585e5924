"""What our own runner is told of a `[runner.NAME]`, and that it understands it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hitui_runners.realhitbench.arguments import parse_arguments

from hitui.domain.configs import Config
from hitui.settings.values import RunnerSettings, Settings
from hitui.supervisor.arguments import own_runner

CONFIG = Config("g/text_html", "realhitbench", (), "/results", "text", "html", "a")
VALUES = {
    "modality": "text",
    "format": "html",
    "output": "/results",
    "ids_file": None,
    "model": "/model",
    "questions": "/questions.json",
    "data": "/data",
}


def told(runner: RunnerSettings) -> Namespace:
    settings = Settings(Path("/workspace"), runners={"a": runner})
    _, _, program, *words = own_runner(settings, runner, VALUES, CONFIG, None)
    assert program == "realhitbench"
    return parse_arguments(words)


def test_the_runner_is_told_how_inputs_are_made() -> None:
    arguments = told(
        RunnerSettings(
            engine="transformers",
            adapter="saves/checkpoint-500",
            prompts="prompts",
            prompt_order="table-first",
            dtype="float16",
            truncation="original",
            max_pixels=5,
            max_image_pixels=7,
            shared_prefixes=False,
            batch_tokens=0,
        )
    )

    assert arguments.adapter == Path("/workspace/saves/checkpoint-500")
    assert arguments.prompts == Path("/workspace/prompts")
    assert arguments.prompt_order == "table-first"
    assert arguments.dtype == "float16"
    assert arguments.truncation == "original"
    assert (arguments.max_pixels, arguments.max_image_pixels) == (5, 7)
    assert arguments.no_shared_prefixes
    assert arguments.batch_tokens == 0


def test_without_them_it_does_as_it_does_by_itself() -> None:
    arguments = told(RunnerSettings(engine="transformers", shared_prefixes=True))

    assert arguments.adapter is None
    assert arguments.prompt_order is None
    assert arguments.dtype is None
    assert arguments.truncation == "tokens"
    assert (arguments.max_pixels, arguments.max_image_pixels) == (None, 178_956_970)
    assert not arguments.no_shared_prefixes
    assert arguments.batch_tokens is None
