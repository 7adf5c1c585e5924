"""GPUs in name allow what CUDA allows, refuse what it refuses, and count what is waited for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.model


@pytest.fixture(params=["inference", "no gradients"])
def gpus(request: pytest.FixtureRequest) -> Iterator[Any]:
    import torch

    from tests.tools.other_device import gpus_in_name

    mode = torch.inference_mode if request.param == "inference" else torch.no_grad
    with mode(), gpus_in_name() as gpus:
        yield gpus


REFUSED = (
    "first + host",
    "first + second",
    "host + first[0]",
    "first + second[0]",
    "host.add_(first)",
    "host[0].add_(first[0])",
    "torch.cat([first, host])",
    "torch.stack([first, second])",
    "torch.cat([first, host[:0]])",
    "host[first.long()]",
    "first[second.long()]",
    "first.index_put_((host.long(),), host)",
    "first.index_select(0, host.long())",
    "first.masked_fill(host > 1, 0.0)",
    "torch.isin(first, host)",
    "torch.nn.functional.embedding(host.long(), first.reshape(3, 1))",
    "torch.nn.functional.scaled_dot_product_attention(*[it.reshape(1, 1, 3, 1) for it in (first, first, second)])",
    "first.reshape(1, 3) @ second.reshape(3, 1)",
)
"""What CUDA refuses of `first` on one GPU, `second` on another and `host` on the CPU, each of three numbers."""
ALLOWED = {
    "first + host[1]": 0,
    "host[1] * first": 0,
    "first.masked_fill(first > 1, host[0])": 0,
    "first.to('cuda:1') + second": 0,
    "torch.zeros(3, device='cuda') + first": 0,
    "first[1:].new_zeros(2).copy_(first[1:])": 0,
    "torch.tensor([], device='cuda:0')": 0,
    "host.to(first.device, non_blocking=True) + first": 0,
    "torch.tensor([1.0, 2.0, 3.0], device='cuda:1') + second": 1,
    "first.copy_(host)": 1,
    "first[host.long()]": 1,
    "first[[0, 1]]": 1,
    "first[first > 1]": 1,
    "first[2].item()": 1,
    "bool(first.any())": 1,
    "first.tolist()": 1,
    "first.cpu() + host": 1,
    "host.copy_(first)": 1,
    "torch.tensor([first[0], 2.0])": 1,
    "host + host.tolist()[0]": 0,
}
"""What it allows, and how often a GPU is waited for."""


@pytest.fixture
def names(gpus: Any) -> dict[str, Any]:
    import torch

    host = torch.arange(3.0)
    return {"torch": torch, "host": host, "first": host.to("cuda:0"), "second": host.to("cuda:1")}


def test_what_cuda_refuses_is_refused(names: dict[str, Any]) -> None:
    for work in REFUSED:
        with pytest.raises(RuntimeError, match=r"Expected .* the same device"):
            eval(work, dict(names))


def test_what_it_allows_is_computed_and_waits_are_counted(names: dict[str, Any], gpus: Any) -> None:
    host = names["host"]
    on_cpu = {**names, "first": host.clone(), "second": host.clone()}
    for work, waits in ALLOWED.items():
        gpus.waits.clear()
        said = eval(work, dict(names))
        assert (work, gpus.waits.total()) == (work, waits)
        expected = eval(re.sub("'cuda(:.)?'", "'cpu'", work), dict(on_cpu))
        assert listed(said) == listed(expected)


def test_what_is_written_through_a_view_is_seen(names: dict[str, Any]) -> None:
    first = names["first"]
    first[1:][0] = 7.0
    first.reshape(3, 1)[2] += 1
    assert first.tolist() == [0.0, 7.0, 3.0]
    assert str(first[1:].device) == "cuda:0"


def listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
