"""Pictures of tables, each opened and prepared once for all questions about it."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import TaskFailed, image_too_large
from hitui_runners.errors import words_of

MAX_IMAGE_PIXELS = 178_956_970
"""The most that Pillow opens by itself, before it takes an image for an attack."""
_PNG = b"\x89PNG\r\n\x1a\n"


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
        """What the processor makes of `images`; remembered where that is one picture, by its identity."""
        image = images
        while isinstance(image, list) and len(image) == 1:
            image = image[0]
        if isinstance(image, list):
            return self._processor(images=images, **options)
        if self._prepared is None or image is not self._image or options != self._options:
            self.drop()
            self._options = copy.deepcopy(options)
            self._prepared = self._processor(images=images, **options)
            self._image = image
        # A copy: callers take values out and put others in.
        return copy.copy(self._prepared)

    def drop(self) -> None:
        """Forgets the last one."""
        self._image, self._options, self._prepared = None, {}, None


def decoded(content: bytes, name: str, max_pixels: int = MAX_IMAGE_PIXELS) -> Any:
    """The picture of a file in RGB. Raises TaskFailed where it has more pixels, or cannot be decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(content) as image:
            if image.width * image.height > max_pixels:
                raise too_large_to_open(image.size, max_pixels)
            try:
                return image.convert("RGB")
            except MemoryError as error:
                raise image_too_large(image.size) from error
    except Image.DecompressionBombError as error:
        raise TaskFailed(f"Image too large to open: {words_of(error)}") from error
    except UnidentifiedImageError as error:
        raise TaskFailed(f"Image cannot be read: {name} is no image") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise TaskFailed(f"Image cannot be read: {name}: {words_of(error)}") from error


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
    return PngImagePlugin.PngImageFile(file) if content.startswith(_PNG) else Image.open(file)
