"""All configs of a workspace: discovered, declared, and read.

Thread-safe. Reading never writes into the workspace, and nothing unchanged is parsed twice.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Hashable
from pathlib import Path

from msgspec.structs import replace

from hitui.adapters.checkpoints import make_reader
from hitui.adapters.checkpoints.declared import join_declared
from hitui.adapters.checkpoints.discovery import Found, Walker
from hitui.adapters.checkpoints.inputs import SUBFOLDERS, InputFiles
from hitui.adapters.checkpoints.kept_readings import KeptReadings
from hitui.adapters.checkpoints.question_choice import choose_data_folder, choose_question_file
from hitui.adapters.checkpoints.questions import QuestionList, read_questions
from hitui.adapters.checkpoints.reading import (
    ReadContext,
    Reader,
    Reading,
    Signature,
    UnreadableFile,
    signature_of,
)
from hitui.adapters.files.look import Identity, can_be_listed, identity_of, is_dir, is_file
from hitui.domain.configs import Config, ConfigState
from hitui.errors import NoSuchName
from hitui.settings import Settings

__all__ = ["Catalogue", "Reading"]

_CANDIDATE_DEPTH = 3
"""How deep the workspace is searched for questions and dataset when the results folders are declared."""


class Catalogue:
    """The configs of one workspace. `refresh` discovers; `read` reads one config."""

    def __init__(self, settings: Settings, keep_readings_in: Path | None = None) -> None:
        """`keep_readings_in`: a folder for what was read of large files, for the next process; None: nowhere."""
        self.settings = settings
        self._context = ReadContext(settings, KeptReadings(keep_readings_in).read)
        self._walker = Walker()
        self._lock = threading.RLock()
        self._configs: tuple[Config, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._question_problems: tuple[str, ...] = ()
        self._questions_file: Path | None = None
        self._questions_signature: Signature | None = None
        self._visited: tuple[Path, ...] = ()
        self._refreshed = False
        self._lost: tuple[Path, ...] = ()
        self._roots: dict[Path, Identity | None] = {}
        self._seen_roots: set[Path] = set()
        self._readers: dict[str, Reader] = {}
        self._readings: dict[str, tuple[Hashable, Reading]] = {}
        self._before_loss: dict[str, Reading | None] = {}
        self._config_locks: dict[str, threading.Lock] = {}

    @property
    def configs(self) -> tuple[Config, ...]:
        """By name; discovers first when nothing was yet."""
        self._ensure()
        return self._configs

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the workspace as a whole: folders, question list, dataset."""
        self._ensure()
        return self._problems

    @property
    def questions_file(self) -> Path | None:
        """The question list in use; None: none was found."""
        self._ensure()
        return self._questions_file

    @property
    def questions(self) -> QuestionList | None:
        """None: there is none, or it cannot be read."""
        self._ensure()
        return self._context.questions

    @property
    def data_folder(self) -> Path | None:
        """The dataset's folder; None: none was found, so nothing counts as blocked."""
        self._ensure()
        inputs = self._context.inputs
        return inputs.folder if inputs else None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder in which something of a config lies or may come to lie."""
        self._ensure()
        return self._visited

    def shown(self, path: Path | str) -> str:
        """A path relative to the workspace where it lies in it."""
        return self._context.shown(path)

    def _ensure(self) -> None:
        if not self._refreshed:
            self.refresh()

    def refresh(self) -> None:
        """Discovers again: configs, question list, dataset."""
        with self._lock:
            self._roots = self._identities()
            self._seen_roots |= {root for root, identity in self._roots.items() if identity is not None}
            results, elsewhere = self._walk()
            self._lost = tuple(dict.fromkeys((*results.lost, *elsewhere.lost)))
            configs = join_declared(self.settings, self._walker.configs(results), self._lost)
            question_file, problems = choose_question_file(self.settings, elsewhere, configs)
            if self._keeps_questions(question_file):
                question_file, problems = self._questions_file, ()
            self._load_questions(question_file)
            folder, data_problems = choose_data_folder(self.settings, elsewhere, question_file)
            data_problems = self._use_data(folder) or data_problems
            self._configs = configs
            self._visited = tuple(results.visited)
            self._problems = (
                *results.problems,
                *self._absent_root(),
                *problems,
                *self._question_problems,
                *data_problems,
                *self._absent_inputs(configs),
            )
            self._refreshed = True

    def roots_changed(self) -> bool:
        """Whether workspace or results folders came, went or became others since `refresh`; stats only."""
        with self._lock:
            return self._identities() != self._roots

    def refresh_inputs(self) -> bool:
        """Looks whether question list or dataset changed (a few stats); True when they did."""
        with self._lock:
            self._ensure()
            inputs = self._context.inputs
            changed = inputs is not None and inputs.refresh()
            file = self._questions_file
            if file is not None and signature_of(file) != self._questions_signature:
                changed = True
            if changed:
                self.refresh()
            return changed

    def find(self, name: str) -> Config:
        """The config of that name, or the only one whose name or folder ends in it.

        Raises NoSuchName, naming the nearest.
        """
        configs = self.configs
        by_name = {config.name: config for config in configs}
        wanted = name.strip("/")
        if name in by_name:
            return by_name[name]
        ends = [config for config in configs if config.name.endswith("/" + wanted)]
        if len(ends) > 1:
            raise NoSuchName(
                f"{name}: several configs end in it ({', '.join(config.name for config in ends)}); "
                "give more of the name"
            )
        if ends:
            return ends[0]
        for folder in (_resolved(name), str(self.settings.root / name)):
            for config in configs:
                if folder.rstrip("/") in config.folders:
                    return config
        if not configs:
            raise NoSuchName(f"{name}: no such config; there are none in {self.settings.root}")
        # Ends that begin within a word say more than letters that are alike.
        near = [known for known in by_name if wanted and known.endswith(wanted)]
        near = near or difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        if not near:
            tails = {config.name.rpartition("/")[2]: config.name for config in configs}
            near = [tails[tail] for tail in difflib.get_close_matches(name, tails, n=1, cutoff=0.4)]
        hint = f"did you mean {near[0]}?" if near else "`hitui ls` lists them"
        raise NoSuchName(f"{name}: no such config; {hint}")

    def read(self, config: Config) -> Reading:
        """The config as its files stand now. What did not change is not parsed again. A reader that breaks is a
        problem of its config, which is then held back."""
        self._ensure()
        with self._lock:
            reader = self._readers.get(config.kind)
            if reader is None:
                reader = self._readers[config.kind] = make_reader(config.kind, self._context)
            lock = self._config_locks.setdefault(config.name, threading.Lock())
        with lock:
            fingerprint = self._fingerprint(reader, config)
            known = self._readings.get(config.name)
            if known is not None and known[0] == fingerprint:
                return known[1]
            try:
                reading = reader.read(config, fingerprint)
            except Exception as error:  # noqa: BLE001 - one config that breaks a reader must not hide the others
                fingerprint, reading = object(), _failed(config, error)
            lost = self._lost_above(config)
            if lost is not None:
                # Asked after reading: it may have gone meanwhile.
                fingerprint = (config, lost)
                before = self._before_loss.setdefault(config.name, known[1] if known is not None else None)
                reading = self._without_folder(config, lost, before)
            else:
                self._before_loss.pop(config.name, None)
            self._readings[config.name] = (fingerprint, reading)
            return reading

    def changed(self, config: Config) -> bool:
        """Whether `read` would give something new; stats and listings only."""
        with self._lock:
            reader, known = self._readers.get(config.kind), self._readings.get(config.name)
        return reader is None or known is None or self._fingerprint(reader, config) != known[0]

    def _fingerprint(self, reader: Reader, config: Config) -> Hashable:
        """Equal to no other where it cannot be told whether anything changed."""
        lost = self._lost_above(config)
        if lost is not None:
            return config, lost
        try:
            return reader.fingerprint(config)
        except Exception:  # noqa: BLE001 - what is wrong is said by `read`
            return object()

    def _lost_above(self, config: Config) -> Path | None:
        """The workspace or results folder above the config that was listed before and cannot be now."""
        if all(map(is_dir, config.folders)):
            return None
        for root in sorted(self._seen_roots):
            above = f"{root}/"
            if any(f"{folder}/".startswith(above) for folder in config.folders) and not can_be_listed(root):
                return root
        return None

    def _without_folder(self, config: Config, lost: Path, before: Reading | None) -> Reading:
        """What was read before, held back: what lies there now is not known, and nothing can be written."""
        line = f"{lost}: is not there any more, or cannot be listed; bring it back"
        if before is None:
            return Reading(ConfigState(config, scanned=True, problems=(line,), unread_files=1))
        state = replace(
            before.state,
            config=config,
            problems=(f"{line} (what was read below it before still counts)", *before.state.problems),
            unread_files=before.state.unread_files + 1,
        )
        return Reading(state, lambda: before.tasks, before.repeated, before.unknown)

    def _identities(self) -> dict[Path, Identity | None]:
        folders = [self.settings.root, *map(self.settings.path, self.settings.workspace.results)]
        return {folder: identity_of(folder) if can_be_listed(folder) else None for folder in folders}

    def _walk(self) -> tuple[Found, Found]:
        """What lies below the results folders, and what lies in the workspace besides."""
        workspace = self.settings.workspace
        data = [self.settings.path(workspace.data)] if workspace.data else []
        if not workspace.results:
            found = self._walker.walk([self.settings.root], data)
            return found, found
        results = self._walker.walk([self.settings.path(text) for text in workspace.results], data)
        if workspace.questions and workspace.data:
            return results, results
        elsewhere = self._walker.walk([self.settings.root], data, depth=_CANDIDATE_DEPTH)
        elsewhere.reports = [*results.reports, *elsewhere.reports]
        return results, elsewhere

    def _keeps_questions(self, chosen: Path | None) -> bool:
        """Whether the list in use goes on to count though it is gone: unless it was renamed or extended."""
        known = self._context.questions
        if known is None or chosen == known.path or is_file(known.path):
            return False
        if chosen is None or self._lost:
            return True
        try:
            return not read_questions(chosen).by_id.keys() >= known.by_id.keys()
        except UnreadableFile:
            return True

    def _use_data(self, folder: Path | None) -> tuple[str, ...]:
        """Takes the dataset of `folder`, unless the one in use is gone and nothing takes its place."""
        known = self._context.inputs
        if known is not None:
            known.refresh()
            if known.gone and (folder is None or folder == known.folder or self._lost):
                return (
                    f"{self.shown(known.folder)}: is not there any more, or cannot be listed "
                    "(the files that it had before still count); bring it back",
                )
        if folder is None:
            self._context.inputs = None
        elif known is None or known.folder != folder:
            self._context.inputs = InputFiles(folder)
        return ()

    def _load_questions(self, file: Path | None) -> None:
        signature = signature_of(file) if file else None
        if file == self._questions_file and signature == self._questions_signature and self._refreshed:
            return
        self._questions_file, self._questions_signature = file, signature
        self._question_problems = ()
        if file is None:
            self._context.questions = None
            return
        try:
            questions = read_questions(file)
        except UnreadableFile as error:
            known = self._context.questions
            kept = known is not None and known.path == file
            self._context.questions = known if kept else None
            rest = " (what was read of it before still counts)" if kept else ""
            self._question_problems = (f"{self.shown(file)}: {error}{rest}",)
            return
        self._context.questions = questions
        self._question_problems = tuple(f"{self.shown(file)}: {problem}" for problem in questions.problems)

    def _absent_root(self) -> tuple[str, ...]:
        root = self.settings.root
        if self._roots[root] is not None or not self.settings.workspace.results:
            return ()
        kept = " (what was read below it before still counts)" if self._refreshed else ""
        return (f"{root}: is not there, or cannot be listed{kept}; bring it back",)

    def _absent_inputs(self, configs: tuple[Config, ...]) -> tuple[str, ...]:
        inputs = self._context.inputs
        if inputs is None:
            return ()
        needed = {"image" for config in configs if config.modality in ("image", "mix")}
        needed |= {
            config.table_format
            for config in configs
            if config.table_format is not None and config.modality in ("text", "mix")
        }
        return tuple(
            f"{self.shown(inputs.folder / name)}: no such folder, so what needs its files counts as blocked; "
            "put it there, or name the dataset as `[workspace] data`"
            for name in SUBFOLDERS
            if name in needed and name in inputs.absent_subfolders
        )


def _resolved(path: str) -> str:
    """Absolute, without links; itself where that cannot be told: a link to itself, or no folder to start from."""
    try:
        return str(Path(path).resolve())
    except (OSError, RuntimeError):
        return path


def _failed(config: Config, error: Exception) -> Reading:
    wrong = " ".join(f"{type(error).__name__}: {error}".split())
    line = (
        f"{config.name}: cannot be read: the reader {config.kind} failed: {wrong}; "
        "it is tried again, no run starts meanwhile"
    )
    return Reading(ConfigState(config, scanned=True, problems=(line,), unread_files=1))
