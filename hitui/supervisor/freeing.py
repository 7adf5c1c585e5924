"""Tells whoever asked for it (`gpu_free` in `[notify] on`) when a GPU has become free for a new job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping

from hitui.adapters.executors.locks import locked_gpus
from hitui.domain import notices
from hitui.domain.freeing import Spell, observe
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.notices import NoticeKind
from hitui.domain.placement import Need
from hitui.errors import HituiError
from hitui.paths import gpu_lock_home
from hitui.settings import Settings
from hitui.supervisor.needs import gpu_rules
from hitui.supervisor.notifier import Notifier
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import note_error

LOOK_SECONDS = 60.0
"""How soon an edit of `[notify]` is noticed while the GPUs are not read."""


class Freeing:
    """`observe` every reading of the GPUs; `changed` is called when `wanted` is another than before."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], Settings],
        notifier: Notifier,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._notifier = notifier
        self._changed = changed
        self._news = asyncio.Event()
        self._snapshot: GpuSnapshot | None = None
        self._spells: Mapping[str, Spell] = {}
        self.wanted = False
        """Whether GPUs are to be read for this alone."""

    def observe(self, snapshot: GpuSnapshot) -> None:
        """Takes note of a reading of the GPUs."""
        self._snapshot = snapshot
        if self.wanted:
            self._news.set()

    async def run(self) -> None:
        """Looks for ever; trouble goes to the supervisor's log alone."""
        while True:
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - one bad look must not be the last
                note_error()
                await asyncio.sleep(LOOK_SECONDS)
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)

    async def _look(self) -> None:
        self._news.clear()
        snapshot, self._snapshot = self._snapshot, None
        # Locks are looked at where they decide: who looks stands in the way of whoever locks at that very moment.
        ours = self._store.claims()
        doubtful = [uuid for uuid, spell in self._spells.items() if not spell.known_free and uuid not in ours]
        wanted, settings, locked = await asyncio.to_thread(self._look_around, doubtful)
        if wanted != self.wanted:
            self.wanted = wanted
            self._spells = {}
            self._changed()
        if not wanted or snapshot is None:
            return
        need = Need(settings.gpus.min_free_bytes)
        self._spells, freed = observe(
            self._spells, snapshot, need, gpu_rules(settings), self._store.claims(), locked
        )
        for gpu in freed:
            await asyncio.to_thread(self._notifier.tell, notices.of_free_gpu(gpu))

    def _look_around(self, uuids: Collection[str]) -> tuple[bool, Settings, set[str]]:
        """In a thread: whether it is wanted, by which settings, and on which of these GPUs a lock stands."""
        wanted = self._notifier.wants(NoticeKind.GPU_FREE)
        try:
            locked = locked_gpus(gpu_lock_home(), uuids) if wanted else set()
        except HituiError:
            # No job could start then; what keeps it is said there.
            locked = set(uuids)
        return wanted, self._settings(), locked
