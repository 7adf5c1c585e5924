"""`hitui.toml`: what it may say, read strictly.

Every key is checked: an unknown one is refused with the file, the key and the nearest known one; a value
of the wrong kind with what was expected. Sizes and times carry units. Relative paths are relative to the
file. Settings are values that are handed on, never a global.
"""

from hitui.settings.reading import load_settings
from hitui.settings.values import (
    CONFIG_KINDS,
    ENGINES,
    PLACEHOLDERS,
    ConfigSettings,
    GpuSettings,
    NotifySettings,
    RunnerSettings,
    Settings,
)

__all__ = [
    "CONFIG_KINDS",
    "ENGINES",
    "PLACEHOLDERS",
    "ConfigSettings",
    "GpuSettings",
    "NotifySettings",
    "RunnerSettings",
    "Settings",
    "load_settings",
]
