"""The final answer in a model's reply, and what a result says when there is none."""

from __future__ import annotations

import re

LABEL = re.compile(r"\[\s*final\s+answer\s*\](?:[\s*]*[:：])?|\bfinal\s+answer[\s*]*[:：]", re.IGNORECASE)
"""Without the brackets too, as the benchmark's own programs take it."""
FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
IMPORTS = re.compile(r"^[ \t]*(?:import|from)[ \t]+(?:pandas|matplotlib)\b", re.MULTILINE)

DRAWS = re.compile(r"\bplt\.|\.plot\b")
"""No words for people hold these."""

ERROR_PREFIX = "[ERROR] "
NO_FINAL_ANSWER = ERROR_PREFIX + "Failed to get proper final answer format"


def final_answer(reply: str, *, is_code: bool = False) -> str | None:
    """What follows the last `[Final Answer]:` with anything behind it, or None. Asterisks around it are Markdown. In a
    thought that did not end the model had not made up its mind.

    For code, a fenced block or a program that starts with its imports counts without the label too, since
    nothing else in a reply looks like that; what follows a label and draws nothing, only where there is no such program.
    """
    labelled = None
    reply = without_open_thought(reply)
    for match in reversed(list(LABEL.finditer(reply))):
        end = LABEL.search(reply, match.end())
        answer = _bare(reply[match.end() : end.start() if end else len(reply)])
        if is_code:
            labelled = labelled or answer
            answer = _code(answer) or (answer if DRAWS.search(answer) else "")
        if answer:
            return answer
    return _code(reply) or labelled or None if is_code else None


def without_open_thought(reply: str) -> str:
    """The reply up to where a model began to think and came to no end, as when its tokens run out."""
    # By no pattern: a reply may be as long as a server likes, and each beginning would be followed to the end.
    start = reply.find("<think>", reply.rfind("</think>") + 1)
    return reply if start < 0 else reply[:start]


def _bare(text: str) -> str:
    """Without the space, of any kind, and the asterisks around it."""
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or text[start] == "*"):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] == "*"):
        end -= 1
    return text[start:end]


def _code(text: str) -> str | None:
    for match in reversed(list(FENCE.finditer(text))):
        if IMPORTS.search(match[1]):
            return match[1].strip()
    start = IMPORTS.search(text)
    return text[start.start() :].strip() if start else None
