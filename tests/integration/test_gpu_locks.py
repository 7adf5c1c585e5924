"""The locks that several people's hitui respect: who shares a GPU with whom, and who never does."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hitui.adapters.executors.locks import lock_gpus, lock_takers, locked_gpus, release, try_lock
from hitui.errors import LaunchError


def test_only_the_same_sharers_share(tmp_path: Path) -> None:
    first, taken = lock_gpus(tmp_path, ("GPU-1",), "1000-ours")
    assert taken is None
    second, taken = lock_gpus(tmp_path, ("GPU-1",), "1000-ours")
    assert taken is None
    for other in ("1000-another", "1001-ours", None):
        assert lock_gpus(tmp_path, ("GPU-1",), other) == ([], "GPU-1")
    release(first)
    assert lock_gpus(tmp_path, ("GPU-1",), "1000-another") == ([], "GPU-1")
    assert locked_gpus(tmp_path, ["GPU-1", "GPU-2"]) == {"GPU-1"}
    release(second)
    theirs, taken = lock_gpus(tmp_path, ("GPU-1",), "1000-another")
    assert taken is None
    assert lock_gpus(tmp_path, ("GPU-1",), "1000-ours") == ([], "GPU-1")
    release(theirs)
    alone, taken = lock_gpus(tmp_path, ("GPU-1",))
    assert taken is None
    assert lock_gpus(tmp_path, ("GPU-1",), "1000-ours") == ([], "GPU-1")
    release(alone)
    assert locked_gpus(tmp_path, ["GPU-1"]) == set()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("freed_at", range(5))
def test_who_ends_keeps_the_gpu_from_others_until_nobody_joins_him_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backwards: bool, freed_at: int
) -> None:
    """A kernel closes what a process that ends had open in the order of its numbers, or the other way round."""
    lower = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    lock, calls = fcntl.flock, itertools.count()

    def meanwhile(descriptor: int, how: int) -> None:
        # Other threads close what they have open.
        if next(calls) == freed_at:
            release(lower)
        lock(descriptor, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", meanwhile)
        held, _ = lock_gpus(tmp_path, ("GPU-1",), "1000-ours")
    assert next(calls) > 4
    for descriptor in sorted(held, reverse=backwards):
        os.close(descriptor)
        others, theirs_taken = lock_gpus(tmp_path, ("GPU-1",), "1000-another")
        ours, taken = lock_gpus(tmp_path, ("GPU-1",), "1000-ours")
        assert theirs_taken or taken
        release([*others, *ours])
    assert locked_gpus(tmp_path, ["GPU-1"]) == set()


def test_locks_are_open_to_every_user_and_those_of_sharers_to_their_own(tmp_path: Path) -> None:
    home = tmp_path / "locks"
    before = os.umask(0o077)
    try:
        held, _ = lock_gpus(home, ("GPU-1",), "1000-ours")
    finally:
        os.umask(before)
    release(held)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (home, *home.iterdir())}
    assert modes == {
        "locks": 0o1777,
        "sharing.lock": 0o666,
        "GPU-1.lock": 0o666,
        "GPU-1.1000-ours.lock": 0o600,
    }


def test_of_several_gpus_all_are_locked_or_none(tmp_path: Path) -> None:
    held, _ = lock_gpus(tmp_path, ("GPU-2",))
    assert lock_gpus(tmp_path, ("GPU-1", "GPU-2"), "1000-ours") == ([], "GPU-2")
    assert locked_gpus(tmp_path, ["GPU-1", "GPU-2"]) == {"GPU-2"}
    release(held)


def test_while_another_finds_out_whether_it_may_share_the_gpu_counts_as_taken(tmp_path: Path) -> None:
    turn = try_lock(tmp_path / "sharing.lock", 0o666)
    assert turn is not None
    assert lock_gpus(tmp_path, ("GPU-1",), "1000-ours") == ([], "GPU-1")
    release([turn])


def test_who_took_a_lock_is_seen_without_standing_in_the_way_of_whoever_takes_one(tmp_path: Path) -> None:
    assert lock_takers(tmp_path / "none", ["GPU-1"]) == {}
    held, _ = lock_gpus(tmp_path, ("GPU-1",))
    shared, _ = lock_gpus(tmp_path, ("GPU-2",), "1000-ours")
    assert lock_takers(tmp_path, ["GPU-1", "GPU-2", "GPU-3"]) == {"GPU-1": os.getpid(), "GPU-2": os.getpid()}
    assert lock_takers(tmp_path, ["GPU-1"], proc=tmp_path) == {}
    release(shared)
    release(held)
    looked = threading.Event()

    def look() -> None:
        while not looked.is_set():
            lock_takers(tmp_path, ["GPU-1"])

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(300):
            held, taken = lock_gpus(tmp_path, ("GPU-1",))
            assert taken is None
            release(held)
    finally:
        looked.set()
        looker.join()
    assert lock_takers(tmp_path, ["GPU-1"]) == {}


def test_a_lock_is_on_the_file_that_the_next_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something may clear old files away between the look at one and its lock."""
    path = tmp_path / "GPU-1.lock"
    lock = fcntl.flock
    cleared = iter([path.unlink, lambda: (path.unlink(), path.touch())])

    def late(descriptor: int, how: int) -> None:
        next(cleared, lambda: None)()
        lock(descriptor, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        held, _ = lock_gpus(tmp_path, ("GPU-1",))
    assert lock_gpus(tmp_path, ("GPU-1",)) == ([], "GPU-1")
    release(held)


def test_who_only_looks_makes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is cleared away at that very moment would come back as a file of this user's alone."""
    held, _ = lock_gpus(tmp_path, ("GPU-1",))
    release(held)
    path = tmp_path / "GPU-1.lock"
    opened = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda at, *how: (path.unlink(missing_ok=True), opened(at, *how))[1])
        assert locked_gpus(tmp_path, ["GPU-1"]) == set()
    assert not path.exists()


