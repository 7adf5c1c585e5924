"""What commands print of names and messages that others chose: on its own line, and harmless to a terminal."""

from __future__ import annotations

import re
import sys

from hitui.services.logs import display_text

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of surrogate pairs, as JSON may hold them; those between stand for the bytes of a name."""


def harmless(text: str) -> str:
    """The text without anything that a terminal would act on, line ends too; of no UTF-8 name, its bytes."""
    if text.isascii() and text.isprintable():
        return text
    return display_text(
        _NO_BYTES.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8", "surrogateescape")
    )


def warn(message: object) -> None:
    """One line on stderr."""
    print(f"hitui: {harmless(str(message))}", file=sys.stderr)
