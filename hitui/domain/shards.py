"""One config on several GPUs: its pending tasks in parts, by table and balanced by estimated tokens.

A table is never split, since questions over one table share their long beginning. The split is made anew from
what is pending at each launch, and part K writes into `<output>_shardK`, where it is read together with the
config: results do not depend on how many parts there were. Each part is a job of its own, so that one that
crashes or loses its GPU goes on by itself.

Longest first, each table to the part with the least so far (R. L. Graham, Bounds on multiprocessing timing
anomalies, 1969): the largest part is at most 4/3 of the smallest possible one.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence

import msgspec

from hitui.domain.tasks import Question, TaskId

BYTES_PER_TOKEN = 2
"""Of tables, which are mostly digits and marks: 1.2 MB of HTML came to about 700,000 tokens."""
IMAGE_TOKENS = 4_000
"""What a table's picture counts for, whatever its size: how large the model makes it is not known here."""
QUESTION_TOKENS = 400
"""Instructions, question and answer."""


def estimated_tokens(table_bytes: int | None, has_image: bool, limit: int) -> int:
    """About how many tokens one question over a table costs.

    `table_bytes`: size of the table's file in the config's format; None: none is read, or it is not known.
    `limit`: tokens to which a prompt is cut.
    """
    table = 0 if table_bytes is None else table_bytes // BYTES_PER_TOKEN
    return min(limit, QUESTION_TOKENS + table + (IMAGE_TOKENS if has_image else 0))


def split(
    questions: Sequence[Question], tokens: Callable[[str], int], parts: int
) -> tuple[tuple[TaskId, ...], ...]:
    """The ids of `questions` in at most `parts` parts, none of them empty, each in the order given.

    `tokens(file_name)`: what one question over that table costs. The same arguments give the same parts.
    Raises ValueError for less than one part.
    """
    if parts < 1:
        raise ValueError(f"one part at least is needed, not {parts}")
    counts: dict[str, int] = {}
    for question in questions:
        counts[question.file_name] = counts.get(question.file_name, 0) + 1
    loads = {table: count * max(1, tokens(table)) for table, count in counts.items()}
    # Sorting keeps the order of the list among equals.
    longest_first = sorted(loads, key=lambda table: -loads[table])
    so_far = [(0, part) for part in range(min(parts, len(loads)))]
    part_of: dict[str, int] = {}
    for table in longest_first:
        load, part = heapq.heappop(so_far)
        part_of[table] = part
        heapq.heappush(so_far, (load + loads[table], part))
    ids: list[list[TaskId]] = [[] for _ in so_far]
    for question in questions:
        ids[part_of[question.file_name]].append(question.id)
    return tuple(map(tuple, ids))


class Rival(msgspec.Struct, frozen=True):
    """A job that waits for the same places as one that may be split, measured in places of that one."""

    seconds: float
    """About how long it would be on one of them."""
    most: float
    """How many of them it can take, more than none: beyond that it leaves them to others."""


def long_enough(most: int, seconds: float, shortest: float) -> int:
    """How many of at most `most` parts a job of about `seconds` has; 1: it is not split.

    No part is to be much shorter than `shortest`, beside which a load would count.
    """
    return max(1, most if shortest <= 0 else min(most, math.ceil(seconds / shortest)))


def worth_splitting(most: int, places: int, seconds: float, rivals: Sequence[Rival]) -> int:
    """Into how many parts a job is split that may start now; 1: it is not.

    `most` parts are allowed, and `places` is how many such jobs could start at this moment, itself included.
    It takes its share of these by the time that it and its rivals run, each as long as it can take all of its
    own: what a long job cannot take stays idle for nobody.
    """
    left, together = float(places), seconds + sum(rival.seconds for rival in rivals)
    for rival in sorted(rivals, key=lambda rival: rival.seconds / rival.most, reverse=True):
        if left * rival.seconds <= rival.most * together:
            # Neither this one nor those that follow are given more than they can take.
            break
        left -= rival.most
        together -= rival.seconds
    share = left if together <= 0 else left * seconds / together
    return max(1, min(most, places, math.floor(share + 0.5)))


def shared_out(gpus: Sequence[str], parts: int) -> tuple[tuple[str, ...], ...]:
    """GPUs that were named for a job, for its parts: as evenly as they go, in their order."""
    at = [part * len(gpus) // parts for part in range(parts + 1)]
    return tuple(tuple(gpus[start:end]) for start, end in itertools.pairwise(at))


def shard_folder(output: str, part: int) -> str:
    """Where part `part`, from 0 on, of a config with this output folder writes."""
    return f"{output.rstrip('/')}_shard{part}"
