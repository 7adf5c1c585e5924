"""What a model of `transformers` gets for a prompt: token ids within the budget, and the pixels of the picture.

A table is tokenized once for all questions about it. A prompt's ids are those of its table, spliced into what is
around it; they are what its text has when it is tokenized in one go.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from hitui_runners.engines.base import Prompt, TaskFailed
from hitui_runners.engines.headers import header_rows
from hitui_runners.engines.original_truncation import original_cuts
from hitui_runners.engines.pictures import RememberingImageProcessor, smaller
from hitui_runners.engines.splicing import Gap, Part, Window, gap_between, tokens_from, windows_of
from hitui_runners.engines.tokens import PIECE_CHARACTERS, Tokens, tokenize_long
from hitui_runners.engines.truncation import CUT_ATTEMPTS, CUT_STEPS, SHORTFALL, TokenizedTable, note

TRUNCATIONS = ("tokens", "original")
PER_TOKEN = ("attention_mask", "mm_token_type_ids", "token_type_ids")
"""What a processor says of every token beside its id; of all tokens of text the same."""

TABLES_KEPT = 2
"""Who is asked once more has the table before that of those who are made ready for their turn."""
LEAST_BUDGET = 10_000
"""Pixels: no budget for a picture is less, and no edge of one has as many."""
THOUGHT = "<think>"


@dataclass(frozen=True)
class _Words:
    """A prompt's text, its table apart; the tokenizer's own marks broken up."""

    before: str
    table: str
    after: str


@dataclass(frozen=True)
class _Table:
    """A table, in which the tokenizer's own marks are broken up, and its tokens."""

    table: str
    tokens: Tokens
    cuts: TokenizedTable


