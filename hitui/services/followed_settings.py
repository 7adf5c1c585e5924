"""`hitui.toml` as it stands while a screen is open: read again when it changes, kept while it cannot be read."""

from __future__ import annotations

from hitui.adapters.checkpoints.reading import signature_of
from hitui.errors import SettingsError
from hitui.paths import SETTINGS_NAME
from hitui.settings import Settings, load_settings


class FollowedSettings:
    """The settings of one workspace, as they were said last."""

    def __init__(self, settings: Settings) -> None:
        self.latest = settings
        self.problem = ""
        """Why the file as it is now does not count, in one line; empty: it does."""
        self._file = settings.file or settings.root / SETTINGS_NAME
        # It may have changed since these settings were read, so the first look reads it once more.
        self._seen: object = object()

    def look(self) -> bool:
        """Whether settings or problem are others now; a stat where the file did not change."""
        seen = signature_of(self._file)
        if seen == self._seen:
            return False
        before = (self.latest, self.problem)
        self._seen = seen
        self.problem = ""
        if seen is not None:
            try:
                self.latest = load_settings(self.latest.root, self._file)
            except SettingsError as error:
                self._keep(str(error).replace(str(self._file), SETTINGS_NAME))
        elif self.latest.file is not None:
            self._keep(f"{SETTINGS_NAME}: is not there any more, or cannot be looked at; bring it back")
        return before != (self.latest, self.problem)

    def _keep(self, problem: str) -> None:
        self.problem = f"{problem} (what it said before still counts)"
