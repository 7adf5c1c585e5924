"""Textual's driver for terminals, with a hangup told from a continuation.

When a terminal goes away, the kernel sends SIGHUP and then SIGCONT. Textual takes every SIGCONT for the end
of a suspension, starts a second thread that reads keys, and at the end waits for one of the two for ever.
"""

from __future__ import annotations

from typing import Any

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    def _sigcont_application(self, *arguments: Any) -> None:
        """Takes the terminal back only where it was given away before."""
        if self._must_signal_resume:
            super()._sigcont_application(*arguments)
