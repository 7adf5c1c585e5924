"""The dashboard, the runner, the merged file and the scores read the same files by code of their own, and agree: on random
folders with each other, and with the rules of truth written down once more."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.questions import InputFiles, load_questions
from hitui_runners.realhitbench.rescoring import Notes
from hitui_runners.realhitbench.results import Unreadable, is_error, load_results, result_files, task_id
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.realhitbench.units import Unit, results_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.journal import Journal
from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.adapters.checkpoints.results_file import read_results_file
from hitui.domain.tasks import TaskStatus
from hitui.errors import WorkspaceError
from hitui.services.merging import merge_results
from hitui.settings import Settings
from tests.tools.results import write_dataset, write_questions

QUESTIONS = range(1, 6)
FIRST = 10**18
"""When the first file was written, in ns since the epoch; each later one comes a second after the one before."""
FOLDERS = ("text_html", "text_html_shard0", "text_html_shard1", "text_html_sc")
NAMES = ("checkpoint", "checkpoint_batch", "results", "results_new")
TOO_LARGE = "[ERROR] OOM: Text too large (200000 tokens)"

ids = st.sampled_from([*QUESTIONS, *map(str, QUESTIONS), *map(float, QUESTIONS), 99])
texts = st.sampled_from(["", "7", "seven é", "[ERROR] boom", "[ERROR] no final answer", TOO_LARGE])
results = st.fixed_dictionaries(
    {"id": ids, "Prediction": texts},
    optional={
        "ProcessingTime": st.sampled_from([1.5, None, float("nan"), "long"]),
        "Recovery": st.sampled_from([None, {}, {"rung": 1}, {"rung": 4}]),
        "Metrics": st.sampled_from([{"F1": float("nan")}, {}, None]),
    },
)
once_each = st.lists(results, max_size=5, unique_by=lambda result: int(result["id"]))
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
foreign = st.tuples(
    st.just("foreign"), st.sampled_from(FOLDERS), st.sampled_from(NAMES), once_each, encodings, st.booleans()
)
runs = st.tuples(
    st.just("run"), st.lists(texts, max_size=len(QUESTIONS)), st.sampled_from(["end", "kill", "tear"])
)


class World:
    """A workspace, and what the rules say of it: when each result came is known here, and not only in which file it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / "result" / "g" / "text_html"
        self.output.mkdir(parents=True)
        self._now = FIRST
        self._written = 0
        self._came: list[tuple[int, str, dict[str, Any]]] = []
        write_questions(root / "data" / "questions.json", QUESTIONS)
        write_dataset(root / "data", [f"table{task}" for task in QUESTIONS])
        (root / "data" / "html" / "table5.html").unlink()

    def write(
        self, folder: str, name: str, found: list[dict[str, Any]], encoding: str, same_time: bool
    ) -> None:
        """A program that is none of ours writes a file, at the time of the one before or later."""
        if name != "checkpoint" or (self.output.with_name(folder) / "checkpoint.json").exists():
            self._written += 1
            name = f"results_{self._written}_{name}"
        path = self.output.with_name(folder) / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(json.dumps(found).encode(encoding))
        self._now += 0 if same_time else 10**9
        os.utime(path, ns=(self._now, self._now))
        self._came += [(self._now, str(path), result) for result in found]

    def run(self, predictions: list[str], end: str) -> None:
        """Our runner asks what is pending, as far as there are answers, and ends somehow."""
        store = self.store()
        pending = [task for task in QUESTIONS if task != 5 and not store.is_answered(task)]
        asked = [{"id": task, "Prediction": text} for task, text in zip(pending, predictions, strict=False)]
        for result in asked:
            store.append(result)
        if end == "end":
            store.save_snapshot()
        store.close()
        journal = self.output / "results.jsonl"
        if end == "tear" and asked:
            with journal.open("ab") as file:
                file.write(b'{"id": 1, "Predi')
        # What it has just written has the time of the machine.
        for path in (journal, self.output / "checkpoint.json"):
            if path.exists() and path.stat().st_mtime_ns > FIRST + 10**17:
                self._now += 10**9
                os.utime(path, ns=(self._now, self._now))
                if path == journal:
                    self._came += [(self._now, str(path), result) for result in asked]

    def counting(self) -> dict[int, dict[str, Any]]:
        """DESIGN, rules of truth: a success is never replaced by an error, otherwise the later result wins."""
        found: dict[int, dict[str, Any]] = {}
        for _, _, result in sorted(self._came, key=lambda each: each[:2]):
            task = int(result["id"])
            if task not in found or is_error(found[task]) or not is_error(result):
                found[task] = result
        return found

    def store(self) -> ResultStore:
        return ResultStore(self.output, lambda line: None, [self.output.with_name(name) for name in FOLDERS])

    def check(self) -> None:
        counting = self.counting()
        answers = {task: each["Prediction"] for task, each in counting.items() if not is_error(each)}
        failed = counting.keys() - answers.keys() - {5, 99}
        catalogue = Catalogue(Settings(root=self.root))
        if not any(self.output.parent.glob("*/*.json*")):
            return
        reading = catalogue.read(catalogue.find("g/text_html"))
        by_status = {
            status: {task.id for task in reading.tasks if task.status is status} for status in TaskStatus
        }
        done = answers.keys() & set(QUESTIONS)
        assert by_status[TaskStatus.DONE] == done
        assert by_status[TaskStatus.ERROR] == failed
        assert by_status[TaskStatus.BLOCKED] == {5} - done
        assert by_status[TaskStatus.MISSING] == set(QUESTIONS) - done - failed - {5}

        files = result_files([self.output.with_name(name) for name in FOLDERS])
        scored = results_of(
            Unit("all", files, self.output / "scores.json"), Notes(), lambda line: None, pytest.fail
        )
        assert scored is not None
        assert {result["id"]: result["Prediction"] for result in scored[0] if not is_error(result)} == answers
        if counting:
            merged = self.root / "merged.json"
            merge_results(reading, merged)
            found, _ = load_results(merged, pytest.fail)
            assert sorted(int(result["id"]) for result in found) == sorted(counting)
            assert {int(each["id"]): each["Prediction"] for each in found if not is_error(each)} == answers

        with self._untouched():
            store = self.store()
            known = {task: store.result(task) for task in (*QUESTIONS, 99)}
            store.close()
        ran = {
            task: each["Prediction"]
            for task, each in known.items()
            if each is not None and not is_error(each)
        }
        assert ran == answers
        for task in reading.tasks:
            if task.status is TaskStatus.ERROR:
                result = known[int(task.id)]
                assert result is not None
                assert (result["Prediction"], (result.get("Recovery") or {}).get("rung", 0)) == (
                    task.reason,
                    task.rung,
                )

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Whoever opens a folder to write there mends its journal: here only to see what it would say."""
        journal = self.output / "results.jsonl"
        before = (journal.read_bytes(), journal.stat().st_mtime_ns) if journal.exists() else None
        yield
        if before is None:
            journal.unlink()
        elif journal.read_bytes() != before[0]:
            journal.write_bytes(before[0])
            os.utime(journal, ns=(before[1], before[1]))


@settings(max_examples=40, derandomize=True)
@given(st.lists(foreign, min_size=1, max_size=3), st.lists(st.one_of(runs, foreign), max_size=4))
def test_whatever_programs_write_and_in_which_order_all_say_the_same(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root))
        for kind, *step in (*before, *after):
            if kind == "run":
                world.run(*step)
            else:
                world.write(*step)
            world.check()


def by_dashboard(path: Path) -> object:
    try:
        reading = Journal(path).read() if path.suffix == ".jsonl" else read_results_file(path)
    except UnreadableFile:
        return None
    return set(reading.answered), {
        task: text for task, text in reading.errors.items() if task not in reading.answered
    }


def by_runner(path: Path) -> object:
    try:
        found, _ = load_results(path, lambda line: None)
    except Unreadable:
        return None
    answered = {task_id(result) for result in found if not is_error(result)}
    errors = {task_id(result): result["Prediction"] for result in found if is_error(result)}
    return answered, {task: text for task, text in errors.items() if task not in answered}


odd = st.sampled_from(
    [b"\xff", b"\xc3", b"\0", b"\r", b"\n", b"\xef\xbb\xbf", b",", b"}", b"]", b'"', b"\\", b"\\ud800", b"NaN",
     b"1e999", b"9" * 5000, b"\x0b", b"\x85", b"\xe2\x80\xa8", b'"id": 3, ', b"\x7f"]
)  # fmt: skip


@settings(max_examples=300, derandomize=True)
@given(once_each, st.booleans(), st.lists(st.tuples(st.floats(0, 1), odd), max_size=2), st.floats(0.5, 1.5))
def test_of_a_damaged_file_both_sides_read_the_same(
    found: list[dict[str, Any]], is_journal: bool, damage: list[tuple[float, bytes]], length: float
) -> None:
    lines = [{**result, "Question": "Wie groß?"} for result in found]
    if is_journal:
        # A whole one at its head: what has more useless lines than results from its first one on is no journal at all.
        whole = [{"id": 7, "Prediction": "first"}] * 9
        content = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        head = b"".join(json.dumps(line).encode() + b"\n" for line in whole)
    else:
        content, head = json.dumps({"results": lines}, ensure_ascii=False).encode(), b""
    for place, text in damage:
        at = int(place * len(content))
        content = content[:at] + text + content[at:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("results.jsonl" if is_journal else "results.json")
        path.write_bytes(head + content[: int(length * len(content))])
        assert by_dashboard(path) == by_runner(path)


ONE = b'{"id": 1, "Prediction": "7"}'


@pytest.mark.parametrize(
    ("content", "answered"),
    [
        (ONE + b'\n{"id": 2, "Prediction": "7", "Question": "\xff"}\n', {1, 2}),
        (ONE + b'\n{"id": 2, "Prediction": "7", "Score": NaN, "Question": "\xff"}\n', {1, 2}),
        (ONE + b'\n{"id": 2, "Prediction": "\xff"}\n', {1}),
        (ONE + b'\n{"id": 2, "Prediction": "7", "Seed": ' + b"9" * 5000 + b"}\n", {1, 2}),
        (ONE + b'\n{"id": 2, "Prediction": "7", "Score": NaN, "Seed": ' + b"9" * 5000 + b"}\n", {1, 2}),
        (ONE + b'\n{"id": 2,\r"Prediction": "7"}\n', {1, 2}),
        (ONE + b'\r\n{"id": 2, "Prediction": "7"}\r\n', {1, 2}),
        (ONE + b'\n{"id": 2, "Prediction": "7"}\r{"id": 3, "Prediction": "7"}\n', {1}),
        (b"\xef\xbb\xbf" + ONE + b"\n", {1}),
        (b"[" + ONE + b', {"id": 2, "Prediction": "7", "Question": "\xc3"}]', {1, 2}),
        (b'{"results": [' + ONE + b'], "seed": ' + b"9" * 5000 + b"}", {1}),
        (b'{"results": [' + ONE + b'], "mean": NaN, "seed": ' + b"9" * 5000 + b"}", {1}),
        (b"[" + ONE + b', {"id": 2, "Prediction": "\xc3"}]', None),
        (("[" + ONE.decode() + "]\n").encode("utf-16"), {1}),
        (('{"results": [' + ONE.decode() + "]}").encode("utf-16-be"), {1}),
        (("[" + ONE.decode() + "]").encode("utf-32"), {1}),
        (("[" + ONE.decode()).encode("utf-16"), None),
    ],
    ids=itertools.count(),
)
def test_what_is_no_plain_json_is_read_alike(
    tmp_path: Path, content: bytes, answered: set[int] | None
) -> None:
    is_journal = content.endswith((b"}\n", b"}\r\n"))
    path = tmp_path / "result" / "g" / "text_html" / ("results.jsonl" if is_journal else "results.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert by_dashboard(path) == by_runner(path) == (None if answered is None else (answered, {}))
    catalogue = Catalogue(Settings(root=tmp_path))
    reading = catalogue.read(catalogue.find("g/text_html"))
    if answered is None:
        with pytest.raises(WorkspaceError, match="nothing merged"):
            merge_results(reading)
    else:
        merge_results(reading, tmp_path / "merged.json")
        assert by_runner(tmp_path / "merged.json") == (answered, {})


def test_the_tasks_that_a_run_asks_are_the_pending_ones(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write(
        "text_html",
        "results",
        [{"id": 1, "Prediction": "7"}, {"id": 2, "Prediction": "[ERROR] x"}],
        "utf-8",
        False,
    )
    catalogue = Catalogue(Settings(root=tmp_path))
    reading = catalogue.read(catalogue.find("g/text_html"))
    inputs = InputFiles(tmp_path / "data", "text", "html")
    store = world.store()
    asked = [
        question.id
        for question in load_questions(tmp_path / "data" / "questions.json", pytest.fail)
        if not inputs.absent(question) and not store.is_answered(question.id)
    ]
    store.close()
    assert asked == [task.id for task in reading.tasks if task.pending] == [2, 3, 4]
