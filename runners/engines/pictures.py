"""Pictures of tables, each opened and prepared once for all questions about it."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import TaskFailed, image_too_large
from hitui_runners.errors import words_of
from hitui_runners.look import IS_POINTER, is_pointer
from hitui_runners.output import say

MAX_IMAGE_PIXELS = 178_956_970
"""The most that Pillow opens by itself, before it takes an image for an attack."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What a file may hold, whatever its name says. Pillow knows more, and for one of them starts a program."""
_PNG = b"\x89PNG\r\n\x1a\n"
_WITH_TRANSPARENCY = ("RGBA", "LA", "PA", "RGBa", "La")


class Pictures:
    """Opens picture files; remembers the last one, by what is in the file."""

    def __init__(self, max_pixels: int = MAX_IMAGE_PIXELS) -> None:
        """`max_pixels`: a picture of more is not opened."""
        self._max_pixels = max_pixels
        self._content = b""
        self._image: Any = None

    def open(self, path: Path) -> Any:
        """The picture in RGB, the same object as before where the file holds the same.

        Raises TaskFailed where it cannot be decoded, OSError where the disk does not give it.
        """
        content = path.read_bytes()
        if self._image is None or content != self._content:
            self.drop()
            self._image = decoded(content, path.name, self._max_pixels)
            self._content = content
        return self._image

    def drop(self) -> None:
        """Forgets the last one."""
        self._content, self._image = b"", None


class RememberingImageProcessor:
    """Stands for an image processor of transformers; what it made of the last picture it does not make again."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._image: Any = None
        self._options: dict[str, Any] = {}
        self._prepared: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Any, **options: Any) -> Any:
        """What the processor makes of `images`; remembered where that is one picture, by its identity.

        Raises TaskFailed where the model can have no such picture, as one that is 200 times as wide as high.
        """
        image = images
        while isinstance(image, list) and len(image) == 1:
            image = image[0]
        if isinstance(image, list):
            return self._processor(images=images, **options)
        if self._prepared is None or image is not self._image or options != self._options:
            self.drop()
            self._options = copy.deepcopy(options)
            try:
                self._prepared = self._processor(images=images, **options)
            except ValueError as error:
                width, height = image.size
                raise TaskFailed(
                    f"Image cannot be prepared: {width}x{height} pixels: {words_of(error)}"
                ) from error
            self._image = image
        # A copy: callers take values out and put others in.
        return copy.copy(self._prepared)

    def drop(self) -> None:
        """Forgets the last one."""
        self._image, self._options, self._prepared = None, {}, None


def decoded(content: bytes, name: str, max_pixels: int = MAX_IMAGE_PIXELS) -> Any:
    """The picture of a file in RGB, upright, and white where it is transparent, as on paper.

    Raises TaskFailed where it has more pixels, or cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(content) as image:
            if image.width * image.height > max_pixels:
                raise too_large_to_open(image.size, max_pixels)
            try:
                return _in_rgb(image, name)
            except MemoryError as error:
                raise image_too_large(image.size) from error
    except Image.DecompressionBombError as error:
        raise TaskFailed(f"Image too large to open: {words_of(error)}") from error
    except UnidentifiedImageError as error:
        what = IS_POINTER if is_pointer(content) else "is no image"
        raise TaskFailed(f"Image cannot be read: {name} {what}") from error
    except TaskFailed:
        raise
    except Exception as error:
        # Whatever decoders raise at what they did not expect.
        raise TaskFailed(f"Image cannot be read: {name}: {words_of(error)}") from error


def smaller(image: Any, most: int) -> Any:
    """The picture with no more than `most` pixels, in its proportions as far as whole pixels allow."""
    from PIL import Image

    factor = math.sqrt(most / (image.width * image.height))
    width, height = (max(1, int(edge * factor)) for edge in image.size)
    # Of one that is but a line the other edge would be too long.
    width = max(1, min(width, most // height))
    height = min(height, most // width)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _in_rgb(image: Any, name: str) -> Any:
    from PIL import Image, ImageOps

    image.load()
    try:
        # As transformers loads pictures itself.
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (notes on it that cannot be read are none of its pixels)
        say(f"\n{name}: which side is up cannot be read, so it is taken as it is: {words_of(error)}")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # 16 bits a pixel, of which Pillow would take all above 255 for white.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of the mode {image.mode} have no known white")
    if image.mode in _WITH_TRANSPARENCY or "transparency" in image.info:
        shown = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(shown, mask=shown)
        return paper
    return image.convert("RGB")


def too_large_to_open(size: tuple[int, int], max_pixels: int) -> TaskFailed:
    """Of a picture of `size` (width, height) pixels. No out-of-memory: with fewer pixels it would be as large a file."""
    return TaskFailed(
        f"Image too large to open: {size[0]}x{size[1]} pixels, more than the {max_pixels} allowed"
    )


def _opened(content: bytes) -> Any:
    """The picture, its head read only."""
    from PIL import Image, PngImagePlugin

    file = io.BytesIO(content)
    # `Image.open` has a limit of its own, which is one for the whole process.
    return (
        PngImagePlugin.PngImageFile(file) if content.startswith(_PNG) else Image.open(file, formats=FORMATS)
    )
