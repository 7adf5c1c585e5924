"""Folders of the Hugging Face Trainer: steps, and the checkpoint that a run would resume from."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.weights import (
    defect_of_checkpoint,
    defect_of_safetensors,
    defect_of_torch_file,
)
from hitui.domain.configs import ConfigCondition, ConfigState
from hitui.settings import Settings
from tests.tools.results import write_safetensors, write_trainer_checkpoint, write_trainer_state


def state_of(root: Path) -> ConfigState:
    catalogue = Catalogue(Settings(root=root))
    (config,) = catalogue.configs
    return catalogue.read(config).state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "translator"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def test_steps_of_the_newest_state(tmp_path: Path, run: Path) -> None:
    for step in (9, 10, 50):
        write_trainer_checkpoint(run, step)
    state = state_of(tmp_path)
    assert (state.unit, state.total, state.done, state.pending) == ("steps", 100, 50, 50)
    assert state.source == "runs/translator/checkpoint-50/trainer_state.json"
    assert state.notes == ("a run would resume from checkpoint-50",)
    write_trainer_state(run, 100)
    assert state_of(tmp_path).condition is ConfigCondition.WHOLE


def test_the_log_may_be_ahead_of_the_checkpoints(tmp_path: Path, run: Path) -> None:
    write_trainer_checkpoint(run, 50)
    lines = [{"current_steps": 60, "total_steps": 100}, {"eval_loss": 1.5}]
    (run / "trainer_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"current_s')
    state = state_of(tmp_path)
    assert (state.done, state.source) == (60, "runs/translator/trainer_log.jsonl")
    assert state.updated == (run / "trainer_log.jsonl").stat().st_mtime


def test_of_a_log_and_a_state_that_say_the_same_the_state_counts(tmp_path: Path, run: Path) -> None:
    write_trainer_checkpoint(run, 50)
    (run / "trainer_log.jsonl").write_text('{"current_steps": 50, "total_steps": 100}\n')
    assert state_of(tmp_path).source == "runs/translator/checkpoint-50/trainer_state.json"


def test_how_many_steps_there_are_is_taken_from_whatever_says_it(tmp_path: Path, run: Path) -> None:
    write_trainer_state(run, 50)
    (run / "trainer_log.jsonl").write_text('{"current_steps": 60}\n')
    state = state_of(tmp_path)
    assert (state.done, state.total, state.missing) == (60, 100, 40)
    assert state.notes == ("there is no checkpoint to resume from",)
    (run / "trainer_state.json").write_text('{"global_step": 50, "loss": NaN}')
    state = state_of(tmp_path)
    assert (state.done, state.total, state.missing) == (60, None, 0)


def test_a_log_whose_losses_are_no_numbers_still_says_its_steps(tmp_path: Path, run: Path) -> None:
    write_trainer_checkpoint(run, 50)
    (run / "trainer_log.jsonl").write_text('{"current_steps": 70, "total_steps": 100, "loss": NaN}\n')
    assert state_of(tmp_path).done == 70


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("trainer_log.jsonl", []),
        ("checkpoint-50/latest", []),
        ("trainer_state.json", ["runs/translator/trainer_state.json: is no file"]),
    ],
)
def test_a_pipe_is_not_waited_for(tmp_path: Path, run: Path, name: str, problems: list[str]) -> None:
    write_trainer_checkpoint(run, 50)
    os.mkfifo(run / name)
    state = state_of(tmp_path)
    assert state.done == 50
    assert [problem.partition(": put")[0] for problem in state.problems] == problems


@pytest.mark.parametrize("step", ["Infinity", "NaN", "null", '"x"', "1" * 5000])
def test_a_step_that_is_no_number_is_a_problem(tmp_path: Path, run: Path, step: str) -> None:
    run.mkdir(parents=True)
    (run / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    state = state_of(tmp_path)
    assert state.condition is ConfigCondition.UNREADABLE
    assert "trainer_state.json: is no whole trainer state" in state.problems[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", "weights are absent"),
        ("optimizer.pt", "optimizer.pt is absent"),
        ("scheduler.pt", "scheduler.pt is absent"),
        ("rng_state.pth", "rng_state.pth is absent"),
        ("trainer_state.json", "trainer_state.json is absent"),
    ],
)
def test_an_incomplete_newest_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, run: Path, name: str, said: str
) -> None:
    write_trainer_checkpoint(run, 50)
    newest = write_trainer_checkpoint(run, 75)
    (newest / name).unlink()
    assert state_of(tmp_path).notes == (
        f"checkpoint-75 is incomplete: {said}",
        "a run would resume from checkpoint-50",
    )


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_cut_file_makes_it_incomplete(tmp_path: Path, run: Path, name: str) -> None:
    cut(write_trainer_checkpoint(run, 75) / name)
    (note,) = state_of(tmp_path).notes
    assert note == f"checkpoint-75 is incomplete: {name} is cut off; a run would begin at step 0"


def test_what_stands_in_a_checkpoint_is_looked_at_again_when_it_changes(tmp_path: Path, run: Path) -> None:
    newest = write_trainer_checkpoint(run, 75)
    weights = (newest / "optimizer.pt").read_bytes()
    (newest / "optimizer.pt").unlink()
    catalogue = Catalogue(Settings(root=tmp_path))
    (config,) = catalogue.configs
    assert "incomplete" in catalogue.read(config).state.notes[0]
    (newest / "optimizer.pt").write_bytes(weights)
    assert catalogue.read(config).state.notes == ("a run would resume from checkpoint-75",)


def test_sharded_weights_and_adapters(run: Path) -> None:
    checkpoint = write_trainer_checkpoint(run, 1)
    (checkpoint / "model.safetensors").unlink()
    write_safetensors(checkpoint / "adapter_model.safetensors")
    assert defect_of_checkpoint(checkpoint) == ""
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    write_safetensors(checkpoint / "model-1.safetensors")
    assert "names model-2.safetensors, which is absent" in defect_of_checkpoint(checkpoint)
    write_safetensors(checkpoint / "model-2.safetensors")
    assert defect_of_checkpoint(checkpoint) == ""
    cut(checkpoint / "model-2.safetensors")
    assert "names model-2.safetensors, which is cut off" in defect_of_checkpoint(checkpoint)


def test_deepspeed_and_fsdp_keep_their_parts_elsewhere(run: Path) -> None:
    checkpoint = write_trainer_checkpoint(run, 1)
    parts = checkpoint / "global_step1"
    parts.mkdir()
    (checkpoint / "latest").write_text("global_step1")
    (checkpoint / "optimizer.pt").rename(parts / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (checkpoint / "scheduler.pt").rename(parts / "mp_rank_00_model_states.pt")
    (checkpoint / "model.safetensors").unlink()
    assert defect_of_checkpoint(checkpoint) == ""
    cut(parts / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert "optim_states.pt is cut off" in defect_of_checkpoint(checkpoint)

    sharded = write_trainer_checkpoint(run, 2)
    (sharded / "model.safetensors").unlink()
    (sharded / "optimizer.pt").unlink()
    for name in ("pytorch_model_fsdp_0", "optimizer_0"):
        assert defect_of_checkpoint(sharded)
        (sharded / name).mkdir()
        assert defect_of_checkpoint(sharded)
        (sharded / name / ".metadata").touch()
    assert defect_of_checkpoint(sharded) == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        b"\xff" * 64,
        bytes(64),
        b"\x02" + bytes(7) + b"{}x",
        b"\x02" + bytes(7) + b"[]",
        b"\x2a" + bytes(7) + b'{"weight": {"data_offsets": [0, "sixteen"]}}',
        b"\x27" + bytes(7) + b'{"weight": {"data_offsets": [0, null]}}',
    ],
)
def test_no_safetensors_file_is_taken_for_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert defect_of_safetensors(path)


@pytest.mark.parametrize("place", [6, 46], ids=["version", "name"])
def test_a_damaged_torch_file_is_named(tmp_path: Path, place: int) -> None:
    path = tmp_path / "optimizer.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/däta.pkl", b"")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = 0xFF
    path.write_bytes(content)
    assert defect_of_torch_file(path) == "is damaged"


def test_a_folder_of_partitions_that_no_file_can_be_called(run: Path) -> None:
    checkpoint = write_trainer_checkpoint(run, 1)
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "latest").write_text("x" * 5000)
    assert defect_of_checkpoint(checkpoint).endswith("_model_states.pt is absent")


@pytest.mark.model
def test_files_of_torch_and_safetensors_themselves(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    for legacy in (False, True):
        path = tmp_path / f"optimizer-{legacy}.pt"
        torch.save({"state": torch.zeros(100)}, path, _use_new_zipfile_serialization=not legacy)
        assert defect_of_torch_file(path) == ""
        if not legacy:
            cut(path)
            assert defect_of_torch_file(path) == "is cut off"
    save_file({"weight": torch.zeros(100)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert defect_of_safetensors(tmp_path / "model.safetensors") == ""
    cut(tmp_path / "model.safetensors")
    assert defect_of_safetensors(tmp_path / "model.safetensors") == "is cut off"


def test_a_half_written_state_keeps_what_was_read(tmp_path: Path, run: Path) -> None:
    write_trainer_checkpoint(run, 50)
    write_trainer_state(run, 60)
    catalogue = Catalogue(Settings(root=tmp_path))
    (config,) = catalogue.configs
    assert catalogue.read(config).state.done == 60
    (run / "trainer_state.json").write_text('{"global_step": 7')
    state = catalogue.read(config).state
    assert state.done == 60
    assert "runs/translator/trainer_state.json: is no whole trainer state" in state.problems[0]
    assert "still counts" in state.problems[0]
