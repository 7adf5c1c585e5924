"""The runner against a script that asks one question at a time: the same questions in text/html, text/csv and mix/csv, every
answer of one length; questions a second and peak memory of each, and the largest table that fits.

The script's way: each prompt made and computed from its start, in the order of the question list, one at a time, tables
cut as the first results' script did. Ours: the engine `transformers` as it is by itself, with the benchmark's order of
words and with the table first. Each side runs in a process of its own.

On a GPU the model is a Qwen3-VL with the layers and widths of the 8B one, on the CPU a small one; weights are random, and
the tokenizer has learned from the tables, so that they have about as many tokens as a published model makes of them.
Questions and tables are those of RealHiTBench where they are there (see `HITUI_REALHITBENCH`), else made up; pictures are
made up. Prompts are our own words in the benchmark's order unless its prompt files are named:

    python -m tests.bench.bench_runner --questions 300 --prompts FOLDER
    python -m tests.bench.bench_runner --model DIR --forms text/html --ways script table-first

A model with random weights that is made in DIR stays there for the next time. What a side has answered by then it says on
stderr as it goes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hitui_runners.realhitbench.prompts import BenchmarkPrompts
from hitui_runners.realhitbench.questions import VISUALIZATION

from tests.bench import random_model, runner_processes
from tests.bench.bench_prefixes import made_up
from tests.bench.runner_processes import (
    peak_memory,
    progress_of,
    prompts_of,
    questions_with_files,
    reserved_memory,
    seconds_now,
)
from tests.tools.benchmark import png
from tests.tools.memory_limit import address_space, gpu_memory
from tests.tools.real_data import QUESTIONS, real_questions

FORMS = ("text/html", "text/csv", "mix/csv")
WAYS = {
    "script": ("script", "benchmark"),
    "ours": ("ours", "benchmark"),
    "table-first": ("ours", "table-first"),
}
"""Who asks, and in which order of words."""
LARGEST = "largest"
PIXELS = {"gpu": (1600, 1200), "cpu": (320, 256)}
FREE_ON_THE_CPU = 192 * 2**20
"""Bytes that a prompt may take there when the largest table is looked for."""
LARGEST_ON_GPUS = 24 * 2**30
"""Bytes of the GPU that the model and a prompt may take then: on larger ones one prompt would take minutes."""
TASKS = {
    "Fact Checking": "Find what the table below says about the question.",
    "Structure Comprehending": "Say how the headers of the table below nest, and what they span.",
    "Numerical Reasoning": "Compute the number that is asked for from the cells of the table below.",
    "Rudimentary Analysis": "Compute the figure that is asked for from the columns of the table below.",
    "Predictive Analysis": "Tell from the trend in the table below what comes next.",
    "Exploratory Analysis": "Say how two quantities of the table below depend on each other.",
    "Summary Analysis": "Sum up what the table below holds, in a few sentences.",
    "Anomaly Analysis": "Name the values of the table below that fall out of line.",
    "Visualization": "Write a program that draws the chart that is asked for from the table below.",
}
HOW = " Think of merged headers, units and footnotes first. End with one line: [Final Answer]: and then {Answer_format}."


def main() -> None:
    options = arguments()
    if options.side:
        print(json.dumps(largest(options) if options.largest else measured(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        options.gpu = on_gpu()
        prepare(options, made)
        if options.model is None:
            options.model = made / "model"
        if not options.model.exists():
            say(in_a_process(options, "--build"))
        for form in options.forms:
            measure(options, form)
        for side in ("script", "ours") if LARGEST in options.ways else ():
            if (found := of_a_side(options, f"largest table, {side}", side, "--largest")) is None:
                continue
            say(
                f"largest table, {side}: whole up to a prompt of {found['fits']} tokens, out of memory with "
                f"{found['fails']}; one of {found['rows']} rows, cut to {found['fits'] * 3 // 4} tokens, "
                + ("is answered" if found["is_cut"] else "is out of memory too")
            )


def measure(options: argparse.Namespace, form: str) -> None:
    """Puts the questions in one form to each side, and says what it took."""
    modality, _, table_format = form.partition("/")
    rates: dict[str, float] = {}
    for way in options.ways:
        if way == LARGEST:
            continue
        side, order = WAYS[way]
        name = f"{form}, {side:6}, {order:11}"
        words = ("--order", order, "--modality", modality, "--format", table_format)
        if (found := of_a_side(options, name, side, *words)) is None:
            continue
        failed = f"; {found['failed']} failed, the first with {found['failure']!r}" if found["failed"] else ""
        if not found["questions"]:
            say(f"{name}: no answers{failed}")
            continue
        rates[way] = found["questions"] / found["seconds"]
        times = f" ({rates[way] / rates['script']:5.2f} times the script's)" if "script" in rates else ""
        reserved = f" of {found['reserved'] / 2**30:.2f} taken" if found["reserved"] else ""
        say(
            f"{name}: {found['questions']} questions of "
            f"{found['tokens'] / found['questions']:6.0f} tokens, {rates[way]:6.3f} a second{times}, "
            f"{found['peak'] / 2**30:6.2f} GiB{reserved}; from the prompt before: {found['hits']:4.0%} of prompts, "
            f"{found['shared'] / found['tokens']:4.0%} of tokens{failed}"
        )


def of_a_side(options: argparse.Namespace, name: str, side: str, *words: object) -> dict[str, Any] | None:
    """What it found; None, and a line, where it broke off: what the others find is told all the same."""
    try:
        found: dict[str, Any] = json.loads(in_a_process(options, "--side", side, *words))
    except subprocess.CalledProcessError as error:
        say(f"{name}: broke off with status {error.returncode}")
        return None
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, help="how many (default: 300, and 8 on the CPU)")
    parser.add_argument("--prompts", type=Path, help="the benchmark's own prompt file, or the folder of them")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--max-input-tokens", type=int, default=100_000)
    parser.add_argument(
        "--most-characters", type=int, help="of a table in HTML (default: any, and 10000 on the CPU)"
    )
    parser.add_argument("--layers", type=int, default=4, help="of the model on the CPU (default: 4)")
    parser.add_argument(
        "--model",
        type=Path,
        help="its folder; where there is none yet, one with random weights is made (default: made, and removed again)",
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="(default: all)")
    ways = [*WAYS, LARGEST]
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, help="(default: all, in this order)")
    for hidden in ("list", "data"):
        parser.add_argument(f"--{hidden}", type=Path, help=argparse.SUPPRESS)
    for hidden in ("side", "order", "modality", "format"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    for hidden in ("build", "gpu", "largest"):
        parser.add_argument(f"--{hidden}", action="store_true", help=argparse.SUPPRESS)
    named = sys.argv[0].endswith("bench_runner.py")
    options = parser.parse_args(sys.argv[1:] if named else [])
    if options.build:
        random_model.build(options.model, options.layers, options.data, gpu=options.gpu)
        print(f"a model with random weights in {options.model}")
        sys.exit()
    return options


def say(line: str) -> None:
    print(line.strip(), flush=True)


def on_gpu() -> bool:
    program = "import torch; print(torch.cuda.is_available())"
    return subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "True"


def in_a_process(options: argparse.Namespace, *words: object) -> str:
    """The last line of what this program says with these words."""
    every = [*words, *(["--gpu"] if options.gpu else [])]
    for name in ("model", "list", "data", "prompts", "new_tokens", "max_input_tokens", "layers"):
        if getattr(options, name) is not None:
            every += [f"--{name.replace('_', '-')}", getattr(options, name)]
    return runner_processes.in_a_process("tests.bench.bench_runner", every)


def prepare(options: argparse.Namespace, made: Path) -> None:
    """Writes the list of the questions that are asked, their pictures and, where none are named, the prompts."""
    count = options.questions or (300 if options.gpu else 8)
    most = options.most_characters or (sys.maxsize if options.gpu else 10_000)
    real = real_questions()
    if real is None:
        benchmark = made_up(made / "benchmark")
        source, data = benchmark.questions_file, benchmark.data
    else:
        source, data = real / QUESTIONS, real / "data"
    listed = json.loads(source.read_bytes())
    entries = listed if isinstance(listed, list) else next(iter(listed.values()))
    options.data, options.list = made / "data", made / "asked.json"
    for name in ("html", "csv"):
        (options.data / name).mkdir(parents=True)
    (options.data / "image").mkdir()
    (options.data / "tables").symlink_to((data / "tables").resolve())
    with_pictures = any(not form.startswith("text/") for form in options.forms)
    asked: list[dict[str, Any]] = []
    tables: set[str] = set()
    for entry in entries:
        name = entry["FileName"]
        files = [data / kind / f"{name}.{kind}" for kind in ("html", "csv")]
        workbooks = [data / "tables" / f"{name}.xlsx"] if entry["QuestionType"] == VISUALIZATION else []
        is_there = all(map(Path.is_file, [*files, *workbooks]))
        if len(asked) == count or not is_there or files[0].stat().st_size > most:
            continue
        asked.append(entry)
        if name in tables:
            continue
        tables.add(name)
        if with_pictures:
            picture = options.data / "image" / f"{name}.png"
            picture.write_bytes(png(*PIXELS["gpu" if options.gpu else "cpu"], len(asked)))
        for file in files:
            (options.data / file.parent.name / file.name).symlink_to(file.resolve())
    say(
        f"{len(asked)} questions over {len(tables)} tables "
        + ("that are made up" if real is None else f"of {real}")
    )
    if not asked:
        sys.exit(f"{source}: has no question whose table is there, and small enough; see --most-characters")
    options.list.write_text(json.dumps(asked), encoding="utf-8")
    if options.prompts is None:
        options.prompts = made / "prompts.py"
        lines = ['User_Prompt = """{Table}\n\nQuestion: {Question}"""', "Answer_Prompt = {"]
        lines += [f"    {kind!r}: {task + HOW!r}," for kind, task in TASKS.items()]
        options.prompts.write_text("\n".join([*lines, "}"]), encoding="utf-8")
    for form in options.forms:
        # Read by each side; here, before a model is made for them.
        BenchmarkPrompts(options.prompts, form.partition("/")[0])


def loaded(options: argparse.Namespace) -> Any:
    """The engine of a side."""
    from hitui_runners.engines.transformers import TransformersEngine

    more = {}
    if options.side == "script":
        more = {"share_prefixes": False, "batch_tokens": 0, "truncation": "original"}
    engine = TransformersEngine(options.model, options.max_input_tokens, options.new_tokens, None, **more)
    runner_processes.load(engine)
    return engine


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for all questions, and what it took."""
    from hitui_runners.engines.base import Reply

    engine = loaded(options)
    prompts = list(asked(options))
    engine.answer(prompts[0])
    forget(engine)
    hits = 0
    computed = engine._prefixes.generate

    def counted(*prompt: Any, **options: Any) -> Any:
        nonlocal hits
        before = engine._prefixes.shared_tokens
        output = computed(*prompt, **options)
        hits += engine._prefixes.shared_tokens > before
        return output

    engine._prefixes.generate = counted
    began = seconds_now()
    name = f"{options.modality}/{options.format}, {options.side}, {options.order}"
    answers = list(progress_of(name, answered(engine, prompts, alone=options.side == "script"), len(prompts)))
    seconds = seconds_now() - began
    replies = [answer for answer in answers if isinstance(answer, Reply)]
    failures = [str(answer) for answer in answers if not isinstance(answer, Reply)]
    return {
        "questions": len(replies),
        "failed": len(failures),
        "failure": failures[0] if failures else None,
        "seconds": seconds,
        "peak": peak_memory(),
        "reserved": reserved_memory(),
        "tokens": sum(reply.input_tokens for reply in replies),
        "shared": engine._prefixes.shared_tokens,
        "hits": hits / len(prompts),
    }


