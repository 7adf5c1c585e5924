"""What every engine of the runner keeps, one suite over the registry.

A new engine needs one entry in `STAGES`: the options with which it runs here. One that works in two ways has a second,
named with what it does then behind a comma.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines import ENGINES, engine_class
from hitui_runners.engines.base import Answer, Engine, Prompt, Reply
from hitui_runners.realhitbench.arguments import parse_arguments

from tests.tools import counting_server
from tests.tools.benchmark import ROWS, Benchmark, png
from tests.tools.chat_server import chat_server

Stage = Callable[[pytest.FixtureRequest], Any]


@contextmanager
def demo(request: pytest.FixtureRequest) -> Iterator[Sequence[object]]:
    yield ["--demo-seconds", "0", "--demo-failure-rate", "0"]


@contextmanager
def transformers(request: pytest.FixtureRequest) -> Iterator[Sequence[object]]:
    yield ["--model", request.getfixturevalue("tiny_model")]


@contextmanager
def openai(request: pytest.FixtureRequest) -> Iterator[Sequence[object]]:
    with chat_server() as server:
        yield ["--base-url", server.url, "--concurrency", "3"]


@contextmanager
def openai_counting(request: pytest.FixtureRequest) -> Iterator[Sequence[object]]:
    with chat_server() as server:
        counting_server.count_with(server, counting_server.vllm)
        yield ["--base-url", server.url, "--concurrency", "3"]


@contextmanager
def vllm(request: pytest.FixtureRequest) -> Iterator[Sequence[object]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield [
            *("--model", request.getfixturevalue("middle_model"), "--concurrency", "3"),
            *("--max-input-tokens", "20000"),
        ]


STAGES: dict[str, Stage] = {
    "demo": demo,
    "transformers": transformers,
    "vllm": vllm,
    "openai": openai,
    "openai, counting": openai_counting,
}
MARKS: dict[str, tuple[pytest.MarkDecorator, ...]] = {
    "transformers": (pytest.mark.model,),
    "vllm": (
        pytest.mark.model,
        pytest.mark.vllm,
        pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed here"),
    ),
}
PARAMETERS = [pytest.param(name, marks=MARKS.get(name, ())) for name in STAGES]


def engine_of(stage: str) -> str:
    return stage.partition(",")[0]


def parsed(stage: str, options: Sequence[object]) -> argparse.Namespace:
    """As the program has them that runs engines."""
    words = [
        "--engine",
        engine_of(stage),
        "--questions",
        "q",
        "--data",
        "d",
        "--output",
        "o",
        "--modality",
        "image",
    ]
    return parse_arguments([*words, "--max-new-tokens", "8", *map(str, options)])


@pytest.fixture(scope="module", params=PARAMETERS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine, loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        with STAGES[request.param](request) as options:
            made = engine_class(engine_of(request.param)).from_arguments(parsed(request.param, options))
            made.load()
            yield made
            made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and tables."""
    benchmark = Benchmark(tmp_path_factory.mktemp("benchmark"))
    benchmark.add_table("harbours")
    (benchmark.data / "image" / "harbours.png").write_bytes(png(400, 300))
    return benchmark.data


@pytest.fixture
def text(data: Path) -> Prompt:
    question = "How many boats lie in Saltby? (No. 2)"
    table = (data / "html" / "harbours.html").read_text()
    after = f"\n\nQuestion: {question}"
    return Prompt(1, "A table follows.\n\n", table, after, question, table_format="html")


def with_picture(prompt: Prompt, data: Path) -> Prompt:
    return replace(prompt, image=data / "image" / "harbours.png")


def test_every_engine_is_staged() -> None:
    assert {engine_of(stage) for stage in STAGES} == set(ENGINES)


@pytest.mark.parametrize("modality", ["text", "image", "mix"])
def test_a_prompt_has_a_reply_and_the_same_one_again(
    engine: Engine, text: Prompt, data: Path, modality: str
) -> None:
    prompt = text if modality == "text" else with_picture(text, data)
    prompt = replace(prompt, table="") if modality == "image" else prompt
    reply = engine.answer(prompt)

    assert isinstance(reply, Reply)
    assert isinstance(reply.text, str)
    assert reply.input_tokens is not None
    assert reply.input_tokens > 0
    assert reply.output_tokens is not None
    assert reply.output_tokens > 0
    assert reply.recovery == {}
    again = engine.answer(prompt)
    assert (again.text, again.input_tokens) == (reply.text, reply.input_tokens)


def test_a_table_is_cut_where_the_prompt_may_not_be_so_long(engine: Engine, text: Prompt) -> None:
    rows = "".join(f"<tr><td>Harbour {n}</td><td>{n}</td></tr>\n" for n in range(300))
    whole = engine.answer(replace(text, table=f"<table>{rows}</table>"))
    assert whole.recovery == {}
    assert whole.input_tokens is not None
    budget = whole.input_tokens // 2
    cut = engine.answer(replace(text, table=f"<table>{rows}</table>", max_input_tokens=budget))

    assert cut.input_tokens is not None
    # Who has no tokenizer meets the budget by estimate.
    tolerance = 1.05 if cut.recovery.get("estimated") else 1
    assert budget / 2 < cut.input_tokens <= budget * tolerance
    assert cut.recovery["max_input_tokens"] == budget
    uncut = cut.recovery["uncut_tokens"]
    assert isinstance(uncut, int)
    assert abs(uncut - whole.input_tokens) < whole.input_tokens / 20


def test_a_picture_has_the_share_of_its_pixels_that_is_asked_for(
    engine: Engine, text: Prompt, data: Path
) -> None:
    reply = engine.answer(replace(with_picture(text, data), pixel_share=0.25))

    assert reply.recovery == {"max_pixels": 400 * 300 // 4}


def test_as_many_as_it_takes_can_be_asked_at_once_and_together(engine: Engine, text: Prompt) -> None:
    questions = [f"How many boats lie in {name}?" for name, _, _ in ROWS]
    prompts = [
        replace(text, task_id=number, question=question, after=f"\n\nQuestion: {question}")
        for number, question in enumerate(questions)
    ]
    alone = [engine.answer(prompt).text for prompt in prompts]
    with ThreadPoolExecutor(engine.at_once) as threads:
        together = [reply.text for reply in threads.map(engine.answer, prompts)]

    assert together == alone
    waiting = deque(prompts)
    answers: dict[int | str, Answer] = {}
    for came in engine.answer_all(waiting):
        assert came
        answers |= {prompt.task_id: answer for prompt, answer in came}
    assert not waiting
    assert [
        answer.text if isinstance(answer, Reply) else answer
        for answer in map(answers.__getitem__, range(len(prompts)))
    ] == alone


@pytest.mark.parametrize("stage", PARAMETERS)
def test_it_is_named_as_in_the_registry_and_can_be_closed_at_any_time(
    request: pytest.FixtureRequest, stage: str
) -> None:
    with STAGES[stage](request) as options:
        made = engine_class(engine_of(stage)).from_arguments(parsed(stage, options))
        assert made.name == engine_of(stage)
        assert made.at_once >= 1
        made.close()
        made.close()
