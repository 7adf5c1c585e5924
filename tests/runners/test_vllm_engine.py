"""The vllm engine: what it says where vLLM is not there, its one thread, and, where vLLM is installed, its answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, TaskFailed
from hitui_runners.engines.vllm import VllmEngine
from hitui_runners.engines.vllm_steps import VllmSteps
from hitui_runners.errors import EngineLost, RunnerError

from tests.tools import tiny_model
from tests.tools.benchmark import png

HAS_VLLM = find_spec("vllm") is not None


@pytest.mark.skipif(HAS_VLLM, reason="vllm is installed here")
def test_where_it_is_not_installed_one_line_says_what_to_install(tmp_path: Path) -> None:
    engine = VllmEngine(tmp_path, 2, 1000, 8, None, None)
    with pytest.raises(
        RunnerError, match=r"cannot run vLLM: No module named 'vllm'; install vllm there, in an env"
    ):
        engine.load()
    engine.close()


@dataclass
class Output:
    request_id: str
    text: str
    finished: bool = True


@dataclass
class Scripted:
    """Stands for vLLM's LLMEngine, which needs a model: answers everything under way at each step, the last first."""

    answer: Callable[[str], str] = str.upper
    under_way: dict[str, str] = field(default_factory=dict)
    most: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    renderer: Any = None

    def __post_init__(self) -> None:
        self.renderer = self

    def render_cmpl(self, prompts: list[Any]) -> list[Any]:
        if prompts == ["refused"]:
            raise ValueError("no such\ntoken")
        if isinstance(prompts[0], dict):
            raise ValueError(
                "an image item with 20000 tokens, which exceeds the pre-allocated encoder cache size 16384"
            )
        return prompts

    def add_request(self, number: str, prompt: str, sampling: object) -> None:
        self.under_way[number] = prompt

    def step(self) -> list[Output]:
        self.go.wait()
        self.most = max(self.most, len(self.under_way))
        taken = reversed(list(self.under_way.items()))
        self.under_way = {}
        return [Output(number, self.answer(prompt)) for number, prompt in taken]


@contextmanager
def driven(engine: Scripted) -> Iterator[VllmSteps]:
    steps = VllmSteps(engine)
    yield steps
    engine.go.set()
    steps.close()


def test_each_thread_gets_the_answer_to_its_own_prompt() -> None:
    engine = Scripted()
    engine.go.set()
    words = [f"prompt {number}" for number in range(40)]
    with driven(engine) as steps, ThreadPoolExecutor(8) as threads:
        outputs = threads.map(lambda word: steps.ask(word, None), words)
        assert [output.text for output in outputs] == [word.upper() for word in words]


def test_a_prompt_that_it_refuses_costs_that_prompt_alone() -> None:
    engine = Scripted()
    engine.go.set()
    with driven(engine) as steps:
        with pytest.raises(TaskFailed, match="vLLM: no such token") as failed:
            steps.ask("refused", None)
        assert failed.value.unexpected
        with pytest.raises(TaskFailed, match=re.escape("OOM: Image too large ((5000, 4200))")):
            steps.ask({"multi_modal_data": {"image": SimpleNamespace(size=(5000, 4200))}}, None)
        assert steps.ask("fine", None).text == "FINE"


def test_an_error_inside_of_a_step_ends_all_that_is_asked_and_blames_no_prompt() -> None:
    def fail(prompt: str) -> str:
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    engine = Scripted(fail)
    with driven(engine) as steps, ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(steps.ask, f"prompt {number}", None) for number in range(3)]
        engine.go.set()
        for future in asked:
            with pytest.raises(
                EngineLost, match=r"vLLM ended: RuntimeError: CUDA error: an illegal memory access"
            ):
                future.result()
        with pytest.raises(EngineLost, match="vLLM ended"):
            steps.ask("one more", None)


def test_closing_ends_what_is_under_way() -> None:
    engine = Scripted()
    with driven(engine) as steps, ThreadPoolExecutor(2) as threads:
        first = threads.submit(steps.ask, "first", None)
        closing = threads.submit(steps.close)
        engine.go.set()
        closing.result()
        # It may have been answered in the step that was under way.
        assert first.exception() is None or isinstance(first.exception(), EngineLost)
        with pytest.raises(EngineLost, match="vLLM is closed"):
            steps.ask("late", None)


TOWNS = ("Alderwick", "Brackenford", "Coldharbour", "Dunmere", "Fennimore", "Eastleigh Cross")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Questions over one table, some with its picture, one too long as it is."""
    picture = tmp_path_factory.mktemp("pictures") / "table.png"
    picture.write_bytes(png(400, 300))
    rows = "".join(
        f"<tr><td>{town}</td><td>{number * 37}</td></tr>\n" for number, town in enumerate(TOWNS * 4)
    )
    asked = [
        Prompt(number, "A table follows.\n\n", rows, f"\n\nHow many has {town}?", town)
        for number, town in enumerate(TOWNS)
    ]
    asked += [replace(prompt, image=picture) for prompt in asked[:3]]
    return [*asked, replace(asked[0], table=rows * 20, max_input_tokens=700)]


@pytest.mark.skipif(not HAS_VLLM, reason="vllm is not installed here")
@pytest.mark.model
@pytest.mark.vllm
def test_it_says_what_transformers_says_and_computes_shared_beginnings_once(
    tmp_path: Path,
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("accelerate")
    from hitui_runners.engines.transformers import TransformersEngine

    # Of the smaller ones two tokens can be so near each other that any other order of sums decides between them.
    model = tiny_model.build(tmp_path / "model", size=tiny_model.LARGE)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    engine = VllmEngine(model, 4, 6000, 12, None, 0.5)
    engine.load()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(engine.answer, prompts))
    assert engine.most_input_tokens == 6000
    engine._most_tokens = 100
    # Of a picture and a table the larger one is what is too large.
    for prompt in (prompts[0], prompts[-2]):
        with pytest.raises(TaskFailed, match=r"OOM: Text too large \(\d+ tokens\)"):
            engine.answer(prompt)
    with pytest.raises(TaskFailed, match=r"OOM: Image too large \(\(400, 300\)\)"):
        engine.answer(replace(prompts[-2], table=""))
    engine.close()
    shared = capsys.readouterr().out
    plain = TransformersEngine(model, 6000, 12, None)
    plain.load()

    expected = [plain.answer(prompt) for prompt in prompts]
    assert [reply.text for reply in found] == [reply.text for reply in expected]
    assert [reply.input_tokens for reply in found] == [reply.input_tokens for reply in expected]
    assert [reply.recovery for reply in found] == [reply.recovery for reply in expected]
    assert len({reply.text for reply in found}) > 6
    assert "prompt tokens were shared with prompts before" in shared
