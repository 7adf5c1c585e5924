"""How far a running job is, from what its runner writes: event lines, or else the bar that tqdm draws."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec
from msgspec.structs import replace

RATE_WINDOW = 300.0
"""Seconds that a rate looks back."""
_MOST = 10**15
"""Tasks; beyond it a number counts none."""
_LATEST = 1e12
"""Seconds since the epoch; JSON may hold whole numbers that no float can."""


class JobProgress(msgspec.Struct, frozen=True):
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
    configs: Mapping[str, JobProgress] = {}
    """Of each config that a job of several has begun with; what stands above is then their sum."""

    @property
    def through(self) -> bool:
        """Whether every task has ended, so that neither a rate nor a time left says anything any more.

        A full bar of tqdm is no evidence: a program may draw several.
        """
        if self.phase == "end":
            return True
        counted = self.source != "log" and self.done is not None and self.total is not None
        return counted and (self.done or 0) >= (self.total or 0)

    def of(self, config: str) -> JobProgress:
        """Progress on one config of the job."""
        return self.configs.get(config, JobProgress(source=self.source)) if self.configs else self


def together(parts: Sequence[JobProgress | None]) -> JobProgress | None:
    """Progress of jobs that share one config's tasks, None of one that has said nothing yet; None: none has.

    The last of them to end ends it all, so that no time left is told while one has not told its own.
    """
    if len(parts) == 1:
        return parts[0]
    said = [part for part in parts if part is not None]
    if not said:
        return None
    going_on = [part for part in said if not part.through] or said
    phases = {part.phase for part in going_on}
    rates = [part.rate for part in going_on if part.rate is not None]
    left = [part.eta_seconds for part in going_on if part.eta_seconds is not None]
    told = len(said) == len(parts) and len(left) == len(going_on)
    return JobProgress(
        phase=phases.pop() if len(phases) == 1 else "running",
        done=_sum([part.done for part in said]),
        total=_sum([part.total for part in said]) if len(said) == len(parts) else None,
        errors=sum(part.errors for part in said),
        rate=sum(rates) if rates else None,
        eta_seconds=max(left) if told else None,
        source=said[0].source,
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    """None where one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


class EventTally(msgspec.Struct, frozen=True):
    """What the event lines so far come to."""

    phase: str = ""
    done: int | None = None
    total: int | None = None
    errors: int = 0
    task_times: tuple[float, ...] = ()
    """When the last tasks ended, seconds since the epoch, oldest first; no more than the rate needs."""
    began: float | None = None
    """When the first task was begun with, seconds since the epoch; None: nothing said so before it ended."""
    failed_in_a_row: int = 0
    """How many tasks failed since the last one that did not."""
    exit_status: int | None = None
    """Of the `end` line; None: there is none yet."""
    versions: tuple[tuple[str, str], ...] = ()
    """What the runner says that it runs with, of the `start` line; empty: it does not."""
    configs: Mapping[str, EventTally] = {}
    """Of the events that name a config: a runner that answers several says `progress` of each and of all."""

    def add(self, events: Iterable[Mapping[str, object]]) -> EventTally:
        """The tally with more events. An event of an unknown kind or shape counts for nothing."""
        tally = self
        times = list(self.task_times)
        by_config: dict[str, list[Mapping[str, object]]] = {}
        for event in events:
            kind = event.get("event")
            time = _moment(event.get("time"))
            config = event.get("config")
            if isinstance(config, str):
                by_config.setdefault(config, []).append({key: event[key] for key in event if key != "config"})
                # What is said of one config counts for it alone; its tasks count for the rate of all.
                if kind != "task":
                    continue
            if kind == "phase":
                phase = event.get("phase")
                tally = replace(tally, phase=phase if isinstance(phase, str) else tally.phase)
                if phase == "running" and tally.began is None and not times:
                    tally = replace(tally, began=time)
            elif kind == "start":
                said = event.get("versions")
                named = said.items() if isinstance(said, dict) else ()
                tally = replace(
                    tally, versions=tuple((name, text) for name, text in named if isinstance(text, str))
                )
            elif kind in ("progress", "end"):
                tally = replace(
                    tally,
                    done=_count(event.get("done"), tally.done),
                    total=_count(event.get("total"), tally.total),
                    errors=_count(event.get("errors"), tally.errors) or 0,
                )
                if tally.done == 0 and tally.began is None and not times:
                    tally = replace(tally, began=time)
                if kind == "end":
                    tally = replace(tally, phase="end", exit_status=_number(event.get("exit"), None))
            elif kind == "task":
                failed = tally.failed_in_a_row + 1 if event.get("status") == "error" else 0
                tally = replace(tally, failed_in_a_row=failed)
                if time is not None:
                    times.append(time)
        configs = dict(self.configs)
        for config, own in by_config.items():
            configs[config] = configs.get(config, EventTally()).add(own)
        return replace(tally, task_times=tuple(times[-1000:]), configs=configs)

    def progress(self, now: float) -> JobProgress | None:
        """Progress at `now` (seconds since the epoch); None while nothing was said."""
        if not self.phase and self.done is None:
            return None
        rate = rate_of(self.task_times, now, self.began)
        return JobProgress(
            phase=self.phase,
            done=self.done,
            total=self.total,
            errors=self.errors,
            rate=rate,
            eta_seconds=eta_of(self.done, self.total, rate),
            source="events",
            configs={
                config: progress
                for config, tally in self.configs.items()
                if (progress := tally.progress(now)) is not None
            },
        )


