"""Real results of one model on the benchmark: states, names, reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.result_listing import result_files
from hitui.adapters.checkpoints.results_file import read_results_file
from hitui.cli import main
from hitui.domain.tasks import ERROR_PREFIX, TaskStatus
from hitui.settings import Settings, load_settings
from tests.tools.real_data import real_data
from tests.tools.workspaces import complete_dataset, copy_real

SOURCE = real_data()
TRAINER = SOURCE.parent / "trainer" if SOURCE is not None else None
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the names of the whole dataset; tests that write take a copy of their own."""
    assert SOURCE is not None
    folder = copy_real(tmp_path_factory.mktemp("real") / "workspace", SOURCE)
    complete_dataset(folder, SOURCE)
    return folder


@pytest.fixture(scope="module")
def catalogue(workspace: Path) -> Catalogue:
    return Catalogue(Settings(root=workspace))


def stored(path: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(path.read_bytes())["results"]
    return results


def failed(result: dict[str, Any]) -> bool:
    return isinstance(result["Prediction"], str) and result["Prediction"].startswith(ERROR_PREFIX)


def test_names_are_group_and_folder_and_parts_are_together(catalogue: Catalogue) -> None:
    names = [config.name for config in catalogue.configs]
    assert "qwen3vl_text/text_html" in names
    assert sum(name.startswith(("qwen3vl_text/", "qwen3vl_default_pic/")) for name in names) == 11
    merged = [config for config in catalogue.configs if "mix_json_default" in config.name]
    assert [config.name for config in merged] == [
        "qwen3vl_local_a100_default/Qwen3-VL-8B-Instruct_mix_json_default"
    ]
    assert len(result_files(merged[0].folders)) == 7
    assert (merged[0].modality, merged[0].table_format) == ("mix", "json")
    assert not [name for name in names if name.endswith(("_merged", "_shard0"))]


def test_an_image_config_has_no_format_whatever_its_file_says(catalogue: Catalogue) -> None:
    config = catalogue.find("qwen3vl_default_pic/image")
    assert (config.modality, config.table_format) == ("image", None)


def test_the_question_list_is_the_one_that_the_reports_name(catalogue: Catalogue, workspace: Path) -> None:
    assert catalogue.questions_file == workspace / "data" / "QA_final_sc_filled.json"
    assert catalogue.data_folder == workspace / "data"
    assert catalogue.problems == ()


def test_without_the_reports_it_is_the_one_that_the_results_fit(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "data", tmp_path / "data", ignore=shutil.ignore_patterns("[!Q]*.*"))
    shutil.copytree(
        workspace / "result" / "complied", tmp_path / "result", ignore=shutil.ignore_patterns("skip_ids.json")
    )
    catalogue = Catalogue(Settings(root=tmp_path))
    assert catalogue.questions_file == tmp_path / "data" / "QA_final_sc_filled.json"


def test_every_file_reads_as_the_json_module_reads_it(workspace: Path) -> None:
    files = [path for path in sorted(workspace.glob("result/**/*.json")) if path.name != "skip_ids.json"]
    assert len(files) > 20
    for path in files:
        results = stored(path)
        reading = read_results_file(path)
        assert set(reading.answered) == {result["id"] for result in results if not failed(result)}
        assert set(reading.errors) == {result["id"] for result in results if failed(result)}


def test_states_of_every_config(catalogue: Catalogue) -> None:
    for config in catalogue.configs:
        reading = catalogue.read(config)
        state = reading.state
        answered = {
            result["id"]
            for path, _ in result_files(config.folders)
            for result in stored(Path(path))
            if not failed(result)
        }
        assert state.total == 3071
        assert {task.id for task in reading.tasks if task.status is TaskStatus.DONE} == answered
        assert state.done == len(answered)
        assert state.done + state.errors + state.missing + state.blocked == state.total
        counted = [sum(task.status is status for task in reading.tasks) for status in TaskStatus]
        assert counted == [state.done, state.errors, state.missing, state.blocked]
        assert state.problems == ()
        assert reading.unknown == ()


def test_failed_ids_that_are_listed_as_processed_are_pending(catalogue: Catalogue) -> None:
    config = catalogue.find("Qwen3-VL-8B-Instruct_text_csv_truncate")
    ((path, _),) = result_files(config.folders)
    data = json.loads(Path(path).read_bytes())
    errors = {result["id"] for result in data["results"] if failed(result)}
    assert errors
    assert errors <= set(data["processed_ids"])
    assert errors <= {task.id for task in catalogue.read(config).tasks if task.pending}


def test_analyze_gives_every_real_report_value_for_value(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SOURCE is not None
    shutil.copytree(workspace, tmp_path / "copy", symlinks=True)
    assert main(["-w", str(tmp_path / "copy"), "analyze", "--write"]) == 0
    assert capsys.readouterr().err == ""
    reports = sorted(SOURCE.glob("result/complied/*/*/skip_ids.json"))
    assert len(reports) == 11
    for report in reports:
        real = json.loads(report.read_bytes())
        path = tmp_path / "copy" / report.relative_to(SOURCE)
        ours = json.loads(path.read_bytes())
        assert list(ours) == list(real)
        for part in ("statistics", "skip_ids", "error_ids", "skip_reasons", "categorized"):
            assert ours[part] == real[part], f"{report}: {part}"
        assert list(ours["metadata"]) == list(real["metadata"])
        assert [ours["metadata"][key] for key in ("config", "modality", "format", "master_task_list")] == [
            real["metadata"][key] for key in ("config", "modality", "format", "master_task_list")
        ]
        assert path.with_name("skip_ids.json.before-hitui").read_bytes() == report.read_bytes()


def test_a_report_alone_gives_the_counts_that_the_results_give(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace, tmp_path / "copy", symlinks=True)
    with_results = Catalogue(Settings(root=workspace))
    for path in tmp_path.glob("copy/result/complied/*/*/results.json"):
        path.unlink()
    by_report = Catalogue(Settings(root=tmp_path / "copy"))
    checked = 0
    for config in by_report.configs:
        if "complied" not in config.output:
            continue
        ours = by_report.read(config).state
        real = with_results.read(with_results.find(config.name)).state
        assert (ours.total, ours.done, ours.errors, ours.missing, ours.blocked) == (
            real.total,
            real.done,
            real.errors,
            real.missing,
            real.blocked,
        )
        checked += 1
    assert checked == 11


def test_init_writes_settings_that_give_the_same_states(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace, tmp_path / "copy", symlinks=True)
    root = tmp_path / "copy"
    discovered = Catalogue(Settings(root=root))
    assert main(["-w", str(root), "init"]) == 0
    declared = Catalogue(load_settings(root, root / "hitui.toml"))
    assert [config.name for config in declared.configs] == [config.name for config in discovered.configs]
    for config in declared.configs:
        before = discovered.find(config.name)
        assert (config.folders, config.output) == (before.folders, before.output)
        assert (config.modality, config.table_format) == (before.modality, before.table_format)
        assert declared.read(config).state.done == discovered.read(before).state.done


@pytest.mark.skipif(TRAINER is None or not TRAINER.is_dir(), reason="the real trainer states are absent")
def test_real_trainer_states() -> None:
    assert TRAINER is not None
    catalogue = Catalogue(Settings(root=TRAINER))
    states = {config.name: catalogue.read(config).state for config in catalogue.configs}
    translator = states["trainer/mistral-translator"]
    assert (translator.unit, translator.done, translator.total) == ("steps", 8660, 8660)
    assert states["roberta-agnews/results"].done == 1200
    # States only: without weights no checkpoint can be resumed from, and that is said.
    for state in states.values():
        (note,) = state.notes
        assert "is incomplete: weights are absent" in note
        assert note.endswith("a run would begin at step 0")
