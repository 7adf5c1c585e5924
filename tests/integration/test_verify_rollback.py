"""verify and rollback as a user runs them."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints.reading import Reading
from hitui.domain.configs import Config, ConfigState
from hitui.errors import WorkspaceError
from hitui.services.rollback import roll_back
from hitui.services.verification import verify
from tests.tools.results import answer, append_lines, failure, write_results, write_workspace
from tests.tools.sandbox import Sandbox


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def sandbox(tmp_path: Path, workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


@pytest.fixture
def output(workspace: Path) -> Path:
    return workspace / "result" / "g" / "text_html"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestVerify:
    def test_whole_and_not_whole(self, sandbox: Sandbox) -> None:
        assert sandbox.hitui("verify", "image").returncode == 0
        run = sandbox.hitui("verify", "image", "text_html")
        assert run.returncode == 1
        assert run.stdout.splitlines() == [
            "g/image: whole, 8 of 8 tasks done",
            "g/text_html: not whole, 2 of 8 tasks done",
            "  3 failed: 3, 4, 5",
            "  2 without a result: 6, 7",
            "  1 blocked, an input file is absent: 8",
        ]
        assert sandbox.hitui("verify", "nothing").returncode == 3

    def test_a_rerun_is_named_only_where_one_would_start(self, sandbox: Sandbox, output: Path) -> None:
        assert sandbox.hitui("verify", "text_html").stderr == (
            "hitui: not whole: g/text_html; `hitui rerun` runs what is pending\n"
        )
        (output / "results.jsonl").mkdir()
        held_back = sandbox.hitui("verify", "text_html")
        assert held_back.returncode == 1
        assert held_back.stderr == "hitui: not whole: g/text_html\n"

    def test_what_is_blocked_is_no_defect(self, sandbox: Sandbox, output: Path) -> None:
        append_lines(output / "results.jsonl", [answer(task) for task in range(3, 8)])
        (verdict,) = json.loads(sandbox.hitui("verify", "text_html", "--json").stdout)
        assert (verdict["whole"], verdict["blocked"]) == (True, [8])

    def test_twice_and_unknown_ids(self, sandbox: Sandbox, output: Path) -> None:
        append_lines(
            output / "results.jsonl", [*(answer(task) for task in range(3, 8)), answer(4), answer(77)]
        )
        run = sandbox.hitui("verify", "text_html")
        assert run.returncode == 1
        assert "  1 not in the question list: 77" in run.stdout
        assert "  1 more than once in result/g/text_html/results.jsonl: 4" in run.stdout

    def test_a_retry_in_the_journal_is_not_twice(self, sandbox: Sandbox, output: Path) -> None:
        append_lines(output / "results.jsonl", [failure(3), *(answer(task) for task in range(3, 8))])
        assert sandbox.hitui("verify", "text_html").returncode == 0

    def test_an_unreadable_file(self, sandbox: Sandbox, workspace: Path) -> None:
        (workspace / "result" / "g" / "image" / "results.json").write_text("{")
        run = sandbox.hitui("verify", "image")
        assert run.returncode == 1
        assert "is not whole JSON" in run.stdout

    @pytest.mark.parametrize(
        ("known", "defects"),
        [
            ({"unit": "steps", "total": 10, "done": 10, "updated": 1.0}, ()),
            (
                {"unit": "steps", "total": 10, "done": 7, "missing": 3, "updated": 1.0},
                ("3 of 10 steps missing",),
            ),
            ({"unit": "steps", "total": 10, "missing": 10}, ("no results yet", "10 of 10 steps missing")),
            ({"done": 3, "updated": 1.0}, ("no question list",)),
            ({"problems": ("results.json is not whole JSON",)}, ("is not whole JSON",)),
        ],
    )
    def test_what_is_said_by_the_counts_alone(self, known: dict[str, Any], defects: tuple[str, ...]) -> None:
        config = Config("c", "hf_trainer", ("/c",), "/c")
        verdict = verify(Reading(ConfigState(config, scanned=True, **known)))
        assert len(verdict.defects) == len(defects)
        assert all(part in defect for part, defect in zip(defects, verdict.defects, strict=True))


class TestRollback:
    def test_brings_the_snapshot_back_and_keeps_ours(self, sandbox: Sandbox, output: Path) -> None:
        before = contents(output)
        theirs = write_results(output / "checkpoint.json", [answer(1), failure(3)]).read_bytes()
        shutil.copyfile(output / "checkpoint.json", output / "checkpoint.json.before-hitui")
        ours = write_results(
            output / "checkpoint.json", [answer(1), answer(3)], written_by="hitui"
        ).read_bytes()
        journal = append_lines(output / "results.jsonl", [answer(3)]).read_bytes()
        run = sandbox.hitui("rollback", "text_html")
        assert run.returncode == 0, run.stderr
        now = contents(output)
        (folder,) = {Path(name).parent.name for name in now if "/" in name}
        assert re.fullmatch(r"\.hitui-rolled-back-\d{8}T\d{6}Z", folder)
        where = "result/g/text_html"
        assert run.stdout.splitlines() == [
            f"g/text_html: results.jsonl, checkpoint.json moved to {where}/{folder}",
            f"g/text_html: {where}/checkpoint.json is again the one from before the first rerun",
        ]
        assert now == {
            **before,
            "checkpoint.json": theirs,
            f"{folder}/checkpoint.json": ours,
            f"{folder}/results.jsonl": journal,
        }
        assert [row["done"] for row in sandbox.json("ls")] == [8, 2]
        assert "nothing to roll back" in sandbox.hitui("rollback", "text_html").stdout
        assert contents(output) == now

    def test_scores_of_what_it_takes_away_go_with_it(self, output: Path) -> None:
        shard = output.with_name("text_html_shard0")
        append_lines(shard / "results.jsonl", [answer(3)])
        write_results(output / "results.json", [answer(1)])
        scores = {"written_by": "hitui", "aggregate_metrics": {"overall": {"EM": 50.0}}}
        sources = {
            "scores.json": ["results.json", "../text_html_shard0/results.jsonl"],
            "scores_results.json": ["results.json"],
        }
        for name, files in sources.items():
            (output / name).write_text(json.dumps({**scores, "sources": files}))
        (output / "scores_theirs.json").write_text('{"sources": ["../text_html_shard0/results.jsonl"]}')
        roll_back(Config("g/text_html", "realhitbench", (str(output), str(shard)), str(output)))
        assert sorted(path.name for path in output.glob("scores*")) == [
            "scores_results.json",
            "scores_theirs.json",
        ]
        assert [path.name for path in output.glob(".hitui-rolled-back-*/*")] == ["scores.json"]

    def test_a_snapshot_of_ours_where_there_was_none(self, sandbox: Sandbox, output: Path) -> None:
        before = contents(output)
        results = [answer(task) for task in range(400)]
        (output / "checkpoint.json").write_text(
            json.dumps({"results": results, "processed_ids": [], "written_by": "hitui"})
        )
        append_lines(output / "results.jsonl", [answer(3)])
        assert sandbox.hitui("rollback", "text_html").returncode == 0
        assert {name: content for name, content in contents(output).items() if "/" not in name} == before

    def test_a_foreign_checkpoint_alone_is_not_touched(self, sandbox: Sandbox, output: Path) -> None:
        write_results(output / "checkpoint.json", [answer(1)])
        before = contents(output)
        assert "nothing to roll back" in sandbox.hitui("rollback", "text_html").stdout
        assert contents(output) == before

    def test_moves_later_copies_along_and_nothing_that_is_not_of_runs(self, tmp_path: Path) -> None:
        folder = tmp_path / "text_html"
        config = Config("text_html", "realhitbench", (str(folder), str(tmp_path / "gone")), str(folder))
        mark = '{"written_by": "hitui"}'
        foreign = {"mine.json": mark, "skip_ids.json": "new", "skip_ids.json.before-hitui": "old"}
        copies = ("checkpoint.json.before-hitui-2", "results.json.before-hitui-2")
        ours = {"checkpoint.json": mark, "results.json": mark, **dict.fromkeys(copies, "later")}
        folder.mkdir()
        # Of this one a rollback that was cut short has moved the snapshot itself.
        ours["checkpoint_batch.json.before-hitui-2"] = "later"
        replaced = ("checkpoint.json", "checkpoint_batch.json")
        theirs = {f"{name}.before-hitui": "theirs" for name in replaced}
        for name, text in {**foreign, **ours, **theirs}.items():
            (folder / name).write_text(text)
        (done,) = roll_back(config)
        assert (sorted(done.moved), done.restored) == (sorted(ours), replaced)
        now = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
        assert now == {**foreign, **dict.fromkeys(replaced, "theirs")}

    def test_one_of_the_same_second_keeps_what_the_one_before_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "hitui.services.rollback.time.gmtime", lambda: time.struct_time((2026,) + (1,) * 8)
        )
        config = Config("text_html", "realhitbench", (str(tmp_path),), str(tmp_path))
        for text in "abc":
            (tmp_path / "results.jsonl").write_text(text)
            (done,) = roll_back(config)
        assert done.kept_in is not None
        assert sorted(path.read_text() for path in done.kept_in.iterdir()) == ["a", "b", "c"]
        # Where there is no room for it nothing is moved.
        done.kept_in.rename(tmp_path / "kept")
        done.kept_in.touch()
        (tmp_path / "results.jsonl").write_text("d")
        with pytest.raises(WorkspaceError, match="cannot be rolled back: File exists; "):
            roll_back(config)
        assert (tmp_path / "results.jsonl").read_text() == "d"

    def test_shards_and_merged_files_go_too(self, sandbox: Sandbox, output: Path) -> None:
        theirs = output.with_name("text_html_merged") / "checkpoint_merged.json"
        write_results(theirs, [answer(1)])
        write_results(output.with_name("text_html_shard0") / "checkpoint.json", [answer(2)])
        before = contents(output.parent)
        append_lines(output.with_name("text_html_shard0") / "results.jsonl", [answer(3)])
        append_lines(output.with_name("text_html_shard1") / "results.jsonl", [answer(4)])
        assert sandbox.hitui("merge", "text_html").returncode == 0
        assert sandbox.json("ls")[1]["done"] == 4
        run = sandbox.hitui("rollback", "text_html")

        assert run.returncode == 0, run.stderr
        assert "text_html_merged/checkpoint_merged.json is again the one from before" in run.stdout
        now = contents(output.parent)
        assert {name: now[name] for name in now if ".hitui-rolled-back-" not in name} == before
        assert sorted(Path(name).name for name in now.keys() - before.keys()) == [
            "checkpoint_merged.json",
            "results.jsonl",
            "results.jsonl",
        ]
        assert sandbox.json("ls")[1]["done"] == 2

    def test_one_shard_that_is_written_holds_all_of_it_back(self, sandbox: Sandbox, output: Path) -> None:
        append_lines(output / "results.jsonl", [answer(3)])
        journal = append_lines(output.with_name("text_html_shard1") / "results.jsonl", [answer(4)])
        before = contents(output.parent)
        with journal.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            run = sandbox.hitui("rollback", "text_html")
        assert run.returncode == 1
        assert "text_html_shard1/results.jsonl: a runner is writing it" in run.stderr
        assert contents(output.parent) == before

    def test_is_refused_while_a_runner_writes(self, sandbox: Sandbox, output: Path) -> None:
        journal = append_lines(output / "results.jsonl", [answer(3)])
        before = contents(output)
        with journal.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            run = sandbox.hitui("rollback", "text_html")
        assert run.returncode == 1
        assert "a runner is writing it; stop that first" in run.stderr
        assert contents(output) == before

    def test_is_refused_while_a_job_is_on_it(self, sandbox: Sandbox, output: Path) -> None:
        sandbox.settings('[gpus]\nhold = "0s"\n[runner.demo]\nengine = "demo"\n')
        before = contents(output)
        started = sandbox.hitui("rerun", "text_html", env={"HITUI_DEMO_SECONDS": "60"})
        assert started.returncode == 0, started.stderr
        run = sandbox.hitui("rollback", "text_html")
        assert run.returncode == 1
        assert re.search(r"g/text_html: job 1 is \w+ on it; `hitui stop 1` first", run.stderr)
        row = sandbox.json("ls")[1]
        assert (row["job"], row["state"] in ("queued", "starting", "running")) == (1, True)
        assert {"gpus", "rate", "eta_seconds"} <= row.keys()
        assert before.items() <= contents(output).items()
