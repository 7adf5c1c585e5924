"""Pictures are opened and prepared once for all questions about them, and again when they are others."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import TaskFailed
from hitui_runners.engines.pictures import MAX_IMAGE_PIXELS, Pictures, RememberingImageProcessor
from hitui_runners.realhitbench.recovery import asked_rung

from tests.tools.benchmark import png, png_head

pytestmark = pytest.mark.model


class Processor:
    """In the place of a real one."""

    merge_size = 2

    def __init__(self) -> None:
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def __call__(self, images: Any, **options: Any) -> UserDict[str, Any]:
        self.calls.append((images, options))
        if options.get("size") == {"longest_edge": 0}:
            raise ValueError("no pixels left")
        return UserDict({"pixel_values": len(self.calls)})


def test_a_picture_is_the_same_object_while_its_file_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "shown.png"
    path.write_bytes(png(8, 8))
    pictures = Pictures()
    first = pictures.open(path)
    path.write_bytes(png(8, 8))
    assert pictures.open(path) is first

    path.write_bytes(png(8, 8, 11))
    changed = pictures.open(path)
    assert changed is not first
    assert changed.mode == "RGB"
    path.write_bytes(b"no picture")
    with pytest.raises(TaskFailed, match=r"Image cannot be read: shown\.png is no image"):
        pictures.open(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pictures.open(path)


def test_a_picture_above_the_limit_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "shown.png"
    path.write_bytes(png_head(40_000, 20_000) + png(1, 1)[33:])

    for pictures, allowed in ((Pictures(), MAX_IMAGE_PIXELS), (Pictures(799_999_999), 799_999_999)):
        with pytest.raises(TaskFailed) as failed:
            pictures.open(path)
        assert failed.value.message == (
            f"Image too large to open: 40000x20000 pixels, more than the {allowed} allowed"
        )
        assert asked_rung(f"[ERROR] {failed.value.message}") is None
    path.write_bytes(png(64, 64))
    with pytest.raises(TaskFailed, match="more than the 4095 allowed"):
        Pictures(4095).open(path)
    assert Pictures(4096).open(path).size == (64, 64)


def test_the_limit_is_no_one_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    path = tmp_path / "shown.png"
    path.write_bytes(png(64, 64))
    # As another part of the process may have it.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)

    assert Pictures().open(path).size == (64, 64)
    assert Image.MAX_IMAGE_PIXELS == 9


@pytest.mark.parametrize("nested", [False, True])
def test_it_is_prepared_once_for_each_way_to_do_so(nested: bool) -> None:
    processor, image, other = Processor(), object(), object()
    remembering = RememberingImageProcessor(processor)

    def prepared(image: object, longest: int) -> Any:
        images = [[image]] if nested else [image]
        return remembering(images, size={"longest_edge": longest})["pixel_values"]

    assert [prepared(image, 9), prepared(image, 9), prepared(image, 4), prepared(image, 4)] == [1, 1, 2, 2]
    assert [prepared(other, 4), prepared(image, 4)] == [3, 4]
    assert len(processor.calls) == 4
    assert remembering.merge_size == 2


def test_what_a_caller_takes_out_is_there_for_the_next() -> None:
    remembering, image = RememberingImageProcessor(Processor()), object()
    remembering(image).pop("pixel_values")
    assert remembering(image) == {"pixel_values": 1}


def test_a_failure_is_not_remembered_nor_are_several_pictures() -> None:
    processor, image = Processor(), object()
    remembering = RememberingImageProcessor(processor)
    for _ in range(2):
        with pytest.raises(ValueError, match="no pixels left"):
            remembering(image, size={"longest_edge": 0})
    for _ in range(2):
        remembering([image, image])
    assert len(processor.calls) == 4
