"""Following a log: a window of lines over a file of any size, kept by a thread of its own.

Knows nothing of any screen. The window is anchored at a byte offset, not at a line number, so it opens at
once; line numbers are counted block by block when there is nothing else to do. What a terminal would act on
(escape sequences, control and direction characters, broken UTF-8) becomes harmless text; lines that a
progress bar drew over each other with carriage returns are one line, its last.
"""

from __future__ import annotations

import contextlib
import queue
import re
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from hitui.adapters.files.tail import CHUNK, OVERLAP, LogFile, RawLine

LINE_CELLS = 4096
"""Characters of one line that are shown at most."""
POLL_SECONDS = 0.4
"""How often a file is looked at for growth: one stat."""
TAB = 8

_SGR = re.compile(r"\x1b\[[0-9;:]*m")


class LogLine(msgspec.Struct, frozen=True):
    start: int
    """Byte offset of the line in the file: its identity while the file grows."""
    text: str
    """What a screen may print as it is, at most LINE_CELLS characters."""
    note: str = ""
    """What was left out, in words; empty when nothing was."""


class LogWindow(msgspec.Struct, frozen=True):
    """What is to be seen of a log now."""

    path: str
    lines: tuple[LogLine, ...] = ()
    size: int = 0
    """Bytes of the file."""
    start: int = 0
    """Byte offset of the first line."""
    end: int = 0
    """Byte offset behind the last line."""
    following: bool = True
    """True: the window moves with the end of the file."""
    first_number: int | None = None
    """Number of the first line, from 1; None: not counted yet."""
    line_count: int | None = None
    """None: not counted yet."""
    searched: str = ""
    """The text that is searched for; empty: none."""
    found_at: int | None = None
    """Byte offset of the line where it was found last; None: not found, or not searched."""
    note: str = ""
    """One line: why there is nothing to see, or that nothing was found."""


