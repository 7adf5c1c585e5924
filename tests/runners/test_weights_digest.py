"""Which weights lie in a folder: another one of any tensor is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hitui_runners.engines import weights_digest as module
from hitui_runners.engines.weights_digest import places_of_tensors, weights_digest

TENSORS = 300
BYTES = 20_000


def file_of_tensors(path: Path, changed: int | None = None, tensors: int = TENSORS) -> Path:
    """Tensors of made-up numbers, one of them another one nearly everywhere."""
    path.parent.mkdir(exist_ok=True)
    head: dict[str, object] = {
        f"layers.{number}.weight": {
            "dtype": "BF16",
            "shape": [BYTES // 2],
            "data_offsets": [number * BYTES, (number + 1) * BYTES],
        }
        for number in range(tensors)
    }
    head["__metadata__"] = {"format": "pt"}
    words = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for number in range(tensors):
            file.write(bytes([number % 251 + (number == changed)]) * BYTES)
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a test can write are too large to be read whole."""
    monkeypatch.setattr(module, "WHOLE_BYTES", 1000)


@pytest.mark.usefixtures("large")
def test_another_one_of_any_tensor_is_told_and_the_place_is_not(tmp_path: Path) -> None:
    digests = {}
    for changed in (None, 0, 1, 150, TENSORS - 1):
        file_of_tensors(tmp_path / str(changed) / "model.safetensors", changed)
        digests[changed] = weights_digest(tmp_path / str(changed))
    assert len(set(digests.values())) == len(digests)

    file_of_tensors(tmp_path / "elsewhere/model.safetensors")
    (tmp_path / "elsewhere/optimizer.pt").write_bytes(b"state")
    assert weights_digest(tmp_path / "elsewhere") == digests[None]


@pytest.mark.usefixtures("large")
def test_little_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = file_of_tensors(tmp_path / "model.safetensors")
    size = path.stat().st_size
    places = places_of_tensors(path, size)
    assert len(places) == 1 + 2 * TENSORS
    assert all(0 <= begin <= begin + length <= size for begin, length in places)
    assert sum(length for _, length in places) < size / 2


@pytest.mark.parametrize(
    "content",
    [
        b"\x93noise\xff\xfe" + bytes(5000),
        (2**40).to_bytes(8, "little") + b"{}" + bytes(5000),
        (40).to_bytes(8, "little") + b'{"a": {"data_offsets": [0, 999999999]}} ' + bytes(5000),
        (40).to_bytes(8, "little") + b'{"a": {"data_offsets": [0, 99.5]}}      ' + bytes(5000),
        (20).to_bytes(8, "little") + b'{"a": "no offsets"}x' + bytes(5000),
        (2).to_bytes(8, "little") + b"[]" + bytes(5000),
        b"",
    ],
    ids=[
        "noise",
        "a head without end",
        "a tensor behind the end",
        "half a byte",
        "no offsets",
        "a list",
        "empty",
    ],
)
@pytest.mark.usefixtures("large")
def test_what_does_not_say_where_its_tensors_lie_is_told_by_samples(tmp_path: Path, content: bytes) -> None:
    digests = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content + bytes([number]) * 500_000)
        digests.add(weights_digest(folder))
    assert None not in digests
    assert len(digests) == 2


def test_a_small_file_is_told_by_every_byte(tmp_path: Path) -> None:
    path = file_of_tensors(tmp_path / "one/model.safetensors", tensors=3)
    other = bytearray(path.read_bytes())
    other[-1] ^= 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.safetensors").write_bytes(other)
    assert weights_digest(tmp_path / "one") != weights_digest(tmp_path / "other")
    (tmp_path / "none").mkdir()
    assert weights_digest(tmp_path / "none") is None
