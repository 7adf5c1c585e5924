"""Scores the Visualization answers of results: several at once, none twice, and none where there is no sandbox."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from hitui_runners.look import is_dir
from hitui_runners.progress import ProgressBar
from hitui_runners.realhitbench.charts.environment import ChartPython, find_chart_python
from hitui_runners.realhitbench.charts.metrics import (
    NO_PROGRAM,
    ChartAnswer,
    NoWorkbook,
    Scored,
    program_of,
    require_workbook,
    score,
)
from hitui_runners.realhitbench.charts.remembered import Keys, Remembered
from hitui_runners.realhitbench.charts.sandbox import Limits, NoSandbox, Sandbox, SandboxBroke, find_sandbox
from hitui_runners.realhitbench.questions import VISUALIZATION
from hitui_runners.realhitbench.results import Result, is_error

USUAL = Limits()
PATIENT = Limits(cpu_seconds=300, seconds=600.0)
"""Where many programs run in one process."""


@dataclass(frozen=True)
class Unscored:
    """Why an answer has no scores, in a few words that are the same for all answers with that reason."""

    why: str


Outcome = Scored | Unscored


@dataclass(frozen=True)
class ChartOptions:
    """How charts are to be scored."""

    run: bool | None = None
    """False: none is run; True: where they cannot be, something failed."""
    tables: Path | None = None
    """The folder of the workbooks; None: it is not known."""
    pythons: tuple[str, ...] = (sys.executable,)
    """The first of them that has the libraries is used."""
    at_once: int = 1
    without_walls: bool = False
    """Whether limits alone shall do, where no sandbox can be had."""
    remember: Path | None = None


class ChartScorer:
    """Knows the scores of answers once `run` has been called with them."""

    def __init__(self, options: ChartOptions, warn: Callable[[str], None]) -> None:
        self._options = options
        self._warn = warn
        self._known: dict[ChartAnswer, Outcome] = {}
        self._remembered: Remembered | None = None
        self._keys: Keys | None = None
        self._sandbox: Sandbox | None = None
        self.python: ChartPython | None = None
        """What charts run on; None: no answer had to be run so far."""
        self.refusal = self._refused()
        """Why no chart can be run; empty: that is not known of any reason."""

    def answer(self, result: Result) -> ChartAnswer | None:
        """The answer in a result; None: it is none to be run."""
        if result.get("QuestionType") != VISUALIZATION or is_error(result):
            return None
        name = Path(str(result.get("FileName"))).name
        return ChartAnswer(
            str(result.get("SubQType")),
            str(result["Prediction"]),
            str(result.get("Reference")),
            (self._options.tables or Path()) / f"{name}.xlsx",
        )

    def outcome(self, answer: ChartAnswer) -> Outcome:
        """Of one of the answers of `run`."""
        return self._known.get(answer) or Unscored(self.refusal)

    def run(self, results: Iterable[Result], label: str) -> None:
        """Scores the answers among the results that are not known yet, and shows how far it is where someone looks.

        Whatever is raised meanwhile ends the programs that run; what was scored by then is remembered.
        """
        wanted: dict[ChartAnswer, str] = {}
        for answer in dict.fromkeys(map(self.answer, results)):
            if answer is None or answer in self._known:
                continue
            found = self._at_hand(answer, USUAL)
            if isinstance(found, str):
                wanted[answer] = found
            else:
                self._known[answer] = found
        sandbox = self._started() if wanted else None
        if sandbox is not None:
            self._run_all(sandbox, wanted, label)

    def run_alone(
        self, answer: ChartAnswer, before: Sequence[ChartAnswer] = (), *, first: str = ""
    ) -> Outcome:
        """One answer, while no other runs.

        `before`: those whose programs run before it in its process, where their figures are still open. `first`: a
        program of our own, before all of them.
        """
        limits = PATIENT if before else USUAL
        found = self._at_hand(answer, limits, before, first)
        if not isinstance(found, str):
            return found
        sandbox = self._started()
        if sandbox is None:
            return Unscored(self.refusal)
        return self._score(sandbox.with_limits(limits), answer, found, before, first)

    def _refused(self) -> str:
        tables = self._options.tables
        if self._options.run is False:
            return "as asked for"
        if tables is None:
            return "the folder of their workbooks is not known, name it by --tables"
        if not is_dir(tables):
            return f"{tables}, the folder of their workbooks, is not there, name it by --tables"
        return ""

    def _at_hand(
        self, answer: ChartAnswer, limits: Limits, before: Sequence[ChartAnswer] = (), first: str = ""
    ) -> Outcome | str:
        """What is known of an answer without running its program, or the key of the score that must be made."""
        if self.refusal:
            return Unscored(self.refusal)
        if program_of(answer) is None:
            return NO_PROGRAM
        try:
            require_workbook(answer.workbook)
            keys, remembered = self._prepared()
            key = keys.of(answer, limits, before, first)
        except NoWorkbook as error:
            return _without_workbook(answer, error)
        except NoSandbox as error:
            self.refusal = str(error)
            return Unscored(self.refusal)
        except OSError as error:
            return Unscored(f"no workbook in {answer.workbook.parent}: {error.strerror}")
        return remembered.get(key, without_walls=self._options.without_walls) or key

    def _prepared(self) -> tuple[Keys, Remembered]:
        """Raises NoSandbox where there is no Python for charts."""
        if self._keys is None or self._remembered is None:
            self.python = find_chart_python(self._options.pythons)
            self._keys = Keys(self.python.versions)
            self._remembered = Remembered(self._options.remember, self._warn)
        return self._keys, self._remembered

    def _started(self) -> Sandbox | None:
        """The sandbox; None: there is none, and `refusal` says why."""
        if self._sandbox is None and not self.refusal:
            assert self.python is not None
            try:
                self._sandbox = find_sandbox(
                    self.python.path, USUAL, without_walls=self._options.without_walls
                )
            except NoSandbox as error:
                self.refusal = str(error)
        return self._sandbox

    def _run_all(self, sandbox: Sandbox, wanted: Mapping[ChartAnswer, str], label: str) -> None:
        bar = ProgressBar(label, len(wanted)) if sys.stderr is not None and sys.stderr.isatty() else None
        pool = ThreadPoolExecutor(self._options.at_once)
        try:
            running = {
                pool.submit(self._score, sandbox, answer, key): answer for answer, key in wanted.items()
            }
            for done, future in enumerate(as_completed(running), start=1):
                self._known[running[future]] = future.result()
                if bar is not None:
                    bar.show(done)
        except BaseException:
            sandbox.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            if bar is not None:
                bar.close()

    def _score(
        self,
        sandbox: Sandbox,
        answer: ChartAnswer,
        key: str,
        before: Sequence[ChartAnswer] = (),
        first: str = "",
    ) -> Outcome:
        try:
            scored = score(answer, sandbox, before, first)
        except NoWorkbook as error:
            return _without_workbook(answer, error)
        except SandboxBroke as error:
            return Unscored(f"its sandbox broke: {error}")
        assert self._remembered is not None
        self._remembered.put(key, scored)
        return scored


def _without_workbook(answer: ChartAnswer, error: NoWorkbook) -> Unscored:
    return Unscored(f"no workbook in {answer.workbook.parent}: {error.what}")
