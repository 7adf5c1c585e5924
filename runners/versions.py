"""Which versions a run has: of Python, of libraries, and of these programs."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

VERSION = "0.1.0"
"""Of this package, which often lies where no installer has written it down."""


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """That of Python, and those of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for library in libraries:
        if version := _version(library):
            found[library] = version
    return found


@functools.cache
def _version(library: str) -> str | None:
    """None where it is not installed. Looking through an environment of hundreds of packages takes its time."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def own_version() -> str:
    """`0.1.0 (3f9ac2d1)`: the version, and a digest of the programs as they stand, which someone may have changed."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return f"{VERSION} ({digest.hexdigest()[:8]})"
