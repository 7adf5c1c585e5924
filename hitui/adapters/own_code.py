"""Which code of hitui this is: `__version__` stays the same while an installation is edited or pulled anew."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_ELSEWHERE = {"commands", "demo", "services", "ui"}
"""Folders of which no supervisor knows anything."""


@cache
def code_at_first() -> str:
    """What `code_now` said when this process first asked: of what it has imported, where that is as it begins."""
    return code_now()


def code_now() -> str:
    """A digest of the files that a supervisor is made of; empty where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in sorted(_ROOT.rglob("*.py")):
            name = path.relative_to(_ROOT)
            if name.parts[0] not in _ELSEWHERE:
                digest.update(f"{name}\n".encode() + path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()[:12]
