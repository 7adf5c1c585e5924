"""Writes the demo's workspace: tables, questions, configs in every state, a training run.

The same seed gives the same files, so that screenshots and tests can rely on them. Nothing but the demo
writes into the folder, which carries a mark from the first; a folder without it is never touched.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hitui.adapters.files.look import is_file
from hitui.demo.tables import Table, make_table, write_table
from hitui.errors import WorkspaceError

MARK = ".hitui-demo"
SETTINGS_FILE = "hitui.toml"
"""Written last: where it is, the workspace is whole."""
TABLE_COUNT = 36
ABSENT = ("river-table02", "bakery-table04")
"""Tables whose HTML and JSON files are left out, so that their tasks are blocked."""

Record = dict[str, Any]

SETTINGS = """\
# The demo's workspace. Everything in it is made up; `hitui demo --fresh` writes it anew.

[workspace]
results   = ["result"]
questions = "data/questions.json"
data      = "data"

[gpus]
exclude  = [3]          # never touch this one
min_free = "20GiB"      # memory a config needs, unless it says its own
max_utilization = 10    # percent
hold     = "2s"         # both for this long without a break

[runner.demo]           # answers by looking the words up in the table; no model, no torch
engine = "demo"
shards = 2              # a config that takes long is split over so many free GPUs

[matrix.demo_text]
runner   = "demo"
modality = ["text"]
format   = ["html", "csv", "latex", "markdown", "json"]

[matrix.demo_pic]
runner   = "demo"
modality = ["image", "mix"]
format   = ["html", "csv", "json"]

[[config]]
name   = "training/table-reader"
kind   = "hf_trainer"
output = "training/table-reader"
"""


def has_workspace(folder: Path) -> bool:
    """Whether the demo's whole workspace lies there."""
    return is_file(folder / MARK) and is_file(folder / SETTINGS_FILE)


