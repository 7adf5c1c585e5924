"""Changes of files come as events, by inotify and by looking."""

from __future__ import annotations

import errno
import queue
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.files.watch import Watcher, inotify_sees


class Said:
    """The folders that a watcher named; waits for one of them."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[frozenset[Path]] = queue.SimpleQueue()

    def wait_for(self, folder: Path) -> None:
        while folder not in self.queue.get(timeout=20):
            pass


def no_observer() -> Any:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.fixture(params=["inotify", "polling"])
def watcher(request: pytest.FixtureRequest, said: Said) -> Iterator[Watcher]:
    make = {} if request.param == "inotify" else {"make_observer": no_observer}
    watcher = Watcher(said.queue.put, lambda name: name.endswith(".json"), poll_seconds=0.02, **make)
    yield watcher
    watcher.close()


@pytest.fixture
def said() -> Said:
    return Said()


def test_a_new_a_changed_a_replaced_and_a_removed_file(tmp_path: Path, watcher: Watcher, said: Said) -> None:
    folder = tmp_path / "g" / "text_html"
    folder.mkdir(parents=True)
    assert watcher.watch([tmp_path / "g", folder])
    assert not watcher.watch([folder, tmp_path / "g"])
    path = folder / "checkpoint.json"
    path.write_text("1")
    said.wait_for(folder)
    with path.open("a") as file:
        file.write("2")
    said.wait_for(folder)
    (folder / "part").write_text("3333")
    (folder / "part").replace(path)
    said.wait_for(folder)
    path.unlink()
    said.wait_for(folder)


def test_a_new_folder_is_said_of_its_parent(tmp_path: Path, watcher: Watcher, said: Said) -> None:
    tree = tmp_path / "g"
    tree.mkdir()
    watcher.watch([tree])
    (tree / "text_csv").mkdir()
    said.wait_for(tree)


def test_what_does_not_matter_is_not_said(tmp_path: Path, watcher: Watcher, said: Said) -> None:
    noisy, quiet = tmp_path / "g" / "noisy", tmp_path / "g" / "quiet"
    noisy.mkdir(parents=True)
    quiet.mkdir()
    watcher.watch([noisy, quiet])
    (noisy / "run.log").write_text("a line\n")
    (quiet / "results.json").write_text("{}")
    assert said.queue.get(timeout=20) == frozenset({quiet})


def test_polls_where_inotify_is_refused(tmp_path: Path, said: Said) -> None:
    watcher = Watcher(said.queue.put, lambda name: True, make_observer=no_observer)
    watcher.watch([tmp_path])
    assert watcher.polls
    watcher.close()


def test_folders_that_come_and_go_are_followed(tmp_path: Path, watcher: Watcher, said: Said) -> None:
    watcher.watch([tmp_path])
    for number in range(20):
        folder = tmp_path / str(number) / "deep"
        folder.mkdir(parents=True)
        assert watcher.watch([tmp_path, folder])
        folder.rmdir()
        folder.parent.rmdir()
        watcher.watch([tmp_path])
    assert watcher.watch([tmp_path, tmp_path / "never there", tmp_path / "never there either"])
    (tmp_path / "results.json").touch()
    said.wait_for(tmp_path)


def test_a_folder_that_another_replaced_is_watched_anew(tmp_path: Path, watcher: Watcher, said: Said) -> None:
    root, folder = tmp_path / "w", tmp_path / "w" / "g"
    folder.mkdir(parents=True)
    watcher.watch([root, folder])
    root.rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", root)
    watcher.watch([root, folder])
    (folder / "results.json").touch()
    said.wait_for(folder)


def test_a_folder_that_was_removed_and_made_again_is_watched_anew(
    tmp_path: Path, watcher: Watcher, said: Said
) -> None:
    folder = tmp_path / "g"
    folder.mkdir()
    watcher.watch([tmp_path, folder])
    folder.rmdir()
    said.wait_for(tmp_path)
    # Often with the inode of the removed one.
    folder.mkdir()
    watcher.watch([tmp_path, folder])
    (folder / "results.json").touch()
    said.wait_for(folder)


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local\\040disk xfs rw 0 0
host:/x /mnt/fast lustre rw 0 0
sshfs /mnt/remote fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "sees"),
    [
        ("/srv/results", True),
        ("/home/her/results", False),
        ("/home/local disk/results", True),
        ("/homestead", True),
        ("/mnt/fast", False),
        ("/mnt/remote/x", False),
    ],
)
def test_network_file_systems_are_known_by_their_mount(tmp_path: Path, path: str, sees: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert inotify_sees(Path(path), mounts) is sees
