"""How far a running job is, from what its runner writes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Progress of one running job. Nothing is guessed: what is not known is None."""

    phase: str = ""
    """`loading`, `running`, `scoring`, `end` as the runner says; empty where it says nothing."""
    done: int | None = None
    """Tasks finished in this launch, failed ones included."""
    total: int | None = None
    errors: int = 0
    rate: float | None = None
    """Tasks a second, over the last minutes; None until two tasks have ended."""
    eta_seconds: float | None = None
    source: str = ""
    """Where it is read from: `events`, or `log` for a tqdm line."""