def create_workspace(folder: Path, seed: int = 7) -> None:
    """Writes the whole workspace into `folder`, which must be absent, empty or an earlier demo.

    Raises WorkspaceError where the folder holds anything else, or cannot be written.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not is_file(folder / MARK):
                raise WorkspaceError(f"{folder}: is not empty and no demo; name another folder with --folder")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text("made by hitui demo\n", encoding="utf-8")
        _write_workspace(folder, seed)
    except OSError as error:
        raise WorkspaceError(
            f"{folder}: the demo cannot be written there: {error.strerror}; name another folder with --folder"
        ) from error


def _write_workspace(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    tables = [make_table(number, dice) for number in range(TABLE_COUNT)]
    data = folder / "data"
    for table in tables:
        write_table(table, data)
    for name in ABSENT:
        (data / "html" / f"{name}.html").unlink()
        (data / "json" / f"{name}.json").unlink()
    questions = [question for table in tables for question in _questions(table, dice)]
    for number, question in enumerate(questions, start=1):
        question["id"] = number
    questions = [{"id": question.pop("id"), **question} for question in questions]
    _write_json(data / "questions.json", {"queries": questions})
    _write_results(folder / "result", questions, dice)
    _write_training(folder / "training" / "table-reader", dice)
    (folder / SETTINGS_FILE).write_text(SETTINGS, encoding="utf-8")


def _questions(table: Table, dice: random.Random) -> list[Record]:
    body = table.rows[:-1]
    place, numbers = dice.choice(body)
    column = dice.randrange(4)
    other, _ = dice.choice(body)
    highest = max(body, key=lambda row: row[1][column])
    limit = dice.randint(500, 3000)
    heading = table.header[column + 1]
    asked: list[tuple[str, str, str, str]] = [
        (
            "Fact Checking",
            "Value-Matching",
            f"What is the value of {heading} for {place}?",
            str(numbers[column]),
        ),
        ("Fact Checking", "Multi-hop Fact Checking", f"Which place has the highest {heading}?", highest[0]),
        (
            "Numerical Reasoning",
            "Counting",
            f"How many places have more than {limit} in {heading}?",
            str(sum(row[1][column] > limit for row in body)),
        ),
        (
            "Numerical Reasoning",
            "Calculation",
            f"What is the sum of {heading} for {place} and {other}?",
            str(numbers[column] + dict(body)[other][column]),
        ),
        (
            "Structure Comprehending",
            "Structure Comprehending",
            f"How many rows of places does the table have, the total left out ({place} included)?",
            str(len(body)),
        ),
    ]
    if dice.random() < 0.25:
        values = [row[1][column] for row in body]
        chart = f"Draw a bar chart of {heading} for all places, the total left out."
        asked.append(("Visualization", "BarChart Generation", chart, str([values])))
    return [
        {
            "FileName": table.name,
            "CompStrucCata": "ColumnHeaderMerge",
            "Source": "made up",
            "Question": text,
            "QuestionType": kind,
            "SubQType": sub_kind,
            "COT": [],
            "FinalAnswer": answer,
            "ProcessedAnswer": answer,
        }
        for kind, sub_kind, text, answer in asked
    ]


def _answer(question: Record, dice: random.Random) -> Record:
    right = dice.random() < 0.6
    return _result(question, question["FinalAnswer"] if right else str(dice.randint(1, 5000)), dice)


def _result(question: Record, prediction: str, dice: random.Random) -> Record:
    return {
        **{key: question[key] for key in ("id", "FileName", "QuestionType", "SubQType", "Question")},
        "Reference": question["FinalAnswer"],
        "Prediction": prediction,
        "Metrics": {},
        "ProcessingTime": round(dice.uniform(0.2, 0.6), 2),
        "Engine": "demo",
    }


def _write_results(result: Path, questions: Sequence[Record], dice: random.Random) -> None:
    """Configs in different states: whole, with errors, broken off, in shards, never run."""

    def present(question: Record) -> bool:
        return question["FileName"] not in ABSENT

    def results(keep: Callable[[Record], bool], failing: dict[int, str] | None = None) -> list[Record]:
        failed = failing or {}
        return [
            _result(question, failed[question["id"]], dice)
            if question["id"] in failed
            else _answer(question, dice)
            for question in questions
            if keep(question)
        ]

    def write(config: str, rows: list[Record], name: str = "results.json") -> None:
        _write_json(result / config / name, {"config": {"engine": "demo"}, "results": rows})

    long_tables = sorted({question["FileName"] for question in questions})[4:7]
    too_large = {
        question["id"]: f"[ERROR] OOM: Text too large ({334_159 + question['id']} tokens)"
        for question in questions
        if question["FileName"] in long_tables
    }
    write("demo_text/text_html", results(present, too_large))
    write("demo_text/text_csv", results(lambda question: question["id"] <= 121))
    write("demo_text/text_json", results(present))
    no_answer = dict.fromkeys((18, 77, 140), "[ERROR] Failed to get proper final answer format")
    write("demo_text/text_markdown", results(lambda question: question["id"] != 150, no_answer))
    write("demo_pic/image", results(lambda question: True))
    too_wide = dict.fromkeys((44, 45), "[ERROR] OOM: Image too large ((7448, 4353))")
    write("demo_pic/mix_csv", results(lambda question: True, too_wide))
    half = len(questions) // 2
    for shard, keep in enumerate(
        (lambda question: question["id"] <= half, lambda question: question["id"] > half)
    ):
        rows = results(lambda question, keep=keep: present(question) and keep(question))  # type: ignore[misc]
        snapshot = {"results": rows, "processed_ids": [row["id"] for row in rows]}
        _write_json(result / "demo_pic" / f"mix_json_shard{shard}" / "checkpoint.json", snapshot)


def _write_training(folder: Path, dice: random.Random) -> None:
    """A Trainer folder of 1,200 steps that stopped at 800 while its newest checkpoint was being written."""
    history = []
    loss = 2.6
    for step in range(10, 801, 10):
        loss = max(0.2, loss * dice.uniform(0.94, 1.02))
        history.append(
            {
                "epoch": round(step / 400, 3),
                "learning_rate": 5e-5 * (1 - step / 1200),
                "loss": round(loss, 4),
                "step": step,
            }
        )
    for step in (400, 800):
        checkpoint = folder / f"checkpoint-{step}"
        state = {
            "epoch": step / 400,
            "global_step": step,
            "log_history": [entry for entry in history if entry["step"] <= step],
            "logging_steps": 10,
            "max_steps": 1200,
            "num_train_epochs": 3,
            "save_steps": 400,
        }
        _write_json(checkpoint / "trainer_state.json", state)
        _write_safetensors(checkpoint / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            with zipfile.ZipFile(checkpoint / name, "w") as archive:
                archive.writestr("archive/data.pkl", b"")
    # What a killed save leaves behind: the file is there, its end is not.
    optimizer = folder / "checkpoint-800" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:40])


def _write_safetensors(path: Path) -> None:
    """One tensor of four zeros (format: length of the header, JSON header, data)."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    hours_ago = time.time() - 3600 * 5
    os.utime(path, (hours_ago, hours_ago))
