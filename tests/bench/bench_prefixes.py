"""What shared prefixes save: the same questions each from its start, and each from where the one before went the
same way; with the table first, as in our own prompts, and with the instructions first, as in the benchmark's.

As in RealHiTBench a table has about six questions of three kinds. By itself it takes a small model with random
weights and made-up tables on the CPU. Others, on a GPU if there is one:

    python -m tests.bench.bench_prefixes --model DIR --questions QA_final.json --data DIR --at-most 300
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hitui_runners.engines.base import Prompt
from hitui_runners.realhitbench.order import by_beginning
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles

from tests.bench import runner_processes
from tests.bench.runner_processes import peak_memory, prompts_of, questions_with_files, seconds_now
from tests.tools.benchmark import Benchmark, png

TABLES, ROWS = 5, 30
KINDS = ("Fact Checking",) * 3 + ("Numerical Reasoning",) * 2 + ("Structure Comprehending",)
FORMS = (("text", "html"), ("mix", "csv"))
INSTRUCTIONS_FIRST = '''
User_Prompt = """{Table}
Question: {Question}"""
Answer_Prompt = {
    "Fact Checking": "Answer from the table below with the name or the number that it gives, and with nothing else.",
    "Numerical Reasoning": "Compute the number from the cells of the table below. Answer with two decimals.",
    "Structure Comprehending": "Say how the headers of the table below nest, and what they span.",
}
'''


def main() -> None:
    options = arguments()
    if options.way:
        print(json.dumps(measured(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        (made / "prompts.py").write_text(INSTRUCTIONS_FIRST, encoding="utf-8")
        runner_processes.make_what_is_not_named(options, made, made_up)
        for modality, table_format in FORMS:
            for order in ("table first", "instructions first"):
                plain, shared = (
                    in_a_process(options, made, way, order, modality, table_format)
                    for way in ("plain", "shared")
                )
                ratio = shared["questions"] / shared["seconds"] * plain["seconds"] / plain["questions"]
                print(
                    f"{modality}/{table_format}, {order}: {plain['questions']} questions of "
                    f"{plain['tokens'] / plain['questions']:.0f} tokens; each from its start "
                    f"{plain['questions'] / plain['seconds']:.2f} a second, {plain['peak'] / 2**30:.2f} GiB; shared "
                    f"{shared['questions'] / shared['seconds']:.2f} a second ({ratio:.2f} times as many), "
                    f"{shared['peak'] / 2**30:.2f} GiB, {shared['hits']:.0%} of the prompts and "
                    f"{shared['shared_tokens'] / shared['tokens']:.0%} of their tokens from the one before; "
                    f"{sum(map(str.__eq__, plain['answers'], shared['answers']))} answers equal",
                    flush=True,
                )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    runner_processes.add_arguments(parser, new_tokens=8)
    for hidden in ("way", "order", "modality", "format", "prompts"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    return parser.parse_args(sys.argv[1:] if sys.argv[0].endswith("bench_prefixes.py") else [])


def in_a_process(
    options: argparse.Namespace, made: Path, way: str, order: str, modality: str, table_format: str
) -> dict:
    """What `measured` says, of a process of its own."""
    words = [
        *runner_processes.words_of(options),
        "--way",
        way,
        "--order",
        order,
        "--modality",
        modality,
        "--format",
        table_format,
    ]
    words += ["--prompts", made / "prompts.py"]
    return json.loads(runner_processes.in_a_process("tests.bench.bench_prefixes", words))


def measured(options: argparse.Namespace) -> dict:
    """Seconds for all questions, and what it took."""
    from hitui_runners.engines.transformers import TransformersEngine

    engine = TransformersEngine(
        options.model, 100_000, options.new_tokens, None, share_prefixes=options.way == "shared"
    )
    runner_processes.load(engine)
    prompts = list(asked(options))
    engine.answer(prompts[0])
    engine._prefixes.drop()
    computed = []
    generate = engine._model.generate

    def counted(**inputs: object) -> object:
        cache = inputs.get("past_key_values")
        computed.append(inputs["input_ids"].shape[1] - (0 if cache is None else cache.get_seq_length()))
        return generate(**inputs)

    engine._model.generate = counted
    started = seconds_now()
    replies = [engine.answer(prompt) for prompt in prompts]
    seconds = seconds_now() - started
    sizes = [reply.input_tokens for reply in replies]
    return {
        "questions": len(prompts),
        "seconds": seconds,
        "peak": peak_memory(),
        "tokens": sum(sizes),
        "shared_tokens": sum(sizes) - sum(computed),
        "hits": sum(now < whole for now, whole in zip(computed, sizes, strict=True)) / len(prompts),
        "answers": [reply.text for reply in replies],
    }


def asked(options: argparse.Namespace) -> Iterator[Prompt]:
    """The prompts in the order in which the runner asks them."""
    inputs = InputFiles(options.data, options.modality, options.format)
    own = options.order == "table first"
    prompts = OwnPrompts() if own else BenchmarkPrompts(Path(options.prompts), options.modality)
    questions = questions_with_files(options.questions, inputs)[: options.at_most]
    return prompts_of(by_beginning(questions, prompts, inputs), prompts, inputs)


def made_up(folder: Path) -> Benchmark:
    folder.mkdir()
    benchmark = Benchmark(folder)
    for number in range(TABLES):
        name = f"table{number}"
        benchmark.add_table(
            name, tuple((f"Harbour {number}-{row}", row * 37 % 101, row * 11.5) for row in range(ROWS))
        )
        (benchmark.data / "image" / f"{name}.png").write_bytes(png(320, 256, number + 1))
    for number, kind in enumerate(KINDS):
        for table in range(TABLES):
            question = f"How many boats lie in Harbour {table}-{number * 4}?"
            benchmark.ask(number * TABLES + table, f"table{table}", question, "41", kind)
    return benchmark


if __name__ == "__main__":
    main()
