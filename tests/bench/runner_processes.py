"""What the benchmarks of the runner have in common: the prompts of questions, each side in a process of its own, and what
it took there.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import Prompt
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, Question, load_questions, read_table

from tests.tools.benchmark import Benchmark


def add_arguments(parser: argparse.ArgumentParser, new_tokens: int) -> None:
    """What is asked of which model; `words_of` says it on."""
    parser.add_argument("--model", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--at-most", type=int, default=300)
    parser.add_argument("--new-tokens", type=int, default=new_tokens)


def make_what_is_not_named(
    options: argparse.Namespace, folder: Path, made_up: Callable[[Path], Benchmark]
) -> None:
    """A small model with random weights, and `made_up` questions, where the options name none."""
    if options.model is None:
        options.model = folder / "model"
        program = (
            "from pathlib import Path; from tests.tools import tiny_model; "
            f"tiny_model.build(Path({str(options.model)!r}), size=tiny_model.LARGE)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
    if options.questions is None:
        benchmark = made_up(folder / "benchmark")
        options.questions, options.data = benchmark.questions_file, benchmark.data


def load(engine: Any) -> None:
    """Makes the engine `transformers` ready to be measured: on one thread of the CPU, and every answer of one length,
    since how long a model talks is not what is measured."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    engine.load()
    engine._model.generation_config.eos_token_id = None
    if torch.cuda.is_available():
        # What loading takes is not what answers take.
        torch.cuda.reset_peak_memory_stats()


def words_of(options: argparse.Namespace) -> list[object]:
    words: list[object] = ["--model", options.model, "--questions", options.questions, "--data", options.data]
    return [*words, "--at-most", options.at_most, "--new-tokens", options.new_tokens]


def in_a_process(module: str, words: Iterable[object]) -> str:
    """The last line of what a benchmark says with these words, so that one side's memory is not the other's."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return ended.stdout.splitlines()[-1]


def questions_with_files(path: Path, inputs: InputFiles) -> list[Question]:
    return [question for question in load_questions(path, print) if not inputs.absent(question)]


def prompts_of(
    questions: Iterable[Question], prompts: OwnPrompts | BenchmarkPrompts, inputs: InputFiles
) -> Iterator[Prompt]:
    for question in questions:
        wording = prompts.wording(question, inputs.modality, inputs.table_format)
        table = inputs.table(question)
        assert table is not None
        yield Prompt(
            question.id,
            wording.before,
            read_table(table),
            wording.after,
            question.text,
            inputs.image(question),
            inputs.table_format,
        )


def seconds_now() -> float:
    """On the CPU one thread's own time, which other work on the machine does not change."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def progress_of(name: str, answers: Iterable[Any], count: int) -> Iterator[Any]:
    """Each of so many answers as it comes; at every tenth of them says on stderr how long they took by then, so that a
    side that is killed has said something."""
    began = seconds_now()
    for number, answer in enumerate(answers, 1):
        yield answer
        if number * 10 // count > (number - 1) * 10 // count:
            print(
                f"  {name}: {number} of {count}, {seconds_now() - began:.1f} s", file=sys.stderr, flush=True
            )


def reserved_memory() -> int | None:
    """Bytes of the GPU that torch took at the most, with what lay unused between its tensors; None: there is no GPU."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else None


def peak_memory() -> int:
    """Bytes, of the GPU where there is one, else of main memory."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