class PromptInputs:
    """Makes them; remembers what was made of the last tables and the last picture."""

    def __init__(
        self,
        processor: Any,
        max_input_tokens: int,
        max_pixels: int | None,
        *,
        truncation: str = TRUNCATIONS[0],
    ) -> None:
        """`processor`: of the model; its pictures are prepared once from now on. `max_pixels`: None: the model's.
        `truncation`: one of TRUNCATIONS."""
        self._processor = processor
        self._processor.image_processor = RememberingImageProcessor(processor.image_processor)
        self._max_input_tokens = max_input_tokens
        self._max_pixels = max_pixels
        self._truncation = truncation
        self._marks = tuple(
            token.content
            for token in self._tokenizer.added_tokens_decoder.values()
            if token.special or (token.content.startswith("<|") and token.content.endswith("|>"))
        )
        # Some tokenizers have a thousand marks, each looked for in megabytes: once for all questions about a table.
        self._harmless_table = functools.lru_cache(TABLES_KEPT)(self._harmless)
        self._tokenized = functools.lru_cache(TABLES_KEPT)(self._table)
        self._smaller: tuple[Any, int, Any] | None = None
        """A picture, how many pixels it was to have, and what was made of it."""

    def cut_to(self, tokens: int) -> None:
        """From now on no prompt has more, whatever was allowed before."""
        self._max_input_tokens = min(self._max_input_tokens, tokens)

    def drop(self) -> None:
        """Forgets the last picture."""
        self._smaller = None
        self._processor.image_processor.drop()

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    @functools.cached_property
    def opening(self) -> str:
        """What the chat template begins every reply with that the reply itself lacks: `<think>` for models that always think
        first; else empty. Without it a thought that came to no end looks like an answer."""
        return THOUGHT if self._prompt_text("", None).rstrip().endswith(THOUGHT) else ""

    def of(self, prompt: Prompt, image: Any, recovery: dict[str, object]) -> Any:
        """What the model gets: `input_ids` of shape (1, tokens), within the budget, and what goes with them.

        `image`: an opened picture, the same object for the same picture; None where the prompt has none. What was
        changed to stay within the budget is put into `recovery`. Raises TaskFailed where that cannot be done. With
        the truncation `original` a prompt may be above its budget.
        """
        image, size = self.shown(image, prompt.pixel_share, recovery)
        limit = min(self._max_input_tokens, prompt.max_input_tokens or self._max_input_tokens)
        harmless = self._harmless_table(prompt.table)
        words = _Words(self._harmless(prompt.before), harmless, self._harmless(prompt.after))
        table = None
        if len(words.table) > PIECE_CHARACTERS:
            table = self._tokenized(words.table, prompt.table_format)
        if table is None or len(table.tokens.ids) <= limit:
            # All of it, unless it is known to be too long.
            inputs = self._with_parts(words, table, ((0, len(words.table)),), image, size)
            uncut = length(inputs)
        else:
            inputs = self._process(words.before + words.after, image, size)
            uncut = length(inputs) + len(table.tokens.ids)
        counted = uncut
        if self._truncation == "original" and image is not None:
            counted -= self._picture_tokens(words, image, size)
        if counted <= limit:
            return inputs
        table = table or self._tokenized(words.table, prompt.table_format)
        if self._truncation == "original" and words.table:
            recovery.update(max_input_tokens=limit, uncut_tokens=uncut, truncation="original")
            return self._cut_as_before(words, table, limit + uncut - counted, image, size)
        inputs, is_cut = self._cut(words, table, limit, image, size)
        if is_cut:
            recovery.update(max_input_tokens=limit, uncut_tokens=uncut)
        return inputs

    def _cut(self, words: _Words, table: _Table, limit: int, image: Any, size: Any) -> tuple[Any, bool]:
        """The inputs with as much of the table as fits, and whether any is left out. Raises TaskFailed when even
        without it they do not."""
        inputs = self._process(words.before + words.after, image, size)
        without_table = length(inputs)
        if without_table > limit:
            raise TaskFailed(
                f"Input has {without_table} tokens without its table, more than the {limit} allowed",
                input_tokens=without_table,
            )
        note_tokens = len(self._tokenizer(note(len(words.table)), add_special_tokens=False)["input_ids"])
        budget = limit - without_table
        budget -= budget % max(1, limit // CUT_STEPS)
        best, is_cut = inputs, True
        for _ in range(CUT_ATTEMPTS):
            cut = table.cuts.cut(budget, note_tokens)
            inputs = self._with_parts(words, table, cut.parts, image, size)
            spare = limit - length(inputs)
            if spare >= 0 and length(inputs) >= length(best):
                best, is_cut = inputs, cut.left_out > 0
            if not cut.spans or (spare >= 0 and (spare <= limit * SHORTFALL or not cut.left_out)):
                break
            budget += spare
        return best, is_cut

    def _cut_as_before(self, words: _Words, table: _Table, limit: int, image: Any, size: Any) -> Any:
        """The inputs with the table cut by the older script's rules; they may have more tokens than `limit`."""
        inputs = None
        for parts in original_cuts(words.table):
            inputs = self._with_parts(words, table, parts, image, size)
            if length(inputs) <= limit:
                break
        return inputs

    def _table(self, table: str, table_format: str | None) -> _Table:
        # A tokenizer in Python cannot say where tokens begin, by which pieces are joined.
        tokens = tokenize_long(table, self._tokens) if self._tokenizer.is_fast else self._tokens([table])[0]
        return _Table(table, tokens, TokenizedTable(table, tokens.starts, header_rows(table, table_format)))

    def _with_parts(
        self, words: _Words, table: _Table | None, parts: Sequence[Part], image: Any, size: Any
    ) -> Any:
        """The inputs of the prompt whose table is made of these parts; `table` None: it is a short one."""
        windows = windows_of(words.before, words.table, parts, words.after)
        inputs = None
        if table is not None and len(windows) > 1 and self._tokenizer.is_fast:
            inputs = self._spliced(windows, table, image, size)
        if inputs is None:
            shown = "".join(
                part if isinstance(part, str) else words.table[part[0] : part[1]] for part in parts
            )
            inputs = self._process(words.before + shown + words.after, image, size)
        return inputs

    def _spliced(self, windows: Sequence[Window], table: _Table, image: Any, size: Any) -> Any:
        """The inputs of the prompt with these windows; None where they cannot be put together."""
        first, *inner, last = windows
        words = first.text + last.text
        text = self._prompt_text(words, image)
        begin = text.find(words)
        if begin < 0:
            # Some templates trim what they are given.
            first = replace(first, text=first.text.lstrip())
            last = replace(last, text=last.text.rstrip())
            begin = text.find(first.text + last.text)
        if begin < 0:
            return None
        # The first and the last window are one text, which the processor gets; its picture is before the words.
        outer, *inner_tokens = self._tokens([text, *(window.text for window in inner)])
        middle = begin + len(first.text)
        gaps: list[Gap] = []
        tokens, ends_at = outer, middle
        for number, (before, after) in enumerate(pairwise(windows)):
            following = inner_tokens[number] if number < len(inner) else outer
            begins_at = 0 if number < len(inner) else middle
            gap = gap_between(
                table.table,
                table.tokens,
                tokens,
                ends_at,
                before.end or 0,
                following,
                begins_at,
                after.begin or 0,
            )
            if gap is None:
                return None
            gaps.append(gap)
            tokens, ends_at = following, len(after.text)
        inputs = self._process_text(text, image, size)
        ids = inputs["input_ids"][0]
        of_words = tokens_from(outer, begin)
        if ids[len(ids) - of_words :].tolist() != list(outer.ids[len(outer.ids) - of_words :]):
            return None
        return self._joined(inputs, len(outer.ids), gaps, table.tokens, inner_tokens)

    def _joined(
        self, inputs: Any, outer_tokens: int, gaps: Sequence[Gap], table: Tokens, inner: Sequence[Tokens]
    ) -> Any:
        """The inputs of first and last window with all between them put in; None where it is not known how."""
        import torch

        ids = inputs["input_ids"]
        # A picture has one mark in the text and many tokens in the ids, all of them before the words.
        more = ids.shape[1] - outer_tokens
        head, tail = gaps[0].before + more, gaps[-1].after + more
        between: list[int] = []
        for number, gap in enumerate(gaps):
            between.extend(table.ids[gap.first : gap.last])
            if number < len(inner):
                between.extend(inner[number].ids[gap.after : gaps[number + 1].before])
        for name, value in list(inputs.items()):
            if name == "input_ids":
                put_in = torch.tensor([between], dtype=value.dtype)
            elif name in PER_TOKEN:
                put_in = value[:, head - 1 : head].expand(1, len(between))
            elif getattr(value, "shape", None) == ids.shape:
                return None
            else:
                continue
            inputs[name] = torch.cat([value[:, :head], put_in, value[:, tail:]], dim=1)
        return inputs

    def _process(self, words: str, image: Any, size: Any) -> Any:
        return self._process_text(self._prompt_text(words, image), image, size)

    def _prompt_text(self, words: str, image: Any) -> str:
        content = [{"type": "text", "text": words}]
        if image is not None:
            content.insert(0, {"type": "image"})
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return text

    def _process_text(self, text: str, image: Any, size: Any) -> Any:
        options: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
        begins = self._tokenizer.bos_token
        if begins is not None and text.startswith(begins):
            # As `apply_chat_template` has it: many tokenizers would put it there once more.
            options["add_special_tokens"] = False
        if image is not None:
            options["images"] = [image]
            if size is not None:
                options["size"] = size
        return self._processor(**options)

    def _harmless(self, text: str) -> str:
        """The text with the tokenizer's own marks (`<|im_end|>`) broken up, which must mean nothing in a table."""
        for mark in self._marks:
            text = text.replace(mark, f"{mark[:1]} {mark[1:]}")
        return text

    def _picture_tokens(self, words: _Words, image: Any, size: Any) -> int:
        """How many tokens the picture takes, with the marks around it."""
        around = words.before + words.after
        return length(self._process(around, image, size)) - length(self._process(around, None, None))

    def shown(
        self, image: Any, share: float, recovery: dict[str, object]
    ) -> tuple[Any, dict[str, int] | None]:
        """The picture as it is given to the image processor, the same object for the same one, and that one's limits, in
        pixels, where they are not the model's own."""
        if image is None or (self._max_pixels is None and share == 1):
            return image, None
        least, budget = _pixel_budget(self._processor.image_processor)
        pixels = image.width * image.height
        most = self._max_pixels or budget or pixels
        if share != 1:
            most = max(1, int(min(most, pixels) * share))
        if pixels > most:
            recovery["max_pixels"] = most
        if budget is not None:
            return image, {"shortest_edge": min(least, most), "longest_edge": most}
        if pixels <= most:
            return image, None
        if self._smaller is None or self._smaller[0] is not image or self._smaller[1] != most:
            self._smaller = (image, most, smaller(image, most))
        return self._smaller[2], None

    def _tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text; a tokenizer in Python cannot say where they begin, there they are spread evenly."""
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
            return [
                Tokens(ids, [start for start, _ in offsets])
                for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            ]
        spread = []
        for text in texts:
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            spread.append(Tokens(ids, [len(text) * token // len(ids) for token in range(len(ids))]))
        return spread


def _pixel_budget(image_processor: Any) -> tuple[int, int | None]:
    """The least and the most pixels that it makes of a picture; 0 and None where its settings say nothing of that.

    Those of Qwen's kind have them under the names that others have for the edges of a picture.
    """
    size = getattr(image_processor, "size", None)
    least, most = (_of_size(size, name) for name in ("shortest_edge", "longest_edge"))
    return (least, most) if least is not None and most is not None and most >= LEAST_BUDGET else (0, None)


def _of_size(size: Any, name: str) -> int | None:
    """An entry of an image processor's size, which is a dict, or an object of some versions that is like one."""
    try:
        value = size[name]
    except (LookupError, TypeError, AttributeError):
        return None
    return value if isinstance(value, int) else None


def length(inputs: Any) -> int:
    """Tokens of a prompt, those of its image included."""
    return int(inputs["input_ids"].shape[1])
