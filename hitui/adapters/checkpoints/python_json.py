"""JSON as the programs write it that results come from."""

from __future__ import annotations

import json
from typing import Any


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
