"""What is found below a folder, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.naming import bare_location, modality_and_format, short_names
from hitui.settings import Settings, load_settings
from tests.tools.results import (
    answer,
    append_lines,
    write_dataset,
    write_questions,
    write_results,
    write_trainer_state,
)


def names_in(root: Path) -> list[str]:
    return [config.name for config in Catalogue(Settings(root=root)).configs]


@pytest.mark.parametrize(
    ("folder", "location"),
    [
        ("r/g/mix_json", "r/g/mix_json"),
        ("r/g/mix_json_shard0", "r/g/mix_json"),
        ("r/g/mix_json_shard12_sc", "r/g/mix_json"),
        ("r/g/mix_json_merged", "r/g/mix_json"),
        ("r/g/mix_json_merged/mix_json_shard1", "r/g/mix_json"),
        ("r/g/mix_json/mix_json_shard1", "r/g/mix_json"),
        ("r/g/mix_json/shard1", "r/g/mix_json"),
        ("r/other_merged/mix_json_shard1", "r/other_merged/mix_json"),
        ("r/g/mix_json_truncate", "r/g/mix_json_truncate"),
        ("r/g/unmerged", "r/g/unmerged"),
    ],
)
def test_parts_of_a_config_belong_to_its_bare_name(folder: str, location: str) -> None:
    assert bare_location(Path("/w") / folder) == Path("/w") / location


def test_names_grow_upward_only_where_two_are_equal() -> None:
    one, two, three = Path("/w/a/g/text_html"), Path("/w/b/g/text_html"), Path("/w/a/g/text_csv")
    assert short_names([one, two, three]) == {
        one: "a/g/text_html",
        two: "b/g/text_html",
        three: "g/text_csv",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text_html", ("text", "html")),
        ("Qwen3-VL-8B-Instruct_mix_json_default", ("mix", "json")),
        ("Qwen3-VL-8B-Instruct_image_default", ("image", None)),
        ("image", ("image", None)),
        ("image_html", ("image", None)),
        ("context_textual", (None, None)),
        ("html", (None, "html")),
    ],
)
def test_a_folder_name_tells_modality_and_format(text: str, expected: tuple[str, str]) -> None:
    assert modality_and_format([text]) == expected


def test_every_kind_of_result_file_makes_a_config(tmp_path: Path) -> None:
    names = (
        "checkpoint.json",
        "checkpoint_batch.json",
        "checkpoint_merged.json",
        "results.json",
        "results_2.json",
    )
    for number, name in enumerate(names):
        write_results(tmp_path / "result" / "group" / f"text_{number}" / name, [answer(1)])
    append_lines(tmp_path / "result" / "group" / "text_9" / "results.jsonl", [answer(1)])
    (tmp_path / "result" / "group" / "notes").mkdir()
    (tmp_path / "result" / "group" / "notes" / "aggregate_metrics.csv").touch()
    assert names_in(tmp_path) == [f"group/text_{number}" for number in (0, 1, 2, 3, 4, 9)]


def test_hidden_folders_environments_and_the_dataset_are_not_entered(tmp_path: Path) -> None:
    write_results(tmp_path / "result" / "g" / "text_html" / "results.json", [answer(1)])
    write_results(tmp_path / ".hidden" / "g" / "text_csv" / "results.json", [answer(1)])
    write_results(tmp_path / "node_modules" / "g" / "text_csv" / "results.json", [answer(1)])
    write_results(tmp_path / "env" / "g" / "text_json" / "results.json", [answer(1)])
    (tmp_path / "env" / "pyvenv.cfg").touch()
    data = write_dataset(tmp_path / "data", ["table1"])
    write_results(data / "json" / "results-of-the-election.json", [answer(1)])
    assert names_in(tmp_path) == ["g/text_html"]


@pytest.mark.parametrize("left", ["results.json", "skip_ids.json"])
def test_results_sorted_into_a_folder_a_format_are_no_dataset(tmp_path: Path, left: str) -> None:
    write_dataset(tmp_path / "data", ["table1"])
    formats = ("csv", "html", "json", "latex", "markdown")
    for name in formats:
        folder = write_results(tmp_path / "result" / "text" / name / left, [answer(1)]).parent
        (folder / "aggregate_metrics.csv").touch()
    catalogue = Catalogue(Settings(root=tmp_path))
    assert [(config.name, config.modality, config.table_format) for config in catalogue.configs] == [
        (f"text/{name}", "text", name) for name in formats
    ]
    assert catalogue.data_folder == tmp_path / "data"


def test_shards_reruns_and_merges_are_one_config_and_equal_names_elsewhere_are_not(tmp_path: Path) -> None:
    group = tmp_path / "result" / "g"
    for folder in ("mix_json_merged/mix_json_shard0", "mix_json_shard1", "mix_json_sc", "mix_json_merged"):
        write_results(group / folder / "results.json", [answer(1)])
    write_results(tmp_path / "old" / "g" / "mix_json" / "results.json", [answer(1)])
    catalogue = Catalogue(Settings(root=tmp_path))
    assert [config.name for config in catalogue.configs] == ["old/g/mix_json", "result/g/mix_json"]
    config = catalogue.find("result/g/mix_json")
    assert config.output == str(group / "mix_json")
    assert config.folders == tuple(
        str(group / folder)
        for folder in (
            "mix_json",
            "mix_json_merged",
            "mix_json_merged/mix_json_shard0",
            "mix_json_sc",
            "mix_json_shard1",
        )
    )


def test_the_file_says_modality_and_format_before_the_folder_does(tmp_path: Path) -> None:
    def write(folder: str, **config: str) -> None:
        write_results(tmp_path / "g" / folder / "results.json", [answer(1)], config={"model": "m", **config})

    write("run7", modality="mix", format="latex")
    write("merged_run", modality="mix_json")
    write("image_default", modality="image", format="html")
    write("text_csv", other="image")
    found = {
        config.name: (config.modality, config.table_format)
        for config in Catalogue(Settings(root=tmp_path)).configs
    }
    assert found == {
        "g/run7": ("mix", "latex"),
        "g/merged_run": ("mix", "json"),
        "g/image_default": ("image", None),
        "g/text_csv": ("text", "csv"),
    }


def test_a_trainer_folder_is_one_config(tmp_path: Path) -> None:
    write_trainer_state(tmp_path / "runs" / "translator" / "checkpoint-50", 50)
    write_trainer_state(tmp_path / "runs" / "translator" / "checkpoint-100", 100)
    write_trainer_state(tmp_path / "runs" / "finished", 100)
    configs = Catalogue(Settings(root=tmp_path)).configs
    assert [(config.name, config.kind) for config in configs] == [
        ("runs/finished", "hf_trainer"),
        ("runs/translator", "hf_trainer"),
    ]


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    write_results(tmp_path / "g" / "text_html" / "results.json", [answer(1)])
    (tmp_path / "g" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert names_in(tmp_path) == ["g/text_html"]


def test_a_folder_is_called_by_its_own_name_and_not_by_a_link_to_it(tmp_path: Path) -> None:
    """A link that someone adds must not rename the configs of which jobs and settings speak."""
    write_results(tmp_path / "result" / "g" / "text_html" / "results.json", [answer(1)])
    outside = tmp_path / "outside"
    write_results(outside / "mix_csv" / "results.json", [answer(1)])
    root = tmp_path / "result"
    (root / "a_link").symlink_to(root / "g", target_is_directory=True)
    (root / "elsewhere").symlink_to(outside, target_is_directory=True)
    assert names_in(root) == ["elsewhere/mix_csv", "g/text_html"]


def test_a_results_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "hitui.toml").write_text('[workspace]\nresults = ["gone"]\n')
    catalogue = Catalogue(load_settings(tmp_path, tmp_path / "hitui.toml"))
    assert catalogue.configs == ()
    assert catalogue.problems == (
        f"{tmp_path}/gone: no such folder; correct `[workspace] results`, unless the first run is to make it",
    )


def test_declared_paths_of_the_wrong_kind_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "hitui.toml").write_text(
        '[workspace]\nresults = ["file"]\nquestions = "folder"\ndata = "other"\n'
    )
    assert Catalogue(load_settings(tmp_path, tmp_path / "hitui.toml")).problems == (
        f"{tmp_path}/file: is no folder; correct `[workspace] results`",
        f"{tmp_path}/folder: is no file; correct `[workspace] questions` in {tmp_path}/hitui.toml",
        f"{tmp_path}/other: is no folder, so no task counts as blocked; "
        f"correct `[workspace] data` in {tmp_path}/hitui.toml",
    )


class TestQuestionChoice:
    def test_the_list_that_a_report_was_made_from(self, tmp_path: Path) -> None:
        write_results(tmp_path / "result" / "g" / "text_html" / "results.json", [answer(1)])
        (tmp_path / "result" / "g" / "text_html" / "skip_ids.json").write_text(
            '{"metadata": {"master_task_list": "data/second.json"}, "statistics": {}, "skip_ids": []}'
        )
        write_questions(tmp_path / "data" / "first.json", [1, 2, 3])
        second = write_questions(tmp_path / "data" / "second.json", [1, 2])
        assert Catalogue(Settings(root=tmp_path)).questions_file == second
        # The results folder alone as the workspace: the name is relative to a folder above.
        assert Catalogue(Settings(root=tmp_path / "result" / "g")).questions_file == second

    def test_the_list_that_the_results_fit(self, tmp_path: Path) -> None:
        write_results(tmp_path / "result" / "g" / "text_html" / "results.json", [answer(1), answer(2)])
        path = write_questions(tmp_path / "data" / "a.json", [1, 2, 3, 4])
        path.write_text(path.read_text().replace("table", "chart"))
        fitting = write_questions(tmp_path / "data" / "b.json", [1, 2, 3])
        assert Catalogue(Settings(root=tmp_path)).questions_file == fitting

    def test_the_largest_where_nothing_is_answered(self, tmp_path: Path) -> None:
        write_questions(tmp_path / "a.json", [1, 2, 3])
        largest = write_questions(tmp_path / "b.json", [1, 2, 3, 4])
        write_questions(tmp_path / "c.json", [1])
        assert Catalogue(Settings(root=tmp_path)).questions_file == largest

    def test_none(self, tmp_path: Path) -> None:
        write_results(tmp_path / "g" / "text_html" / "results.json", [answer(1)])
        (tmp_path / "other.json").write_text('{"some": "thing"}')
        catalogue = Catalogue(Settings(root=tmp_path))
        assert catalogue.questions_file is None
        state = catalogue.read(catalogue.find("text_html")).state
        assert (state.total, state.done) == (None, 1)
