"""The words of prompts for a server that alone has the tokenizer, cut to their budget.

Where the server counts tokens, prompts are cut as those of a model in this process: never above the budget, and not
more than a hundredth below it. Where it does not, they are cut by what it has said of other prompts, and `Recovery`
says `estimated`.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hitui_runners.engines.base import Prompt, TaskFailed
from hitui_runners.engines.demo import PIXELS_PER_TOKEN
from hitui_runners.engines.headers import header_rows
from hitui_runners.engines.sent_pictures import SentPicture
from hitui_runners.engines.server_tokens import Content, ServerTokens
from hitui_runners.engines.truncation import CUT_ATTEMPTS, CUT_STEPS, SHORTFALL, TokenizedTable, note

CHARACTERS_PER_TOKEN = 2.0
"""Of a prompt with a table, until the server has said it; tables are full of digits and marks."""
SEAM_TOKENS = 16
"""By so many, or fewer, the tokens of a whole differ from those of its parts."""
TEMPLATE_TOKENS = 256
"""By so many, or fewer, the tokens that are put around a prompt, unseen."""
MARK_TOKENS = 16
"""A picture that takes no more was not counted, but for its marks."""
TABLES_KEPT = 16
_MARK = re.compile(r"<(\|\w+\|>)")


@dataclass(frozen=True)
class MadeText:
    """The words of a prompt."""

    text: str
    recovery: Mapping[str, object] = field(default_factory=dict)
    """What was changed, as in `Reply`."""
    tokens: int | None = None
    """Of the whole prompt, as the server counts it; None: it was not counted."""


@dataclass(frozen=True)
class _Words:
    """A prompt's words, the tokenizer's own marks broken up."""

    before: str
    table: str
    after: str
    limit: int
    """Tokens that it may have."""

    @property
    def whole(self) -> str:
        return self.before + self.table + self.after

    @property
    def around(self) -> str:
        """All but the table."""
        return self.before + self.after


@dataclass(frozen=True)
class _Table:
    """A table, and what the server says of it."""

    cuts: TokenizedTable
    note_tokens: int


class ServerPrompts:
    """Makes them; for any number of threads."""

    def __init__(self, tokens: ServerTokens, max_input_tokens: int) -> None:
        self.estimates = Estimates()
        self._tokens = tokens
        self._max_input_tokens = max_input_tokens
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        """Those that were asked about last."""
        self._pictures: dict[tuple[Path | None, int], int] = {}
        """How many tokens each takes, by its file and pixels."""

    def text(self, prompt: Prompt, picture: SentPicture | None) -> MadeText:
        """The words, their table cut where the prompt would have more tokens than allowed. Raises TaskFailed where
        it has too many without any table."""
        limit = min(self._max_input_tokens, prompt.max_input_tokens or self._max_input_tokens)
        words = _Words(_harmless(prompt.before), _harmless(prompt.table), _harmless(prompt.after), limit)
        of_picture = 0 if picture is None else picture.pixels // PIXELS_PER_TOKEN
        # No token is shorter than a byte: who has so few need not be counted.
        most = len(words.whole.encode("utf-8", "surrogatepass")) + TEMPLATE_TOKENS + 2 * of_picture
        if not words.table or most <= limit:
            return MadeText(words.whole)
        return self._counted(prompt, words, picture) or self._estimated(prompt, words, of_picture)

    def _counted(self, prompt: Prompt, words: _Words, picture: SentPicture | None) -> MadeText | None:
        """The words by the server's count; None: it has not counted all that is needed."""
        around = self._tokens.count(_content(words.around, picture))
        if around is None:
            return None
        of_picture, is_counted = 0, True
        if picture is not None:
            taken = self._picture_tokens(prompt, picture, words, around)
            if taken is None:
                return None
            is_counted = taken > MARK_TOKENS
            of_picture = taken if is_counted else taken + picture.pixels // PIXELS_PER_TOKEN
        around += of_picture
        if around > words.limit:
            raise _no_room(str(around) if is_counted else f"about {around}", around, words.limit)
        table = self._table(words.table, prompt.table_format)
        if table is None:
            return None
        uncut = around + table.cuts.tokens
        if uncut + SEAM_TOKENS <= words.limit:
            return MadeText(words.whole)
        found = self._fitted(words, table, around, lambda text: self._with(of_picture, text, picture))
        if found is None:
            return None
        text, tokens, is_cut = found
        recovery: dict[str, object] = {}
        if is_cut:
            recovery.update(max_input_tokens=words.limit, uncut_tokens=uncut)
            if not is_counted:
                recovery["estimated"] = True
        return MadeText(text, recovery, tokens if is_counted else None)

    def _fitted(
        self, words: _Words, table: _Table, around: int, counted: Callable[[str], int | None]
    ) -> tuple[str, int, bool] | None:
        """The longest text found that fits, its tokens, and whether any of the table is left out; None where one could
        not be counted. `around`: tokens of all but the table."""
        limit, whole = words.limit, table.cuts.tokens
        budget = limit - around
        budget -= budget % max(1, limit // CUT_STEPS)
        if around + whole <= limit + SEAM_TOKENS:
            # It may just fit.
            budget = whole
        best = (words.around, around, True)
        # Table budgets, and how many tokens prompts have with them: of one that fits, of one that does not.
        low, high = (0, around), (whole, around + whole)
        for _ in range(CUT_ATTEMPTS):
            cut = table.cuts.cut(budget, table.note_tokens)
            text = words.before + cut.text + words.after
            tokens = counted(text)
            if tokens is None:
                return None
            spare = limit - tokens
            if spare >= 0 and tokens >= best[1]:
                best = (text, tokens, cut.left_out > 0)
            if not cut.spans or (spare >= 0 and (spare <= limit * SHORTFALL or not cut.left_out)):
                break
            if spare >= 0:
                low = (budget, tokens)
            else:
                high = (budget, tokens)
            if high[0] - low[0] <= 1 or high[1] <= low[1]:
                break
            # The middle of where it may end, were all tokens between the two alike.
            wanted = limit - limit * SHORTFALL / 2 - low[1]
            guess = low[0] + int(wanted * (high[0] - low[0]) / (high[1] - low[1]))
            budget = min(high[0] - 1, max(low[0] + 1, guess))
        return best

    def _with(self, of_picture: int, text: str, picture: SentPicture | None) -> int | None:
        """How many tokens a prompt has whose picture takes so many."""
        tokens = self._tokens.count(_content(text, picture))
        return None if tokens is None else tokens + of_picture

    def _picture_tokens(self, prompt: Prompt, picture: SentPicture, words: _Words, around: int) -> int | None:
        """How many tokens the server counts for a picture; None: it does not say. Counted once for all prompts with
        it, apart from their tables. `around`: the tokens of the words without it."""
        key = (prompt.image, picture.pixels)
        taken = self._pictures.get(key)
        if taken is None:
            tokens = self._tokens.count([picture.part(), *_text_parts(words.around)])
            if tokens is None:
                return None
            taken = self._pictures[key] = max(0, tokens - around)
        return taken

    def _table(self, table: str, table_format: str | None) -> _Table | None:
        """Asks once for all questions about a table; None: it is not said."""
        # Others wait meanwhile: most of them ask about the same table.
        with self._lock:
            known = self._tables.pop(table, None)
            if known is None:
                starts = self._tokens.starts(table)
                of_note = self._tokens.starts(note(len(table)))
                if starts is None or of_note is None:
                    return None
                cuts = TokenizedTable(table, starts, header_rows(table, table_format))
                known = _Table(cuts, len(of_note))
            self._tables[table] = known
            if len(self._tables) > TABLES_KEPT:
                del self._tables[next(iter(self._tables))]
            return known

    def _estimated(self, prompt: Prompt, words: _Words, of_picture: int) -> MadeText:
        """The words by what the server has said of other prompts. `of_picture`: about how many tokens it takes."""
        ratio = self.estimates.characters_per_token(prompt)
        around = of_picture + math.ceil(len(words.around) / ratio)
        uncut = around + math.ceil(len(words.table) / ratio)
        if uncut <= words.limit:
            return MadeText(words.whole)
        if around > words.limit:
            raise _no_room(f"about {around}", around, words.limit)
        table = words.table
        starts = [int(number * ratio) for number in range(math.ceil(len(table) / ratio))]
        cuts = TokenizedTable(table, starts, header_rows(table, prompt.table_format))
        cut = cuts.cut(words.limit - around, math.ceil(len(note(len(table))) / ratio))
        recovery: dict[str, object] = {}
        if cut.left_out:
            recovery.update(max_input_tokens=words.limit, uncut_tokens=uncut, estimated=True)
        return MadeText(words.before + cut.text + words.after, recovery)


class Estimates:
    """How many characters a token has, by what the server has said; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._characters = 0
        self._tokens = 0
        self._of_task: dict[int | str, float] = {}
        """Of those that did not fit: they are asked again, cut."""

    def learn(self, prompt: Prompt, text: str, tokens: int | None) -> None:
        """Takes in that this text, with nothing beside it, had so many tokens; None: it is not known."""
        if not tokens or not prompt.table:
            return
        with self._lock:
            self._characters += len(text)
            self._tokens += tokens
            self._of_task[prompt.task_id] = len(text) / tokens

    def learn_least(self, prompt: Prompt, text: str, tokens: int) -> None:
        """Takes in that this text has so many tokens or more, which says nothing of other prompts."""
        with self._lock:
            self._of_task[prompt.task_id] = len(text) / tokens

    def characters_per_token(self, prompt: Prompt) -> float:
        """Of this prompt, as far as can be told: of the same one cut otherwise, of all, or none."""
        with self._lock:
            own = self._of_task.get(prompt.task_id)
            if own is not None:
                return own
            return self._characters / self._tokens if self._tokens else CHARACTERS_PER_TOKEN


def _no_room(said: str, tokens: int, limit: int) -> TaskFailed:
    return TaskFailed(
        f"Input has {said} tokens without its table, more than the {limit} allowed", input_tokens=tokens
    )


def _content(text: str, picture: SentPicture | None) -> Content:
    """The words in the form in which they are sent, without their picture."""
    return text if picture is None else _text_parts(text)


def _text_parts(text: str) -> list[dict[str, object]]:
    return [{"type": "text", "text": text}]


def _harmless(text: str) -> str:
    """The text with marks such as `<|im_end|>` broken up, which a server would take for its own."""
    return _MARK.sub(r"< \1", text)
