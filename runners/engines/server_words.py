"""What servers that speak OpenAI's API say when they refuse a prompt, and how many tokens they find in it: the words of
vLLM, SGLang, llama.cpp and OpenAI itself.
"""

from __future__ import annotations

import re

from hitui_runners.engines.json_server import Refused

_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|max(?:imum)?[ _](?:allowed |model[ _]|prompt[ _]|input[ _])+len"
    r"|prompt is too long|input is too long|too many tokens|reduce the length|exceed_context|encoder cache size"
    r"|max_tokens must be at least 1, got -",
    re.IGNORECASE,
)
"""How servers say that a prompt, or its picture, has more tokens than they take."""
_PROMPT_TOKENS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(\d{1,12}) in (?:the messages|your prompt)",
        r"\b(\d{1,12}) tokens from the input",
        r"(?<!at least )(?<!upper bound for )\b(\d{1,12})\W{1,2}(?:inputs|input tokens|prompt tokens)",
        r"\b(?:input|prompt|request)(?: length)? \((?:length )?(\d{1,12})\b",
        r"\binput length (\d{1,12})\b",
        r"\b(?:resulted in|contains|too long:) (\d{1,12}) tokens",
        r"\brequested (\d{1,12}) tokens",
    )
)
"""Where they say how many; the first that fits counts."""
_AT_LEAST = re.compile(r"\bat least (\d{1,12}) input tokens")
"""Where they stopped counting."""
_UNSUPPORTED = re.compile(r"Unsupported (?:parameter|value): '(temperature|max_tokens)'")
"""How OpenAI's newer models refuse what every other server takes."""
_PICTURE = re.compile(r"encoder cache size|\bimage item\b", re.IGNORECASE)
"""How they say that it is the picture."""
_ANSWER_TOO_LONG = re.compile(r"\bmax_(?:completion_)?tokens=\d+ cannot be greater than", re.IGNORECASE)
"""How they say that no prompt could have so long an answer."""
_OUT_OF_MEMORY = re.compile(r"out of memory", re.IGNORECASE)


def is_too_large(refused: Refused) -> bool:
    """Whether a smaller prompt or picture might be answered."""
    return (
        refused.status == 413
        or _TOO_LONG.search(refused.message) is not None
        or _OUT_OF_MEMORY.search(refused.message) is not None
    )


def is_about_picture(refused: Refused) -> bool:
    """Whether it is the picture that must be smaller, whatever stands beside it."""
    # Bytes are refused, and not tokens: a picture has most of them.
    return refused.status == 413 or _PICTURE.search(refused.message) is not None


def asks_for_too_long_an_answer(refused: Refused) -> bool:
    """Whether the model has no room for such an answer, whatever is asked."""
    return _ANSWER_TOO_LONG.search(refused.message) is not None


def unsupported_option(refused: Refused) -> str | None:
    """The option that the model does not take, by its name."""
    found = _UNSUPPORTED.search(refused.message)
    return found[1] if found else None


def tokens_said(refused: Refused) -> int | None:
    """How many tokens the prompt has, where the server says it."""
    own = count(refused.details.get("n_prompt_tokens"))
    if own is not None:
        return own
    for pattern in _PROMPT_TOKENS:
        if found := pattern.search(refused.message):
            return int(found[1]) or None
    return None


def least_tokens_said(refused: Refused) -> int:
    """How many tokens the prompt has at the least; 0: the server does not say."""
    least = _AT_LEAST.search(refused.message)
    return int(least[1]) if least else 0


def count(value: object) -> int | None:
    """A number of tokens in an answer; None: it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
