"""Which weights lie in a model folder, by a digest that another one of any of its tensors changes.

Whoever tunes or merges a model changes a tensor nearly everywhere in it, so that some samples of each tell. Files that are
small are read whole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WEIGHTS = re.compile(r".*\.safetensors|pytorch_model.*\.bin|adapter_model.*\.bin")
WHOLE_BYTES = 64 * 1024 * 1024
"""A file of no more is read whole."""
SAMPLE_BYTES = 4096
SAMPLES_OF_A_TENSOR = 2
"""At its start and in its middle."""
SAMPLES_OF_A_FILE = 256
"""Evenly spread, of one that does not say where its tensors lie."""
MOST_OF_A_HEAD = 64 * 1024 * 1024
READERS = 16
"""At a time: a disk of another machine takes as long for one as for all of them."""

Place = tuple[int, int]
"""Offset in a file, and how many bytes from there."""


@functools.cache
def weights_digest(folder: Path) -> str | None:
    """`sha256:` and twelve digits; None where there are no weights that can be read."""
    digest, found = hashlib.sha256(), False
    with ThreadPoolExecutor(READERS) as readers:
        for path in sorted(path for path in folder.iterdir() if WEIGHTS.fullmatch(path.name)):
            try:
                of_file = _of_file(path, readers)
            except OSError:
                # Loading the model says what is wrong with it.
                continue
            digest.update(f"{path.name}\0".encode("utf-8", "surrogateescape") + of_file)
            found = True
    return f"sha256:{digest.hexdigest()[:12]}" if found else None


def _of_file(path: Path, readers: ThreadPoolExecutor) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(f"{size}\0".encode())
        if size <= WHOLE_BYTES:
            places: Iterable[Place] = [(0, size)]
        else:
            places = places_of_tensors(path, size) or _evenly(0, size, SAMPLES_OF_A_FILE)
        for read in readers.map(lambda place: os.pread(file.fileno(), place[1], place[0]), places):
            digest.update(read)
    return digest.digest()


def head_of_tensors(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Where the tensors of a file begin, and what its head says of each; None: the head is not whole.

    Format: eight bytes with the length of the head, little-endian, the head in JSON, the tensors
    (https://huggingface.co/docs/safetensors). Raises ValueError where it is no such file.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > MOST_OF_A_HEAD:
            raise ValueError(f"a head of {length} bytes")
        head = file.read(length)
    if len(start) < 8 or len(head) < length:
        return None
    tensors = json.loads(head)
    if not isinstance(tensors, dict):
        raise ValueError("a head that is no object")
    return 8 + length, {name: told for name, told in tensors.items() if name != "__metadata__"}


def places_of_tensors(path: Path, size: int) -> list[Place]:
    """Where samples of each tensor of a file lie, and its head; none where it is no whole file of safetensors."""
    try:
        head = head_of_tensors(path)
        if head is None:
            return []
        first, tensors = head
        places = [(0, first)]
        for begin, end in sorted(tuple(told["data_offsets"]) for told in tensors.values()):
            if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end <= size - first):
                return []
            places += _evenly(first + begin, end - begin, SAMPLES_OF_A_TENSOR)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return places


def _evenly(begin: int, length: int, samples: int) -> list[Place]:
    return [
        (begin + length * number // samples, min(SAMPLE_BYTES, length - length * number // samples))
        for number in range(samples)
    ]
