"""A run that was given GPUs computes on them, or says why it cannot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, visible_gpus
from hitui_runners.engines.devices import computes_on_gpus, device_map, dtype_of, given_gpus
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError, SetupError


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 0),
        ("", 0),
        ("0", 1),
        ("GPU-a,GPU-b", 2),
        ("-1", 0),
        ("1,-1,0", 1),
        ("MIG-a, MIG-b", 2),
        ("NoDevFiles", 0),
    ],
)
def test_as_many_were_given_as_cuda_takes(
    visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (given_gpus(), visible_gpus()) == (count, max(count, 1))
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", "/there")
    assert (given_gpus(), visible_gpus()) == (0, max(count, 1))


@pytest.mark.model
def test_a_torch_for_the_cpu_alone_is_refused_where_gpus_were_given(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    # It looks once where its GPUs are, and may have done so.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine = TransformersEngine(tiny_model, 1000, 4, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7e570000-0000-4000-8000-000000000000")
    with pytest.raises(RunnerError, match="the run was given GPUs") as refused:
        engine.load()
    if torch.version.cuda is None:
        assert isinstance(refused.value, SetupError)
        assert f"its torch ({torch.__version__}) is one for the CPU alone; install one" in str(refused.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    engine.load()
    assert " on the CPU (" in capsys.readouterr().out
    engine.close()


def torch_that_finds(count: int, why: str = "", broken: str = "") -> Any:
    """A torch for CUDA with so many GPUs, of which the last one is `broken`; where it has none, its initialization says
    `why`."""

    def init() -> None:
        raise RuntimeError(why)

    def ones(size: int, device: str) -> SimpleNamespace:
        if broken and device == f"cuda:{count - 1}":
            raise RuntimeError(broken)
        return SimpleNamespace(add=lambda number: SimpleNamespace(item=lambda: 2.0))

    cuda = SimpleNamespace(
        is_available=lambda: count > 0,
        device_count=lambda: count,
        get_device_name=lambda index: "Tesla V100-SXM2-32GB",
        get_device_capability=lambda index: (7, 0),
        is_bf16_supported=lambda including_emulation: including_emulation,
        init=init,
    )
    return SimpleNamespace(
        cuda=cuda,
        version=SimpleNamespace(cuda="13.0", hip=None),
        __version__="2.13.0",
        ones=ones,
        bfloat16="bfloat16",
        float16="float16",
        float32="float32",
    )


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040).", SetupError),
        ("Found no NVIDIA driver on your system.", SetupError),
        ("No CUDA GPUs are available", RunnerError),
        ("CUDA unknown error - this may be due to an incorrectly set up environment", RunnerError),
    ],
)
def test_gpus_that_torch_cannot_use_are_tried_again_unless_that_stays_so(
    monkeypatch: pytest.MonkeyPatch, why: str, kind: type[RunnerError]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(RunnerError, match="the run was given GPUs that torch cannot use: ") as refused:
        computes_on_gpus(torch_that_finds(0, why))
    assert type(refused.value) is kind
    assert why.rstrip(".") in str(refused.value)


def test_fewer_gpus_than_were_given_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert computes_on_gpus(torch_that_finds(2))
    assert capsys.readouterr().err == ""
    assert computes_on_gpus(torch_that_finds(1))
    assert "of the 2 GPUs that the run was given torch can use 1" in capsys.readouterr().err
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert not computes_on_gpus(torch_that_finds(0))


@pytest.mark.parametrize(
    ("broken", "kind", "said"),
    [
        (
            "CUDA error: no kernel image is available for execution on the device",
            SetupError,
            r"its torch \(2.13.0\) has no kernels for Tesla V100-SXM2-32GB \(compute capability 7.0\)",
        ),
        (
            "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
            RunnerError,
            r"^Tesla V100-SXM2-32GB cannot be used: CUDA error: .* busy",
        ),
    ],
)
def test_a_gpu_that_computes_nothing_is_told_of_before_the_model_is_loaded(
    broken: str, kind: type[RunnerError], said: str
) -> None:
    with pytest.raises(RunnerError, match=said) as refused:
        computes_on_gpus(torch_that_finds(2, broken=broken))
    assert type(refused.value) is kind


def test_one_gpu_takes_the_model_whole_and_several_share_it() -> None:
    assert device_map(torch_that_finds(1)) == {"": 0}
    assert device_map(torch_that_finds(2)) == "auto"


def test_a_gpu_that_is_slow_at_bfloat16_is_told_of_unless_something_else_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch = torch_that_finds(1)
    assert dtype_of(torch, "float16", on_gpus=True) == "float16"
    assert dtype_of(torch, None, on_gpus=False) == "float32"
    assert capsys.readouterr().err == ""
    assert dtype_of(torch, None, on_gpus=True) == "bfloat16"
    assert "Tesla V100-SXM2-32GB has no circuits for bfloat16" in capsys.readouterr().err


@pytest.mark.model
def test_a_model_computes_in_what_is_asked_for(tiny_model: Path) -> None:
    prompt = Prompt(1, "", "Harbour 1,41\n", "How many?", "How many?")
    for dtype in (None, "bfloat16"):
        engine = TransformersEngine(tiny_model, 1000, 4, None, dtype=dtype)
        engine.load()
        assert engine.facts().settings["numbers"] == (dtype or "float32")
        assert engine.answer(prompt).output_tokens
        engine.close()
