"""Processes are named from /proc, once as long as they are the same process."""

from __future__ import annotations

from pathlib import Path

from hitui.adapters.gpus.process_names import ProcessNames
from hitui.adapters.processes import Process


class Proc:
    """A /proc of files, as proc(5) describes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.living: dict[int, Process] = {}

    def names(self) -> ProcessNames:
        return ProcessNames(self.folder, self.living.get)

    def put(
        self, pid: int, start_time: int, command: bytes, uid: int = 4242, name: bytes = b"python"
    ) -> None:
        process = self.folder / str(pid)
        process.mkdir(exist_ok=True)
        self.living[pid] = Process(pid, start_time)
        (process / "status").write_text(f"Name:\tpython\nUid:\t{uid}\t0\t0\t0\n")
        (process / "cmdline").write_bytes(command)
        (process / "comm").write_bytes(name + b"\n")


def test_words_are_joined_and_what_a_terminal_would_obey_is_gone(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.put(7, 1, b"python\0train.py\0\x1b]0;title\x07\0\xff\0")
    assert proc.names().describe(7) == ("4242", "python train.py  ]0;title  \ufffd")


def test_a_process_without_words_goes_by_its_name(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.put(7, 1, b"", name=b"kworker")
    assert proc.names().describe(7) == ("4242", "[kworker]")


def test_one_that_has_no_words_yet_is_looked_at_again(tmp_path: Path) -> None:
    """As in the moment between its start and its words."""
    proc = Proc(tmp_path)
    names = proc.names()
    proc.put(7, 1, b"")
    assert names.describe(7)[1] == "[python]"
    proc.put(7, 1, b"python\0train.py")
    assert names.describe(7)[1] == "python train.py"


def test_a_reused_pid_is_another_process(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    names = proc.names()
    proc.put(7, 1, b"first")
    assert names.describe(7)[1] == "first"
    proc.put(7, 1, b"renamed")
    assert names.describe(7)[1] == "first"
    proc.put(7, 2, b"second", uid=4243)
    assert names.describe(7) == ("4243", "second")


def test_what_is_listed_no_more_is_forgotten(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    names = proc.names()
    proc.put(7, 1, b"first")
    names.describe(7)
    names.forget_all_but([])
    proc.put(7, 1, b"again")
    assert names.describe(7)[1] == "again"


def test_a_pid_of_another_container_is_nobody(tmp_path: Path) -> None:
    assert Proc(tmp_path).names().describe(4194305) == (None, None)


def test_a_process_whose_files_may_not_be_read_is_nobody(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.put(7, 1, b"first")
    (tmp_path / "7" / "status").unlink()
    (tmp_path / "7" / "cmdline").unlink()
    assert proc.names().describe(7) == (None, None)