def rate_of(
    times: Sequence[float], now: float, began: float | None = None, window: float = RATE_WINDOW
) -> float | None:
    """Tasks a second over the last `window` seconds, from when they ended; None with fewer than two.

    It is measured from the end before the first of these, or from `began`, when the first task was begun with: tasks
    that are answered together end together, and the time that they took lies before them. The time since the last end
    counts as soon as it is longer than any between two ends, so that a runner that hangs slows down on the screen
    instead of keeping its last rate.
    """
    recent = [time for time in times if now - window <= time <= now]
    if len(recent) < 2:
        return None
    earlier = [time for time in times if time < now - window] or ([] if began is None else [began])
    ends = [*earlier[-1:], *recent]
    longest = max(after - end for end, after in pairwise(ends))
    span = max(ends[-1], now - longest) - ends[0]
    return (len(ends) - 1) / span if span > 0 else None


def eta_of(done: int | None, total: int | None, rate: float | None) -> float | None:
    """Seconds until `total`; None where it cannot be told."""
    if done is None or total is None or not rate:
        return None
    return max(0, total - done) / rate


_TQDM = re.compile(
    r"\|\s*(?P<done>\d{1,15})/(?P<total>\d{1,15})\s+"
    r"\[[\d:]{1,20}<(?P<left>[\d:]{1,20}|\?),\s*(?P<speed>\d{1,15}(?:\.\d{1,15})?|\?)(?![\d.])\s*(?P<unit>[^\s,\]]*)"
)
_REST_OF_BAR = re.compile(r"[^\]\n\r]*\]?")
"""Behind the unit: what the program itself tells there, such as a loss."""


def parse_tqdm(text: str) -> JobProgress | None:
    """The last bar in a piece of log, ` 18%|███▍   | 3/17 [00:38<02:51, 12.2s/it]`; None: there is none.

    The format is tqdm's default `bar_format`; the unit may have any name.
    """
    bars = list(_TQDM.finditer(text))
    if not bars:
        return None
    bar = bars[-1]
    speed = None if bar["speed"] == "?" else float(bar["speed"])
    rate = None
    if speed:
        rate = 1 / speed if bar["unit"].startswith("s/") else speed
    return JobProgress(
        phase="running",
        done=int(bar["done"]),
        total=int(bar["total"]),
        rate=rate,
        eta_seconds=None if bar["left"] == "?" else _clock(bar["left"]),
        source="log",
    )


def without_bars(text: str) -> str:
    """A piece of log without what `parse_tqdm` takes for a bar; what was written behind one, on its line, stays."""
    lines = []
    for line in text.replace("\r", "\n").split("\n"):
        end = max((bar.end() for bar in _TQDM.finditer(line)), default=None)
        rest = None if end is None else _REST_OF_BAR.match(line, end)
        lines.append(line if rest is None else line[rest.end() :])
    return "\n".join(lines)


def _clock(text: str) -> float:
    """Seconds of `02:51` or `1:02:51`."""
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)


def _count(value: object, otherwise: int | None) -> int | None:
    number = _number(value, otherwise)
    return otherwise if number is not None and number < 0 else number


def _moment(value: object) -> float | None:
    """Seconds since the epoch."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < _LATEST else None


def _number(value: object, otherwise: int | None) -> int | None:
    # JSON may hold whole numbers of which no estimate can be made.
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _MOST:
        return otherwise
    return value
