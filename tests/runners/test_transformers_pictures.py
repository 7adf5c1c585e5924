"""Pictures are opened and prepared once for all questions about them, and again when they are others."""

from __future__ import annotations

import io
from collections import UserDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hitui_runners.engines.base import TaskFailed
from hitui_runners.engines.inputs import PromptInputs
from hitui_runners.engines.pictures import (
    MAX_IMAGE_PIXELS,
    Pictures,
    RememberingImageProcessor,
    decoded,
    smaller,
)
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
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(TaskFailed, match=r"shown\.png is a Git LFS pointer; `git lfs pull` brings"):
        pictures.open(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pictures.open(path)


EDGES: dict[str, object] = {
    "llava": {"shortest_edge": 336},
    "idefics3": {"longest_edge": 1456},
    "both edges": {"shortest_edge": 224, "longest_edge": 1344},
    "gemma3": {"height": 896, "width": 896},
    "none": None,
}


@pytest.mark.parametrize("size", EDGES.values(), ids=EDGES)
def test_where_a_model_has_no_budget_of_pixels_the_picture_itself_is_made_smaller(size: object) -> None:
    from PIL import Image

    of_picture = SimpleNamespace(size=size, drop=lambda: None)
    of_words = SimpleNamespace(added_tokens_decoder={})
    picture = Image.new("RGB", (200, 120))
    for most, share, pixels in (
        (None, 1.0, 24_000),
        (None, 0.5, 12_000),
        (6_000, 1.0, 6_000),
        (6_000, 0.5, 3_000),
    ):
        inputs = PromptInputs(SimpleNamespace(image_processor=of_picture, tokenizer=of_words), 1000, most)
        recovery: dict[str, object] = {}
        shown, limits = inputs.shown(picture, share, recovery)
        assert limits is None
        assert 0.97 * pixels < shown.width * shown.height <= pixels
        assert shown.width / shown.height == pytest.approx(200 / 120, rel=0.02)
        assert recovery == ({} if shown is picture else {"max_pixels": pixels})
        # What was made of it once is not made again.
        assert inputs.shown(picture, share, {})[0] is shown


def test_a_budget_of_pixels_is_made_less() -> None:
    from PIL import Image

    of_picture = SimpleNamespace(
        size={"shortest_edge": 65_536, "longest_edge": 16_777_216}, drop=lambda: None
    )
    of_words = SimpleNamespace(added_tokens_decoder={})
    inputs = PromptInputs(SimpleNamespace(image_processor=of_picture, tokenizer=of_words), 1000, None)
    picture = Image.new("RGB", (200, 120))
    recovery: dict[str, object] = {}
    shown, limits = inputs.shown(picture, 0.5, recovery)
    assert shown is picture
    assert limits == {"shortest_edge": 12_000, "longest_edge": 12_000}
    assert recovery == {"max_pixels": 12_000}


@pytest.mark.parametrize(("size", "most", "made"), [((20_000, 3), 1_000, (1_000, 1)), ((1, 9), 4, (1, 4))])
def test_of_a_picture_that_is_but_a_line_something_is_left(
    size: tuple[int, int], most: int, made: tuple[int, int]
) -> None:
    from PIL import Image

    assert smaller(Image.new("L", size), most).size == made


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


def content(image: Any, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def black_on_nothing() -> Any:
    """A black dot in the corner, and all else transparent."""
    from PIL import Image

    image = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_as_paper(mode: str) -> None:
    image = black_on_nothing()
    shown = decoded(content(image.quantize(8) if mode == "P" else image.convert(mode)), "shown.png")

    assert shown.mode == "RGB"
    assert [shown.getpixel(place) for place in ((0, 0), (5, 5))] == [(0, 0, 0), (255, 255, 255)]


def test_sixteen_bits_a_pixel_keep_their_shades() -> None:
    from PIL import Image

    image = Image.new("I;16", (3, 1))
    for place, value in enumerate((0, 128 * 256, 65_535)):
        image.putpixel((place, 0), value)
    shown = decoded(content(image), "shown.png")

    assert [shown.getpixel((place, 0))[0] for place in range(3)] == [0, 128, 255]
    for mode in ("F", "I"):
        with pytest.raises(TaskFailed, match=r"Image cannot be read: shown\.png: .* no known white"):
            decoded(content(Image.new(mode, (3, 1)), "TIFF"), "shown.png")


def test_a_picture_that_was_taken_on_its_side_is_upright(capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.new("RGB", (30, 20))
    assert decoded(content(image, "JPEG", exif=turned), "shown.png").size == (20, 30)
    # Words about the picture that cannot be read are none of its pixels.
    assert decoded(content(image, exif=b"no notes"), "shown.png").size == (30, 20)
    assert "shown.png: which side is up cannot be read" in capsys.readouterr().out


def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # For this one Pillow would start Ghostscript, by whatever is called gs.
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"

    with pytest.raises(TaskFailed, match=r"shown\.png is no image"):
        decoded(program, "shown.png")
    assert not (tmp_path / "started").exists()


def test_what_is_damaged_or_cut_off_is_not_shown_in_part() -> None:
    from PIL import Image

    whole = content(Image.effect_noise((60, 40), 90))
    damaged = bytearray(whole)
    damaged[60] ^= 255
    for broken in (bytes(damaged), whole[: len(whole) // 2], whole[:20]):
        with pytest.raises(TaskFailed, match=r"Image cannot be read: shown\.png: "):
            decoded(broken, "shown.png")


def test_whatever_a_decoder_says_fails_the_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import PngImagePlugin

    def torn(*_: Any) -> None:
        raise NotImplementedError("filter 9")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", torn)
    with pytest.raises(TaskFailed, match=r"Image cannot be read: shown\.png: filter 9"):
        decoded(png(8, 8), "shown.png")


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


class Shown:
    """In the place of a picture."""

    size = (20_000, 1)


def test_a_failure_is_not_remembered_nor_are_several_pictures() -> None:
    processor, image = Processor(), Shown()
    remembering = RememberingImageProcessor(processor)
    for _ in range(2):
        with pytest.raises(TaskFailed) as failed:
            remembering(image, size={"longest_edge": 0})
        assert failed.value.message == "Image cannot be prepared: 20000x1 pixels: no pixels left"
        assert not failed.value.unexpected
    for _ in range(2):
        remembering([image, image])
    assert len(processor.calls) == 4
    # Nor is what was made of another picture before it taken for what was asked for this one.
    other = Shown()
    remembering(other, size={"longest_edge": 9})
    for asked in (image, other):
        with pytest.raises(TaskFailed):
            remembering(asked, size={"longest_edge": 0})
