"""Decoders of typed values, each made by one thread at a time.

msgspec learns what a type holds when it is first asked for, and another thread that asks for the same type, or for one
that holds it, meanwhile meets what is half learnt: the process ends with a segmentation fault (seen with 0.22). So
nothing else in hitui asks msgspec for a decoder or for a conversion.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from mmap import mmap

_T = TypeVar("_T")
_learning = threading.RLock()
_json: dict[Any, Callable[[Any], Any]] = {}


def json_decoder(kind: type[_T]) -> Callable[[bytes | memoryview | mmap | str], _T]:
    """What makes such a value of JSON. It raises msgspec.DecodeError, of which ValidationError is one."""
    with _learning:
        if kind not in _json:
            _json[kind] = msgspec.json.Decoder(kind).decode
        return _json[kind]


def msgpack_decoder(kind: type[_T]) -> Callable[[bytes], _T]:
    """The same of MessagePack."""
    with _learning:
        return msgspec.msgpack.Decoder(kind).decode


def convert(value: object, kind: type[_T]) -> _T:
    """The same of dicts, lists and plain values. Raises msgspec.ValidationError."""
    json_decoder(kind)
    return msgspec.convert(value, kind)


def python_json(content: bytes) -> Any:
    """What stands in a text of results as Python's own programs write it: with NaN, and in any encoding of JSON. Raises
    ValueError and RecursionError.

    A byte that is no UTF-8, or a number of more digits than Python reads, costs no answer, unless it stands in it.
    """
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        try:
            data = json.loads(content.decode("utf-8-sig", "surrogateescape"), parse_int=_whole_number)
        except ValueError:
            raise error from None
        if any(_is_damaged(entry.get(key)) for entry in _entries(data) for key in ("id", "Prediction")):
            raise
        return data
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(content, parse_int=_whole_number)


def _entries(data: Any) -> list[dict[str, Any]]:
    """The objects of a list of results, in an object too, or the one of a line."""
    results = data.get("results", [data]) if isinstance(data, dict) else data
    return [entry for entry in results if isinstance(entry, dict)] if isinstance(results, list) else []


def _is_damaged(value: object) -> bool:
    return isinstance(value, str) and any("\udc80" <= letter <= "\udcff" for letter in value)


def _whole_number(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
