"""What batches save: the same short questions each alone from its start, each from what it shares with the one before,
and several together. By itself it takes a small model with random weights and made-up tables on the CPU. Others, on a GPU
if there is one:

    python -m tests.bench.bench_batches --model DIR --questions QA_final.json --data DIR --at-most 300
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from hitui_runners.engines.base import Prompt, Reply
from hitui_runners.realhitbench.order import by_beginning
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles

from tests.bench import runner_processes
from tests.bench.bench_prefixes import KINDS
from tests.bench.runner_processes import peak_memory, prompts_of, questions_with_files, seconds_now
from tests.tools.benchmark import Benchmark

WAYS = {"alone": (False, 0), "shared": (True, 0), "together": (True, None)}
"""Whether beginnings are shared, and the budget of a batch."""
TABLES, MOST_ROWS = 4, 16


def main() -> None:
    options = arguments()
    if options.way:
        print(json.dumps(measured(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        runner_processes.make_what_is_not_named(options, made, made_up)
        alone = None
        for way in WAYS:
            found = in_a_process(options, way)
            alone = alone or found
            answered = sorted(found["answers"].items())
            print(
                f"text/{options.format}, {way}: {len(answered)} questions of {found['tokens'] / len(answered):.0f} "
                f"tokens, {found['new'] / len(answered):.0f} new ones each ({found['most']} at the most), "
                f"{found['calls']} calls; "
                f"{len(answered) / found['seconds']:.2f} a second ({alone['seconds'] / found['seconds']:.2f} times as "
                f"many), {found['peak'] / 2**30:.2f} GiB; "
                f"{sum(alone['answers'][name] == answer for name, answer in answered)} answers equal",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    runner_processes.add_arguments(parser, new_tokens=32)
    parser.add_argument("--format", default="csv")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument(
        "--ends-every", type=int, help="every so-manieth word ends an answer (default: none does)"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args(sys.argv[1:] if sys.argv[0].endswith("bench_batches.py") else [])


def in_a_process(options: argparse.Namespace, way: str) -> dict:
    """What `measured` says, of a process of its own."""
    words = [*runner_processes.words_of(options), "--way", way, "--format", options.format]
    if options.batch_tokens is not None:
        words += ["--batch-tokens", options.batch_tokens]
    if options.ends_every is not None:
        words += ["--ends-every", options.ends_every]
    return json.loads(runner_processes.in_a_process("tests.bench.bench_batches", words))


def measured(options: argparse.Namespace) -> dict:
    """Seconds for all questions, and what it took."""
    from hitui_runners.engines.transformers import TransformersEngine

    share, tokens = WAYS[options.way]
    engine = TransformersEngine(
        options.model,
        100_000,
        options.new_tokens,
        None,
        share_prefixes=share,
        batch_tokens=options.batch_tokens if tokens is None else tokens,
    )
    runner_processes.load(engine)
    if options.ends_every is not None:
        # A model may know more than its tokenizer has words for.
        words = engine._model.config.text_config.vocab_size
        engine._model.generation_config.eos_token_id = list(range(0, words, options.ends_every))
    waiting = deque(asked(options))
    engine.answer(waiting[0])
    engine._prefixes.drop()
    generate = engine._model.generate
    calls = 0

    def counted(**inputs: object) -> object:
        nonlocal calls
        calls += 1
        return generate(**inputs)

    engine._model.generate = counted
    replies: dict[str, Reply] = {}
    started = seconds_now()
    for came in engine.answer_all(waiting):
        replies |= {str(prompt.task_id): reply for prompt, reply in came}
    seconds = seconds_now() - started
    return {
        "seconds": seconds,
        "peak": peak_memory(),
        "calls": calls,
        "tokens": sum(reply.input_tokens for reply in replies.values()),
        "new": sum(reply.output_tokens for reply in replies.values()),
        "most": max(reply.output_tokens for reply in replies.values()),
        "answers": {name: reply.text for name, reply in replies.items()},
    }


def asked(options: argparse.Namespace) -> Iterator[Prompt]:
    """The prompts in the order in which the runner asks them."""
    inputs, prompts = InputFiles(options.data, "text", options.format), OwnPrompts()
    questions = questions_with_files(options.questions, inputs)[: options.at_most]
    return prompts_of(by_beginning(questions, prompts, inputs), prompts, inputs)


def made_up(folder: Path) -> Benchmark:
    folder.mkdir()
    benchmark = Benchmark(folder)
    for number in range(TABLES):
        rows = 2 + number * (MOST_ROWS - 2) // (TABLES - 1)
        benchmark.add_table(
            f"table{number}",
            tuple((f"Harbour {number}-{row}", row * 37 % 101, row * 11.5) for row in range(rows)),
        )
    for number, kind in enumerate(KINDS):
        for table in range(TABLES):
            question = f"How many boats lie in Harbour {table}-{number}?"
            benchmark.ask(number * TABLES + table, f"table{table}", question, "41", kind)
    return benchmark


if __name__ == "__main__":
    main()