def test_a_lock_that_is_taken_looks_new_to_what_clears_old_files_away(tmp_path: Path) -> None:
    path = tmp_path / "GPU-1.lock"
    path.touch()
    os.utime(path, (1e9, 1e9))
    held, _ = lock_gpus(tmp_path, ("GPU-1",))
    assert path.stat().st_mtime > time.time() - 60
    release(held)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match=r"file.*set HITUI_GPU_LOCKS"):
        lock_gpus(tmp_path / "file" / "below", ("GPU-1",), "1000-ours")


USER = """
import json, os, random, sys
from pathlib import Path
from hitui.adapters.executors.locks import lock_gpus, release
home, present, sharers, seed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
dice = random.Random(seed)
got = number = 0
while got < 40:
    number += 1
    share = dice.random() < 0.8
    held, taken = lock_gpus(home, ("GPU-1",), sharers if share else None)
    if taken is not None:
        continue
    got += 1
    mark = present / f"{sharers if share else 'alone'}.{os.getpid()}.{number}"
    mark.touch()
    there = {name.partition(".")[0] for name in os.listdir(present)}
    alone = len(os.listdir(present)) == 1
    if there - {sharers if share else "alone"} or (not share and not alone):
        print(json.dumps(sorted(os.listdir(present))))
    mark.unlink()
    release(held)
"""


def test_many_at_once_never_meet_whom_they_do_not_share_with(tmp_path: Path) -> None:
    present = tmp_path / "present"
    present.mkdir()
    command = [sys.executable, "-c", USER, str(tmp_path / "locks"), str(present)]
    users = [
        subprocess.Popen([*command, name, str(seed)], stdout=subprocess.PIPE, text=True)
        for seed, name in enumerate(["1000-a", "1000-a", "1000-b", "1001-a"])
    ]
    said = [user.communicate()[0].splitlines() for user in users]
    assert said == [[]] * len(users)
    assert [user.returncode for user in users] == [0] * len(users)
