"""Shards: every task once, tables whole, balanced, the same each time; and their folders are the config's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.naming import bare_location
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Job, JobRequest, Queued, Shard
from hitui.domain.shards import (
    IMAGE_TOKENS,
    QUESTION_TOKENS,
    Rival,
    estimated_tokens,
    long_enough,
    shard_folder,
    shared_out,
    split,
    worth_splitting,
)
from hitui.domain.tasks import Question, TaskStatus
from hitui.errors import LaunchError
from hitui.settings import ConfigSettings, RunnerSettings, Settings, load_settings
from hitui.supervisor.sharding import check_shards, most_shards, rival_of, shard_requests
from tests.tools.results import answer, append_lines, failure, read, write_workspace

TABLES = st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 4)), max_size=30)
"""Of each table the tokens of a question, and how many questions there are."""


def ask(tables: Sequence[tuple[int, int]]) -> tuple[list[Question], dict[str, int]]:
    """Questions over the tables, in turn: one of each, then the second of each, as no real list has them."""
    names = [f"table{number}" for number in range(len(tables))]
    asked = [
        name
        for turn in range(4)
        for name, (_, questions) in zip(names, tables, strict=True)
        if turn < questions
    ]
    tokens = {name: cost for name, (cost, _) in zip(names, tables, strict=True)}
    return [Question(number, name) for number, name in enumerate(asked)], tokens


@given(TABLES, st.integers(1, 9))
def test_every_task_once_tables_whole_and_nothing_empty(tables: list[tuple[int, int]], parts: int) -> None:
    questions, tokens = ask(tables)
    shards = split(questions, tokens.__getitem__, parts)

    assert sorted(task for shard in shards for task in shard) == [question.id for question in questions]
    assert len(shards) == min(parts, len(tables))
    assert all(shards)
    table_of = {question.id: question.file_name for question in questions}
    of_shards = [{table_of[task] for task in shard} for shard in shards]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(of_shards, 2))
    assert all(list(shard) == sorted(shard, key=int) for shard in shards)
    assert split(list(questions), tokens.__getitem__, parts) == shards


@given(TABLES, st.integers(1, 9))
def test_no_shard_is_above_the_mean_by_more_than_the_largest_table(
    tables: list[tuple[int, int]], parts: int
) -> None:
    questions, tokens = ask(tables)
    shards = split(questions, tokens.__getitem__, parts)
    loads = loads_of(tables)

    assert max(weights(shards, questions, tokens), default=0) <= sum(loads) / parts + max(loads, default=0)


@given(st.lists(st.tuples(st.integers(1, 50), st.just(1)), min_size=1, max_size=7), st.integers(2, 3))
def test_the_largest_shard_is_within_four_thirds_of_the_best(
    tables: list[tuple[int, int]], parts: int
) -> None:
    questions, tokens = ask(tables)
    loads = loads_of(tables)
    best = min(
        max(
            sum(load for load, part in zip(loads, chosen, strict=True) if part == number)
            for number in range(parts)
        )
        for chosen in itertools.product(range(parts), repeat=len(loads))
    )

    assert max(weights(split(questions, tokens.__getitem__, parts), questions, tokens)) * 3 <= best * 4


def loads_of(tables: Sequence[tuple[int, int]]) -> list[int]:
    return [max(1, cost) * questions for cost, questions in tables]


def weights(
    shards: Sequence[Sequence[object]], questions: Sequence[Question], tokens: dict[str, int]
) -> list[int]:
    cost = {question.id: max(1, tokens[question.file_name]) for question in questions}
    return [sum(cost[task] for task in shard) for shard in shards]  # type: ignore[index]


def test_at_least_one_part() -> None:
    with pytest.raises(ValueError, match="one part at least is needed, not 0"):
        split([], lambda table: 1, 0)


def test_a_question_costs_what_it_is_cut_to() -> None:
    assert estimated_tokens(None, False, 100_000) == QUESTION_TOKENS
    assert estimated_tokens(None, True, 100_000) == QUESTION_TOKENS + IMAGE_TOKENS
    assert estimated_tokens(1_200_000, False, 1_000_000) == 600_000 + QUESTION_TOKENS
    assert estimated_tokens(1_200_000, True, 100_000) == 100_000


@pytest.mark.parametrize("output", ["/r/g/text_html", "/r/g/text_html/"])
def test_the_folder_of_a_shard_is_one_of_the_config(output: str) -> None:
    assert shard_folder(output, 3) == "/r/g/text_html_shard3"
    assert bare_location(Path(shard_folder(output, 3))) == Path("/r/g/text_html")


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_results_read_as_one_however_many_shards_there_were(tmp_path: Path, parts: int) -> None:
    output = write_workspace(tmp_path) / "result" / "g" / "text_html"
    questions = [Question(task, f"table{task}") for task in (3, 4, 5, 6, 7)]
    for number, shard in enumerate(split(questions, lambda table: 100, parts)):
        results = [failure(task) if task == 4 else answer(task) for task in shard]
        append_lines(Path(shard_folder(str(output), number)) / "results.jsonl", results)
    state = read(tmp_path, "g/text_html").state

    assert (state.done, state.errors, state.missing, state.blocked) == (6, 1, 0, 1)
    assert state.config.output == str(output)
    assert len(state.config.folders) == 1 + min(parts, 5)


@pytest.mark.parametrize("output", ["result/g/text_html", "result/g/text_html_sc", "../elsewhere/text_html"])
def test_shards_of_a_declared_config_are_its_own_wherever_it_lies(tmp_path: Path, output: str) -> None:
    workspace = write_workspace(tmp_path / "workspace")
    (workspace / "hitui.toml").write_text(
        f'[workspace]\nresults = ["result"]\n[[config]]\nname = "mine"\nmodality = "text"\nformat = "html"\noutput = "{output}"\n'
    )
    folder = str((workspace / output).resolve())
    for part, task in enumerate((6, 7)):
        append_lines(Path(shard_folder(folder, part)) / "results.jsonl", [answer(task)])
    append_lines(Path(f"{folder}_shards") / "results.jsonl", [answer(5)])
    catalogue = Catalogue(load_settings(workspace, workspace / "hitui.toml"))
    mine = catalogue.find("mine")

    folders = [str(Path(place).resolve()) for place in (mine.output, *mine.folders[-2:])]
    assert folders == [folder, f"{folder}_shard0", f"{folder}_shard1"]
    answered = {task.id for task in catalogue.read(mine).tasks if task.status is TaskStatus.DONE}
    assert answered - {1, 2} == {6, 7}
    others = [set(config.folders) for config in catalogue.configs if config.name != "mine"]
    assert all(set(mine.folders).isdisjoint(other) for other in others)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("most", "places", "seconds", "rivals", "expected"),
    [
        (8, 3, HOUR, [], 3),
        (2, 3, HOUR, [], 2),
        (8, 0, HOUR, [], 1),
        (8, 4, HOUR, [(HOUR, 8)], 2),
        (8, 4, HOUR, [(3 * HOUR, 8)], 1),
        (8, 4, 8 * HOUR, [(300, 8)], 4),
        # What the long ones cannot take is left to the short one.
        (3, 4, HOUR, [(8 * HOUR, 1)], 3),
        (3, 8, HOUR, [(8 * HOUR, 3)], 3),
        (3, 8, 0.2 * HOUR, [(8 * HOUR, 3), (8 * HOUR, 3)], 2),
        (8, 8, HOUR, [(8 * HOUR, 1), (HOUR, 8)], 4),
        # A rival on more GPUs than it is waiting for takes them all.
        (4, 4, HOUR, [(16 * HOUR, 2)], 2),
        (3, 4, HOUR, [(0, 1)], 3),
    ],
)
def test_a_job_is_split_over_its_share_of_what_is_free(
    most: int, places: int, seconds: float, rivals: list[tuple[float, float]], expected: int
) -> None:
    assert worth_splitting(most, places, seconds, [Rival(*rival) for rival in rivals]) == expected


@pytest.mark.parametrize(
    ("most", "seconds", "shortest", "expected"),
    [(8, 700, 300, 3), (8, 10, 300, 1), (8, 10, 0, 8), (2, HOUR, 300, 2), (8, 0, 300, 1)],
)
def test_no_shard_is_much_shorter_than_pays(
    most: int, seconds: float, shortest: float, expected: int
) -> None:
    assert long_enough(most, seconds, shortest) == expected


def test_a_rival_has_one_place_though_none_is_free_any_more(tmp_path: Path) -> None:
    config = Config("g/a", "realhitbench", (), "", runner="own")
    settings = Settings(
        tmp_path, runners={"own": RunnerSettings(command=["true", "{ids}", "{output}"], shards=3)}
    )
    assert rival_of(settings, config, JobRequest("g/a"), 3600.0, 2, 0, 1) == Rival(7200.0, 2.0)
    assert rival_of(settings, config, JobRequest("g/a"), 3600.0, 1, 8, 2) == Rival(1800.0, 1.5)


def own_runner(root: Path, command: Sequence[str] = ("true", "{ids}", "{output}"), **said: int) -> Settings:
    """A runner that may be split in three, and what is said of `g/a`."""
    runner = RunnerSettings(command=list(command), shards=3)
    return Settings(root, runners={"own": runner}, configs=(ConfigSettings("g/a", **said),))


def test_a_job_may_be_split_as_was_asked_for_else_as_its_config_or_its_runner_says(tmp_path: Path) -> None:
    config = Config("g/a", "realhitbench", (), "", runner="own")
    plain, five = JobRequest("g/a"), JobRequest("g/a", shards=5)
    assert most_shards(own_runner(tmp_path), config, plain, HOUR) == 3
    assert most_shards(own_runner(tmp_path, shards=2), config, plain, HOUR) == 2
    assert most_shards(own_runner(tmp_path, shards=2), config, five, HOUR) == 5
    assert most_shards(own_runner(tmp_path), config, plain, 10.0) == 1
    assert most_shards(own_runner(tmp_path), config, five, 10.0) == 5


def test_neither_a_shard_nor_a_job_of_several_nor_what_is_not_told_its_tasks_is_split(tmp_path: Path) -> None:
    config = Config("g/a", "realhitbench", (), "", runner="own")
    five, settings = JobRequest("g/a", shards=5), own_runner(tmp_path)
    assert most_shards(settings, config, replace(five, shard=Shard(1, 0, 2, (7,))), HOUR) == 1
    assert most_shards(settings, config, replace(five, also=(JobRequest("g/b"),)), HOUR) == 1
    assert most_shards(own_runner(tmp_path, ("true", "{output}")), config, five, HOUR) == 1
    assert most_shards(settings, replace(config, runner=None), five, HOUR) == 1


def test_shards_that_cannot_be_made_are_refused_where_they_are_to_be(tmp_path: Path) -> None:
    state = ConfigState(Config("g/a", "realhitbench", (), "", runner="own"), total=9)
    plain, five, blind = JobRequest("g/a"), JobRequest("g/a", shards=5), ("true", "{output}")
    check_shards(own_runner(tmp_path), state, five)
    check_shards(own_runner(tmp_path), replace(state, total=None), plain)
    check_shards(own_runner(tmp_path, blind, shards=1), state, plain)
    with pytest.raises(LaunchError, match="not known one by one"):
        check_shards(own_runner(tmp_path), replace(state, total=None), five)
    with pytest.raises(LaunchError, match=r"shards need \{ids\}"):
        check_shards(own_runner(tmp_path, blind), state, plain)


@pytest.mark.parametrize(
    ("modality", "limit", "expected"),
    [("text", None, {(1,), (2, 3, 4)}), ("image", None, {(1, 3), (2, 4)}), ("text", 300, {(1, 3), (2, 4)})],
)
def test_shards_are_balanced_by_what_a_config_reads_of_its_tables(
    tmp_path: Path, modality: str, limit: int | None, expected: set[tuple[int, ...]]
) -> None:
    (tmp_path / "csv").mkdir()
    for name, size in (("long", 10_000), ("b", 1), ("c", 1), ("d", 1)):
        (tmp_path / "csv" / f"{name}.csv").write_bytes(b"x" * size)
    config = Config("g/a", "realhitbench", (), "", modality, "csv")
    questions = [Question(number, name) for number, name in enumerate(("long", "b", "c", "d"), 1)]
    job = Job(7, JobRequest("g/a", gpus=("0", "1")), 0.0, Queued())
    made = shard_requests(job, config, questions, tmp_path, limit, 2)
    assert {each.shard.ids for each in made if each.shard} == expected
    assert [each.gpus for each in made] == [("0",), ("1",)]
    assert [(each.shard.split, each.shard.label) for each in made if each.shard] == [(7, "1/2"), (7, "2/2")]
    (first, _) = shard_requests(replace(job, request=JobRequest("g/a")), config, questions, None, limit, 2)
    assert first.gpus is None


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.integers(1, 8)), min_size=1, max_size=8),
    st.integers(1, 16),
)
def test_nothing_is_idle_that_a_job_in_the_queue_could_have_been_split_over(
    queue: list[tuple[float, int]], places: int
) -> None:
    left = places
    for at, (seconds, most) in enumerate(queue):
        if left:
            left -= worth_splitting(most, left, seconds, [Rival(*other) for other in queue[at + 1 :]])
    assert left == max(0, places - sum(most for _, most in queue))


@given(st.lists(st.text(max_size=3), unique=True, max_size=12), st.integers(1, 12))
def test_named_gpus_are_shared_out_evenly(gpus: list[str], parts: int) -> None:
    shared = shared_out(gpus, parts)
    assert [gpu for part in shared for gpu in part] == gpus
    assert len(shared) == parts
    assert max(map(len, shared)) - min(map(len, shared)) <= 1