def display_text(data: bytes) -> str:
    """Bytes of one line as harmless text: no character of it makes a terminal do anything.

    Colour sequences are dropped, the escape of any other sequence is shown as `␛`, every other character
    that is not printable as its escape (`\\x07`, `\\u202e`), bytes that are no UTF-8 as `\\xff`.
    """
    text = data.decode("utf-8", errors="backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    if "\x1b" in text:
        text = _SGR.sub("", text).replace("\x1b", "␛")
    if "\t" in text:
        text = text.expandtabs(TAB)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def log_line(raw: RawLine) -> LogLine:
    """One line as it is shown: folded at its carriage returns, made harmless, bounded."""
    visible = _last_drawn(raw.tail or raw.data)
    if raw.tail and visible == raw.tail:
        text = display_text(raw.data)[:LINE_CELLS]
        return LogLine(raw.start, text, f"… cut: a line of {_size(raw.length)}")
    text = display_text(visible)
    if len(text) > LINE_CELLS:
        return LogLine(raw.start, text[:LINE_CELLS], f"… cut: a line of {_size(raw.length)}")
    return LogLine(raw.start, text)


def _last_drawn(data: bytes) -> bytes:
    """What stands last in a line that was drawn over with carriage returns."""
    if b"\r" not in data:
        return data
    for part in reversed(data.split(b"\r")):
        if part.strip():
            return part
    return b""


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def newest_log(folders: Iterable[str]) -> str | None:
    """The `*.log` that changed last directly in one of the folders; None where there is none."""
    newest: tuple[float, str] | None = None
    for folder in folders:
        try:
            candidates = list(Path(folder).glob("*.log"))
        except OSError:
            continue
        for candidate in candidates:
            with contextlib.suppress(OSError):
                status = candidate.stat()
                if not stat.S_ISREG(status.st_mode):
                    # Opening a pipe would wait for someone who writes into it.
                    continue
                found = (status.st_mtime, str(candidate))
                newest = found if newest is None else max(newest, found)
    return newest[1] if newest else None


Command = Callable[[], object]


class LogReader:
    """The window over one log, moved by commands; each returns at once, the new window is published.

    `publish` is called from the reader's thread.
    """

    def __init__(self, height: int = 10) -> None:
        self._height = height
        self._publish: Callable[[LogWindow], None] = lambda window: None
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._path = ""
        self._file: LogFile | None = None
        self._following = True
        self._top = 0
        self._searched = ""
        self._found_at: int | None = None
        self._note = ""
        self._counted: list[int] = []
        """Newlines before the end of each whole CHUNK of the file."""
        self._window = LogWindow("")

    @property
    def latest(self) -> LogWindow:
        return self._window

    def start(self, publish: Callable[[LogWindow], None]) -> None:
        self._publish = publish
        self._thread = threading.Thread(target=self._run, name="hitui-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; returns at once, even while a read on a dead network disk holds it."""
        self._commands.put(None)

    def open(self, path: str, note: str = "") -> None:
        """Shows this file from its end, following; an empty path shows only the note."""
        self._commands.put(lambda: self._open(path, note))

    def resize(self, height: int) -> None:
        """How many lines the window has."""
        self._commands.put(lambda: self._resize(height))

    def scroll(self, lines: int) -> None:
        """Moves by so many lines, down where positive. Upwards stops following; the end resumes it."""
        self._commands.put(lambda: self._scroll(lines))

    def to_start(self) -> None:
        self._commands.put(self._to_start)

    def follow(self) -> None:
        """Goes to the end and stays there."""
        self._commands.put(self._follow)

    def hold(self) -> None:
        """Stops following where the window stands."""
        self._commands.put(self._hold)

    def search(self, text: str, forward: bool = True) -> None:
        """To the next line with `text` (case counts only if it has capitals), beyond the last one found."""
        self._commands.put(lambda: self._search(text, forward))

    def _run(self) -> None:
        while True:
            try:
                command = self._commands.get(timeout=self._patience())
            except queue.Empty:
                command = self._idle
            if command is None:
                break
            try:
                changed = command() is not False
            except OSError as error:
                self._drop(f"{self._path}: cannot be read: {error.strerror or error}")
                changed = True
            if changed:
                self._show()
        self._drop("")

    def _patience(self) -> float | None:
        if not self._path:
            return None
        return 0.0 if self._file is not None and self._uncounted() else POLL_SECONDS

    def _idle(self) -> bool:
        """Nothing was asked for: look for growth, count some lines. False when nothing changed."""
        if self._file is None:
            self._try_open()
            return True
        size = self._file.size
        if not self._file.refresh():
            self._drop("")
            self._following = True
            self._try_open()
            return True
        changed = self._file.size != size or self._uncounted()
        for _ in range(16):
            if self._uncounted() and self._commands.empty():
                begin = len(self._counted) * CHUNK
                before = self._counted[-1] if self._counted else 0
                self._counted.append(before + self._file.count_newlines(begin, begin + CHUNK))
        return changed

    def _uncounted(self) -> bool:
        return self._file is not None and (len(self._counted) + 1) * CHUNK <= self._file.size

    def _open(self, path: str, note: str) -> None:
        self._drop(note)
        self._path = path
        self._following = True
        self._top = 0
        self._searched = ""
        self._found_at = None
        if path:
            self._try_open()

    def _try_open(self) -> None:
        try:
            self._file = LogFile(Path(self._path))
        except FileNotFoundError:
            self._note = f"{self._path}: is not there yet"
        else:
            self._note = ""
            self._counted = []

    def _drop(self, note: str) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._counted = []
        self._note = note

    def _resize(self, height: int) -> None:
        self._height = max(1, height)

    def _scroll(self, lines: int) -> None:
        if self._file is None:
            return
        self._note = ""
        top = self._shown_start(self._file)
        if lines < 0:
            before = self._file.lines_before(top, -lines)
            if before:
                self._top = before[0].start
                self._following = False
        elif not self._following:
            after = self._file.lines_from(top, lines + self._height)
            if len(after) < lines + self._height or after[-1].end >= self._file.size:
                self._follow()
            else:
                self._top = after[lines].start

    def _to_start(self) -> None:
        if self._file is not None:
            self._top = 0
            self._following = False
            self._note = ""

    def _follow(self) -> None:
        self._following = True
        self._note = ""

    def _hold(self) -> None:
        if self._file is not None:
            self._top = self._shown_start(self._file)
        self._following = False

    def _search(self, text: str, forward: bool) -> None:
        if self._file is None or not text:
            self._searched = text
            self._found_at = None
            return
        needle = text.encode("utf-8", errors="surrogateescape")[:OVERLAP]
        fold = text == text.lower()
        same = text == self._searched and self._found_at is not None
        from_here = self._found_at if same and self._found_at is not None else self._shown_start(self._file)
        self._searched = text
        if forward:
            begin = self._file.line_end(from_here) if same else from_here
            found = self._file.find(needle, begin, fold, self._interrupted)
        else:
            found = self._file.find_before(needle, from_here, fold, self._interrupted)
        if found is None:
            where = "below" if forward else "above"
            self._note = "" if self._interrupted() else f"no {'other ' if same else ''}{text!r} {where} here"
            return
        self._note = ""
        self._found_at = self._file.line_start(found)
        self._top = self._found_at
        # Some lines before it for context, as far as they are there.
        context = self._file.lines_before(self._top, self._height // 3)
        if context:
            self._top = context[0].start
        self._following = False

    def _interrupted(self) -> bool:
        """Whether something newer was asked for while a long search runs."""
        return not self._commands.empty()

    def _show(self) -> None:
        if not self._commands.empty():
            return
        try:
            window = self._read_window()
        except OSError as error:
            self._drop(f"{self._path}: cannot be read: {error.strerror or error}")
            window = self._read_window()
        if window != self._window:
            self._window = window
            self._publish(window)

    def _read_window(self) -> LogWindow:
        file = self._file
        if file is None:
            return LogWindow(self._path, note=self._note, following=self._following)
        lines = self._shown_lines(file)
        start = lines[0].start if lines else 0
        complete = not self._uncounted()
        return LogWindow(
            path=self._path,
            lines=tuple(map(log_line, lines)),
            size=file.size,
            start=start,
            end=lines[-1].end if lines else 0,
            following=self._following,
            first_number=self._line_number(file, start),
            line_count=self._line_number(file, file.size) if complete else None,
            searched=self._searched,
            found_at=self._found_at,
            note=self._note or ("" if file.size else "nothing was written yet"),
        )

    def _shown_lines(self, file: LogFile) -> list[RawLine]:
        lines = [] if self._following else file.lines_from(self._top, self._height)
        # The last page is a full one.
        return lines if len(lines) == self._height else file.lines_before(file.size, self._height)

    def _shown_start(self, file: LogFile) -> int:
        """Byte offset of the first line as it stands now: what was published last may be some keys behind."""
        lines = self._shown_lines(file)
        return lines[0].start if lines else 0

    def _line_number(self, file: LogFile, offset: int) -> int | None:
        """Number of the line that starts at `offset`, from 1; None while its block is not counted."""
        block = offset // CHUNK
        if block > len(self._counted):
            return None
        before = self._counted[block - 1] if block else 0
        ends_open = offset == file.size and offset > 0 and file.read(offset - 1, offset) != b"\n"
        number = before + file.count_newlines(block * CHUNK, offset)
        if offset == file.size:
            # As a count of lines: an unfinished last line is one too.
            return number + (1 if ends_open else 0)
        return number + 1
