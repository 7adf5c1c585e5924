"""What commands print of names and messages that others chose: on its own line, and harmless to a terminal."""

from __future__ import annotations

import sys

from hitui.services.logs import display_text


def harmless(text: str) -> str:
    """The text without anything that a terminal would act on, line ends too; of no UTF-8 name, its bytes."""
    if text.isascii() and text.isprintable():
        return text
    return display_text(text.encode("utf-8", "surrogateescape"))


def warn(message: object) -> None:
    """One line on stderr."""
    print(f"hitui: {harmless(str(message))}", file=sys.stderr)