def answered(engine: Any, prompts: list[Any], *, alone: bool) -> Iterator[Any]:
    """What came of each: as the runner asks, or one at a time with nothing kept of the one before."""
    waiting = deque(prompts)
    if not alone:
        for answers in engine.answer_all(waiting):
            yield from (answer for _, answer in answers)
    for prompt in waiting:
        yield engine.answer_of(prompt)
        forget(engine)


def forget(engine: Any) -> None:
    """What the engine knows of tables and pictures that it has seen."""
    engine._pictures.drop()
    engine._inputs.drop()
    engine._inputs._last = None
    engine._prefixes.drop()


def asked(options: argparse.Namespace) -> Iterator[Any]:
    """The prompts in the order in which a side asks them."""
    from hitui_runners.realhitbench.order import by_beginning
    from hitui_runners.realhitbench.prompts import BenchmarkPrompts
    from hitui_runners.realhitbench.questions import InputFiles

    inputs = InputFiles(options.data, options.modality, options.format)
    prompts = BenchmarkPrompts(options.prompts, options.modality, table_first=options.order == "table-first")
    questions = tuple(questions_with_files(options.list, inputs))
    if options.side == "ours":
        questions = by_beginning(questions, prompts, inputs)
    return prompts_of(questions, prompts, inputs)


