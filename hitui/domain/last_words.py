"""What the end of a log says of a job that ended: its last line that is neither a bar nor of an ordinary answer.

Runners of this benchmark say several lines of each task that they answer, from `Query ID: …` to how long it took, and
none of them tells why a job ended.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from hitui.domain.jobs import one_line
from hitui.domain.progress import without_bars

LAST_LINES = 20
"""What was said further up, and was followed by answers, is not taken for the last words."""
_BEGIN = re.compile(r"Query ID: \S+ \| ")
_ORDINARY = ("  answer:", "Predictions:")
"""How the line behind the first one begins. What is said of a task that is tried once more begins as that one does."""
_END = re.compile(r"(  .*[}:] \d+\.\d+ s|Processing Time: \d+\.\d+ ?s)$")


def last_words(tail: str) -> str:
    """One line; empty where the last lines say nothing else. `tail`: the end of a log, from where a line begins."""
    lines = [line.rstrip() for line in without_bars(tail).split("\n")]
    told = [line for line in lines if line.strip("= ")][-LAST_LINES:]
    left: list[str] = []
    in_answer = False
    for line, following in zip_longest(told, told[1:], fillvalue=""):
        if _BEGIN.match(line) and following.startswith(_ORDINARY):
            in_answer = True
        elif _END.match(line):
            if not in_answer:
                # It began further up, and all of this was part of it.
                left.clear()
            in_answer = False
        elif not in_answer:
            left.append(line)
    return one_line("\n".join(left))
