"""What is on record of runs goes with merged results, and nothing of it is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.errors import WorkspaceError
from hitui.services import merging
from hitui.services.run_records import carry_over
from hitui.settings import Settings
from tests.tools.results import answer, write_results, write_workspace


def record(folder: Path, *runs: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "run_settings.json"
    path.write_text(json.dumps({"runs": runs}))
    return path


def runs(path: Path) -> list[object]:
    found: list[object] = json.loads(path.read_bytes())["runs"]
    return found


def test_what_is_there_stays_and_each_run_comes_once(tmp_path: Path) -> None:
    here = record(tmp_path / "here", {"id": "a", "mine": 1}, "odd")
    one = record(tmp_path / "one", {"id": "a"}, {"id": "b", "half": "\ud800"}, {"id": "c"}).parent
    other = record(tmp_path / "other", {"id": "b", "later": 1}, {"no": "id"}, {"id": "d"}).parent
    carry_over([other, one, tmp_path / "nowhere"], here.parent, {"a", "b", "d"})
    assert runs(here) == ["odd", {"id": "a", "mine": 1}, {"id": "b", "half": "\ud800"}, {"id": "d"}]
    before = here.stat()
    carry_over([other, one], here.parent, {"a", "b"})
    assert here.stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_is_written_where_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    carry_over([record(tmp_path / "one", {"id": "a"}).parent], tmp_path / "here", {"None"})
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"runs": 3}'])
def test_a_file_of_no_use_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "run_settings.json").write_bytes(content)
    carry_over([record(tmp_path / "one", {"id": "a"}).parent], here, {"a"})
    assert (here / "run_settings.json").read_bytes() == content


def test_no_merged_result_is_there_before_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = write_workspace(tmp_path / "workspace")
    results = write_results(workspace / "result/g/text_html/results.json", [answer(1) | {"Settings": "a1"}])
    record(results.parent, {"id": "a1"})

    def refuse(path: Path, content: bytes) -> None:
        raise WorkspaceError(f"{path}: the disk is full")

    monkeypatch.setattr(merging, "write_atomically", refuse)
    catalogue = Catalogue(Settings(root=workspace))
    with pytest.raises(WorkspaceError, match=r"merged\.json: the disk is full"):
        merging.merge_results(catalogue.read(catalogue.find("text_html")))
    merged = workspace / "result/g/text_html_merged"
    assert [path.name for path in merged.iterdir()] == ["run_settings.json"]
    assert runs(merged / "run_settings.json") == [{"id": "a1"}]