def largest(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens of the longest prompt that was answered whole and of the first that was not; and whether one is answered
    that has more rows, cut to three quarters of the tokens that fitted."""
    options.max_input_tokens, options.new_tokens = 10_000_000, 1
    engine = loaded(options)
    engine.answer(made_prompt(8))
    forget(engine)
    with gpu_memory(LARGEST_ON_GPUS) if options.gpu else address_space(FREE_ON_THE_CPU):
        rows, fits, fails = 64, 0, 0
        while not fails:
            found = answered_tokens(engine, made_prompt(rows))
            fits, fails = (found, 0) if found > 0 else (fits, -found)
            rows *= 2
        # Closer, in eighths of the way from the last that fitted to the first that did not.
        for part in range(1, 8):
            found = answered_tokens(engine, made_prompt(rows // 4 + part * rows // 32))
            if found <= 0:
                fails = -found
                break
            fits = found
        engine._inputs._max_input_tokens = fits * 3 // 4
        is_cut = answered_tokens(engine, made_prompt(rows * 2)) > 0
    return {"fits": fits, "fails": fails, "rows": rows * 2, "is_cut": is_cut}


def made_prompt(rows: int) -> Any:
    from hitui_runners.engines.base import Prompt

    table = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(rows))
    return Prompt(
        rows, "A table follows.\n", table, "\nHow many boats lie in Saltby?", "", table_format="html"
    )


def answered_tokens(engine: Any, prompt: Any) -> int:
    """How many tokens the prompt had; negative: it was too long."""
    from hitui_runners.engines.base import TaskFailed

    forget(engine)
    try:
        return int(engine.answer(prompt).input_tokens)
    except TaskFailed as failure:
        return -(failure.input_tokens or 1)


if __name__ == "__main__":
    main()
