"""Before anything starts: what will run, how many tasks, where, about how long, what it writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from msgspec.structs import replace
from textual.binding import Binding, BindingType

from hitui.domain.launches import LaunchPlan, PlannedLaunch
from hitui.ui import text
from hitui.ui.launch_choice import LaunchChoice
from hitui.ui.line import Line, Span
from hitui.ui.messages import PlaceChosen
from hitui.ui.screens.dialog import Dialog, DialogLines
from hitui.ui.screens.question import MIXING
from hitui.ui.widgets.key_line import KeyLine, cells_of

TASKS_CELLS, ABOUT_CELLS, GAP = 6, 6, 2
DIGITS = tuple("0123456789")
MOST_FOLDERS = 4
"""So many lines say what is written; more would push what is refused out of sight."""


class LaunchDialog(Dialog):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "mix", "mix the answers", show=False, id="launch.mix"),
        *(Binding(digit, f"gpu({digit!r})", "GPU", show=False, id=f"launch.gpu-{digit}") for digit in DIGITS),
        Binding("plus", "rank(1)", "priority", show=False, id="launch.raise"),
        Binding("minus", "rank(-1)", "priority", show=False, id="launch.lower"),
        Binding("h", "hold", "hold", show=False, id="launch.hold"),
    ]

    most_width = 150

    def __init__(
        self,
        title: str,
        plan: LaunchPlan,
        pause: str = "",
        *,
        gpus: Collection[str] = (),
        may_mix: bool = False,
    ) -> None:
        """`pause`: what keeps a job that is queued now from its start; empty: nothing. `gpus`: the labels of all.
        `may_mix`: something of it was refused before, because answers would be mixed with those of other settings."""
        super().__init__()
        self.title_text = title
        self.plan = plan
        self._pause = pause
        self._gpus = [digit for digit in DIGITS if digit in gpus]
        self._may_mix = may_mix
        self.choice = LaunchChoice()

    def show_plan(self, plan: LaunchPlan) -> None:
        """What it would do by the choice as it is now."""
        self.plan = plan
        self._renew()

    def _renew(self) -> None:
        self._fit()
        self.query_one(DialogLines).rebuild()
        self.query_one(KeyLine).show(self.keys())

    def _choose(self, **values: object) -> None:
        self.choice = replace(self.choice, **values)
        self._renew()

    def keys(self) -> list[Binding]:
        leave = Binding("escape", "answer(False)", "leave it", key_display="Escape", id="launch.back")
        if not self.plan.startable:
            return [leave]
        return [
            Binding(
                "enter",
                "answer(True)",
                f"{'queue' if self._pause or self.choice.held else 'start'} {self.plan.words}",
                key_display="Enter",
                id="launch.accept",
            ),
            *([Binding("f", "mix", "and mix the answers")] if self._may_mix else []),
            leave,
            *self._choices(),
        ]

    def _choices(self) -> list[Binding]:
        ends = f"{self._gpus[0]}-{self._gpus[-1]}" if len(self._gpus) > 1 else "".join(self._gpus)
        return [
            *(Binding(digit, f"gpu({digit!r})", "GPU", key_display=ends) for digit in self._gpus[:1]),
            Binding("plus", "rank(1)", "priority", key_display="+"),
            Binding("minus", "rank(-1)", "priority", key_display="-"),
            Binding("h", "hold", "hold"),
        ]

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer and bool(self.plan.startable))

    def action_mix(self) -> None:
        if self._may_mix:
            self.choice = replace(self.choice, mixes=True)
            self.action_answer(True)

    def action_gpu(self, label: str) -> None:
        if label in self._gpus:
            chosen = set(self.choice.gpus) ^ {label}
            self._choose(gpus=tuple(label for label in self._gpus if label in chosen))
            self.app.post_message(PlaceChosen(self))

    def action_rank(self, step: int) -> None:
        self._choose(priority=self.choice.priority + step)

    def action_hold(self) -> None:
        self._choose(held=not self.choice.held)

    def wanted_width(self) -> int:
        launches = self.plan.startable
        rows = [len(launch.request.config) + len(_where(launch)) for launch in launches]
        written = [8 + len(launch.writes) for launch in launches]
        refused = [4 + len(launch.refused or "") for launch in self.plan.launches]
        row = max(rows, default=0) + TASKS_CELLS + ABOUT_CELLS + 3 * GAP
        wanted = (row, cells_of(self.keys()), len(self.title_text) + 4, *written, *refused)
        return min(self.most_width, max(wanted))

    def lines(self, width: int) -> Sequence[Line]:
        plan = self.plan
        refused = [launch for launch in plan.launches if launch.refused is not None]
        # First, for of many configs the last are out of sight.
        lines: list[Line] = [_total(plan)] if plan.startable else []
        lines += filter(None, [self.choice.line])
        if plan.startable:
            if self._pause:
                queued = f"queued only: {self._pause}; P on the screen of the queue lets it go on"
                lines += [((part, "warn"),) for part in text.wrapped(queued, width)]
            if self._may_mix:
                lines += [((part, "warn"),) for part in text.wrapped(MIXING, width)]
            lines.append(())
            name, where = _widths(plan.startable, width)
            unit = plan.units[0] if len(plan.units) == 1 else "count"
            lines.append(_row(("config", unit, "where", "about"), ("dim",) * 4, name, where))
            for launch in plan.startable:
                lines.append(
                    _row(
                        (launch.request.config, _tasks(launch), _where_within(launch, where), _about(launch)),
                        ("strong", "", "", ""),
                        name,
                        where,
                    )
                )
            lines += [(), *_writes(plan.startable, width)]
        if refused:
            lines.append(() if plan.startable else (("Nothing can start now.", "warn"),))
            for launch in refused:
                lines.append((("! ", "bad"), (launch.request.config, "strong")))
                lines += [
                    (("    " + part, "warn"),) for part in text.wrapped(launch.refused or "", width - 4)
                ]
        return lines


def _widths(launches: Sequence[PlannedLaunch], width: int) -> tuple[int, int]:
    """Cells of the name and of the place."""
    room = width - TASKS_CELLS - ABOUT_CELLS - 3 * GAP
    name = max(6, *(len(launch.request.config) for launch in launches))
    where = max(5, *(len(_where(launch)) for launch in launches))
    if name + where > room:
        # Where both are long, the name is cut as far as the place needs it in few words; beyond that either is.
        few = max(5, *(len(_where_in_few_words(launch)) for launch in launches))
        name = min(name, max(room - where, min(room - few, room * 3 // 5), room // 2))
    return name, min(where, room - name)


def _row(cells: tuple[str, str, str, str], styles: tuple[str, ...], name: int, where: int) -> Line:
    gap = " " * GAP
    spans: list[Span] = [
        (text.fit_tail(cells[0], name) + gap, styles[0]),
        (text.fit_right(cells[1], TASKS_CELLS) + gap, styles[1]),
        (text.fit(cells[2], where) + gap, styles[2]),
        (text.fit_right(cells[3], ABOUT_CELLS), styles[3]),
    ]
    return tuple(spans)


def _where(launch: PlannedLaunch) -> str:
    """Without the reasons GPU by GPU, which stand behind the first colon: the job's own screen has them."""
    return launch.where.split(":", 1)[0]


