"""What a model of `transformers` gets for a prompt: token ids within the budget, and the pixels of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hitui_runners.engines.base import Prompt, TaskFailed
from hitui_runners.engines.pictures import RememberingImageProcessor
from hitui_runners.engines.truncation import TokenizedTable, note

SEAM_TOKENS = 8
"""Taken off beside the excess when a prompt came out above its budget."""
CUT_STEPS = 256
"""A table is cut to so many parts of the token limit and no size between, so that questions of about one length get the
same beginning."""


class PromptInputs:
    """Makes them; remembers what was made of the last table and the last picture."""

    def __init__(self, processor: Any, max_input_tokens: int, max_pixels: int | None) -> None:
        """`processor`: of the model; its pictures are prepared once from now on. `max_pixels`: None: the model's."""
        self._processor = processor
        self._processor.image_processor = RememberingImageProcessor(processor.image_processor)
        self._max_input_tokens = max_input_tokens
        self._max_pixels = max_pixels
        self._tokenized: TokenizedTable | None = None

    def drop(self) -> None:
        """Forgets the last picture."""
        self._processor.image_processor.drop()

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    def of(self, prompt: Prompt, image: Any, recovery: dict[str, object]) -> Any:
        """What the model gets: `input_ids` of shape (1, tokens), within the budget, and what goes with them.

        `image`: an opened picture, the same object for the same picture; None where the prompt has none. What was
        changed to stay within the budget is put into `recovery`. Raises TaskFailed where that cannot be done.
        """
        size = self._image_size(image, prompt.pixel_share, recovery)
        limit = self._limit(prompt)
        inputs = None
        if not prompt.table or len(prompt.table.encode()) <= limit:
            inputs = self._process(prompt, prompt.table, image, size)
            if length(inputs) <= limit:
                return inputs
        return self._cut(prompt, image, size, inputs, recovery)

    def _cut(self, prompt: Prompt, image: Any, size: Any, whole: Any, recovery: dict[str, object]) -> Any:
        """The inputs with as much of the table as fits. Raises TaskFailed when even without it they do not."""
        limit = self._limit(prompt)
        inputs = self._process(prompt, "", image, size)
        without_table = length(inputs)
        if without_table > limit:
            raise TaskFailed(
                f"Input has {without_table} tokens without its table, more than the {limit} allowed",
                input_tokens=without_table,
            )
        if self._tokenized is None or self._tokenized.table != prompt.table:
            self._tokenized = TokenizedTable(prompt.table, self._token_starts)
        table = self._tokenized
        note_tokens = len(self._tokenizer(note(len(prompt.table)), add_special_tokens=False)["input_ids"])
        step = max(1, limit // CUT_STEPS)
        budget = limit - without_table
        while True:
            cut = table.cut(budget - budget % step, note_tokens)
            inputs = self._process(prompt, cut.text, image, size)
            excess = length(inputs) - limit
            if excess <= 0 or not cut.text:
                break
            budget -= excess + SEAM_TOKENS
        if cut.left_out:
            recovery["max_input_tokens"] = limit
            recovery["uncut_tokens"] = length(whole) if whole is not None else without_table + table.tokens
        return inputs

    def _process(self, prompt: Prompt, table: str, image: Any, size: Any) -> Any:
        words = "".join(self._harmless(part) for part in (prompt.before, table, prompt.after))
        content = [{"type": "text", "text": words}]
        if image is not None:
            content.insert(0, {"type": "image"})
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if image is None:
            return self._processor(text=[text], return_tensors="pt")
        options = {} if size is None else {"size": size}
        return self._processor(text=[text], images=[image], return_tensors="pt", **options)

    def _harmless(self, text: str) -> str:
        """The text with the tokenizer's own marks (`<|im_end|>`) broken up, which must mean nothing in a table."""
        for token in self._tokenizer.added_tokens_decoder.values():
            if token.special:
                text = text.replace(token.content, f"{token.content[:1]} {token.content[1:]}")
        return text

    def _limit(self, prompt: Prompt) -> int:
        """How many tokens the prompt may have."""
        return min(self._max_input_tokens, prompt.max_input_tokens or self._max_input_tokens)

    def _image_size(self, image: Any, share: float, recovery: dict[str, object]) -> dict[str, int] | None:
        """The image processor's limits, in pixels, where they are not the model's own."""
        if image is None or (self._max_pixels is None and share == 1):
            return None
        own = self._processor.image_processor.size
        pixels = image.width * image.height
        most = own["longest_edge"] if self._max_pixels is None else self._max_pixels
        if share != 1:
            most = max(1, int(min(most, pixels) * share))
        if pixels > most:
            recovery["max_pixels"] = most
        return {"shortest_edge": min(own["shortest_edge"], most), "longest_edge": most}

    def _token_starts(self, texts: Sequence[str]) -> list[list[int]]:
        """Where the tokens of each text begin; a tokenizer in Python cannot say, there they are spread evenly."""
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(
                list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            return [[start for start, _ in offsets] for offsets in encoded["offset_mapping"]]
        starts = []
        for text in texts:
            count = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            starts.append([len(text) * token // count for token in range(count)])
        return starts


def length(inputs: Any) -> int:
    """Tokens of a prompt, those of its image included."""
    return int(inputs["input_ids"].shape[1])
