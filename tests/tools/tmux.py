"""A program in a real tmux, on a server of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tools.eventually import eventually


class Tmux:
    """One window; use as a context manager, at whose end the server is gone."""

    def __init__(self, folder: Path) -> None:
        self._socket = f"hitui-test-{os.getpid()}-{folder.name}"

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, *_: object) -> None:
        self.tmux("kill-server", check=False)

    def tmux(self, *words: str, check: bool = True) -> str:
        command = ["tmux", "-L", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=check, capture_output=True, text=True).stdout

    def start(self, argv: Sequence[str], env: Mapping[str, str], columns: int, rows: int) -> None:
        """Runs the program; when it ends, `EXIT STATUS` stands in the window."""
        variables = [f"{name}={value}" for name, value in env.items()]
        line = shlex.join(["env", "-i", *variables, *argv]) + '; echo "EXIT $?"; exec cat'
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", line)

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def colours(self) -> set[str]:
        """Every attribute and colour that is set somewhere in the window."""
        found = re.findall(r"\x1b\[([0-9;]*)m", self.tmux("capture-pane", "-e", "-p"))
        return {part for sequence in found for part in sequence.split(";")}

    def shows(self, *texts: str) -> None:
        for text in texts:
            try:
                eventually(lambda text=text: text in self.screen(), text, deadline=60)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.screen()}") from error

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def program(self) -> int:
        """Process id of the program in the window."""
        shell = self.tmux("display", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])

    def modes(self) -> tuple[str, ...]:
        """Alternate screen, mouse reporting, cursor: `("0", "0", "1")` in a clean terminal."""
        return tuple(self.tmux("display", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").split())
