"""Which model lies in a folder, told without reading all of its weights.

A digest says it: of every small file that a model is set up from (configuration, tokenizer, chat template,
processor), and of the sizes and a few samples of its weights. Another one says tensor by tensor which weights they are
(`weights_digest`); the first stays as it is, since results name it. Equal folders have equal digests wherever they lie. The commit of the hub, where the folder still knows
it, is for people: files may have been changed since.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from hitui_runners.engines.base import EngineFacts
from hitui_runners.engines.weights_digest import WEIGHTS, head_of_tensors, weights_digest
from hitui_runners.errors import words_of

SEED = 0
"""Greedy answers need none; it is for what the code of a model may draw at random."""
SAMPLES = 16
SAMPLE_BYTES = 4096
"""So many bytes at so many places of each weight file, evenly spread."""
MOST_BYTES = 64 * 1024 * 1024
"""Of a small file; tokenizers have some 10 MB."""
_SETUP = re.compile(r".*\.(json|jinja|txt|model)")
_NOT_SET_UP_FROM = re.compile(
    r"trainer_state\.json|README.*|LICENSE.*|.*\.index\.json|all_results\.json|requirements.*"
)
_TOKENIZER = re.compile(r"tokenizer\.json|vocab\..*|.*\.model|.*\.tiktoken|tekken\.json")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@functools.cache
def model_digest(folder: Path) -> str:
    """`sha256:` and twelve digits. What cannot be read is left out: loading the model says what is wrong with it."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if WEIGHTS.fullmatch(path.name):
            content = _samples
        elif _SETUP.fullmatch(path.name) and not _NOT_SET_UP_FROM.fullmatch(path.name):
            content = _whole
        else:
            continue
        try:
            part = content(path)
        except OSError:
            continue
        digest.update(f"{path.name}\0".encode("utf-8", "surrogateescape") + hashlib.sha256(part).digest())
    return f"sha256:{digest.hexdigest()[:12]}"


def cannot_be_loaded(folder: Path, error: Exception) -> str:
    """One line's end: what the folder lacks, and what the library says that was to load it."""
    if "trust_remote_code" in str(error):
        return (
            "the model brings code of its own, which is not run here; take one of a kind that transformers knows itself "
            "(InternVL's folders for it end in -hf), or serve it and use the engine openai"
        )
    lacks = _lacks(folder)
    what = f"{', '.join(lacks)}; copy or download the model again: " if lacks else ""
    return f"the model cannot be loaded: {what}{words_of(error)}"


def _lacks(folder: Path) -> list[str]:
    """What was not copied or downloaded whole, in words, with the files' names."""
    found = []
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    for path in paths:
        if path.suffix == ".safetensors":
            try:
                told, size = _size_told_by(path), path.stat().st_size
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                # No such file, or a head that says something else.
                continue
            if told is None or size < told:
                found.append(f"{path.name} is cut off at {size} bytes" + (f" of {told}" if told else ""))
        elif path.suffix == ".json" and _is_no_json(path):
            found.append(f"{path.name} is no whole JSON")
    if not any(_TOKENIZER.fullmatch(path.name) for path in paths):
        found.append("there is no tokenizer.json")
    return found


def _is_no_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return True
    except (OSError, RecursionError):
        # What cannot be read says so itself.
        return False
    return False


def _size_told_by(path: Path) -> int | None:
    """How many bytes a file of weights should have by its head; None: not even that is whole. Raises ValueError where
    it is no such file."""
    head = head_of_tensors(path)
    if head is None:
        return None
    first, tensors = head
    return first + max(
        (told["data_offsets"][1] for told in tensors.values() if "data_offsets" in told), default=0
    )


def greedy_facts(
    folder: Path,
    settings: Mapping[str, object],
    beside: Mapping[str, object],
    adapter: Path | None = None,
) -> EngineFacts:
    """What an engine says of itself that answers greedily with the model in a folder, and the adapter on it, and beside
    it what it knows once it has loaded the model."""
    name = folder.resolve().name
    return EngineFacts(
        {
            "model": _digest_of(model_digest, folder, adapter),
            "weights": _digest_of(weights_digest, folder, adapter),
            "sampling": "greedy",
            "seed": SEED,
            **settings,
        },
        {
            "model_folder": name if adapter is None else f"{name} + {adapter.resolve().name}",
            "model_commit": hub_commit(folder),
            **beside,
        },
    )


def _digest_of(digest: Callable[[Path], str | None], folder: Path, adapter: Path | None) -> str | None:
    """One for both: results know of no adapter that were made before there was a word for it."""
    of_model = digest(folder)
    if adapter is None or of_model is None:
        return of_model
    return f"sha256:{hashlib.sha256(f'{of_model} {digest(adapter)}'.encode()).hexdigest()[:12]}"


def hub_commit(folder: Path) -> str | None:
    """The commit that was downloaded, by the cache that it lies in, by its configuration, or by the hub's own notes
    beside it; None: the folder does not say, or its files come from several."""
    for name in (folder.name, folder.resolve().name):
        if _COMMIT.fullmatch(name):
            return name
    return _commit_in_config(folder / "config.json") or _commit_in_notes(
        folder / ".cache/huggingface/download"
    )


def _commit_in_config(path: Path) -> str | None:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    found = config.get("_commit_hash") if isinstance(config, dict) else None
    return found if isinstance(found, str) and _COMMIT.fullmatch(found) else None


def _commit_in_notes(folder: Path) -> str | None:
    """Each downloaded file has one, whose first line is the commit."""
    try:
        commits = {
            path.read_text(encoding="utf-8").partition("\n")[0].strip() for path in folder.glob("*.metadata")
        }
    except (OSError, UnicodeDecodeError):
        return None
    return commits.pop() if len(commits) == 1 and _COMMIT.fullmatch(min(commits)) else None


def _whole(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def _samples(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        places = sorted({(size - SAMPLE_BYTES) * number // (SAMPLES - 1) for number in range(SAMPLES)})
        found = [os.pread(file.fileno(), SAMPLE_BYTES, max(0, place)) for place in places]
    return b"".join([str(size).encode(), *found])
