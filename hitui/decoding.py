"""Decoders of typed values, each made by one thread at a time.

msgspec learns what a type holds when it is first asked for, and another thread that asks for the same type, or for one
that holds it, meanwhile meets what is half learnt: the process ends with a segmentation fault (seen with 0.22). So
nothing else in hitui asks msgspec for a decoder or for a conversion.
"""

from __future__ import annotations

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
