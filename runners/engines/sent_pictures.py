"""Pictures as they are sent to a server: the file as it is, or made smaller where Pillow is."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

from hitui_runners.engines.base import TaskFailed
from hitui_runners.engines.demo import png_size
from hitui_runners.engines.pictures import decoded, smaller
from hitui_runners.look import IS_POINTER, is_pointer


class SentPicture:
    """A PNG file for one prompt. Raises TaskFailed where it is none, OSError where the disk does not give it."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._content = path.read_bytes()
        size = png_size(path)
        if size is None:
            what = IS_POINTER if is_pointer(self._content) else "is no PNG image"
            raise TaskFailed(f"Image cannot be read: {path.name} {what}")
        self.size = self._sent = size
        """(width, height) in pixels, of the file."""

    @property
    def pixels(self) -> int:
        """Of what is sent."""
        return self._sent[0] * self._sent[1]

    def scale(self, most: int | None, recovery: dict[str, object]) -> None:
        """Makes it have no more than `most` pixels. Raises TaskFailed where it cannot be decoded, or scaled here."""
        if most is None or self.pixels <= most:
            return
        if not has_pillow():
            raise TaskFailed(f"Image cannot be scaled: install pillow in {sys.executable}", unexpected=True)
        # Of one that lies on its side in the file it is upright.
        image = smaller(decoded(self._content, self._name), most)
        self._sent = image.size
        scaled = io.BytesIO()
        image.save(scaled, "PNG")
        self._content = scaled.getvalue()
        recovery["max_pixels"] = most

    def part(self) -> dict[str, object]:
        """It as a part of a message."""
        data = base64.b64encode(self._content).decode()
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True
