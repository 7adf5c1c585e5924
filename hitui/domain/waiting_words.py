"""How it is said what a job waits for. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Sequence

_MANY = (
    ("does not say its ", "do not say their "),
    ("is no whole one", "are no whole ones"),
    ("is ", "are "),
    ("has ", "have "),
    ("does ", "do "),
)
"""How a reason begins of one GPU, and of several."""


def gibibytes(size: int) -> str:
    """`20 GiB`, `12.4 GiB`."""
    value = f"{size / 1024**3:.1f}"
    return f"{value.removesuffix('.0')} GiB"


def listed(reasons: Sequence[tuple[str, str]]) -> str:
    """`GPU 1 has 12.4 GiB; GPU 5, 6 are excluded`: GPUs with the same reason together, in the given order."""
    grouped: dict[str, list[str]] = {}
    for label, reason in reasons:
        grouped.setdefault(reason, []).append(label)
    return "; ".join(
        f"GPU {', '.join(labels)} {reason if len(labels) == 1 else of_several(reason)}"
        for reason, labels in grouped.items()
    )


def of_several(reason: str) -> str:
    """The reason with the verb in the plural: `is excluded`, `are excluded`."""
    for one, many in _MANY:
        if reason.startswith(one):
            return many + reason.removeprefix(one)
    return reason


def jobs(numbers: Sequence[int]) -> str:
    """`job 14`, `jobs 14, 15`."""
    return f"job{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