def _where_in_few_words(launch: PlannedLaunch) -> str:
    return _where(launch).partition(" once free for ")[0].removesuffix(" on one GPU")


def _where_within(launch: PlannedLaunch, width: int) -> str:
    where = _where(launch)
    return where if len(where) <= width else _where_in_few_words(launch)


def _tasks(launch: PlannedLaunch) -> str:
    return "?" if launch.task_count is None else str(launch.task_count)


def _about(launch: PlannedLaunch) -> str:
    return "?" if launch.seconds is None else text.duration(launch.seconds)


def _writes(launches: Sequence[PlannedLaunch], width: int) -> list[Line]:
    folders = list(dict.fromkeys(launch.writes for launch in launches))
    shown = folders if len(folders) <= MOST_FOLDERS else folders[: MOST_FOLDERS - 1]
    lines: list[Line] = []
    for number, written in enumerate(shown):
        label = "writes  " if number == 0 else "        "
        lines.append(((label, "dim"), (text.fit_tail(written, width - len(label)).rstrip(), "")))
    if len(shown) < len(folders):
        lines.append((("        ", ""), (f"and {len(folders) - len(shown)} more like it", "dim")))
    return lines


def _total(plan: LaunchPlan) -> Line:
    known = [None if launch.seconds is None else launch.seconds * launch.shards for launch in plan.startable]
    total = f"{plan.work} in {plan.words}"
    work = [seconds for seconds in known if seconds is not None]
    if len(work) == len(known):
        total += f", about {text.long_duration(sum(work))} of work"
    return ((total, "strong"),)
