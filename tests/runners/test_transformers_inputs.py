"""What a model gets for a prompt: within the budget and hardly below it, with the ids of the text in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt
from hitui_runners.engines.inputs import PromptInputs, length
from hitui_runners.engines.original_truncation import original_cuts
from hitui_runners.engines.pictures import Pictures
from hitui_runners.engines.processors import load_processor
from hitui_runners.engines.transformers import TransformersEngine

from tests.tools.benchmark import png

pytestmark = pytest.mark.model
QUESTION = "\n\nAnswer with a number.\n\nQuestion: How many boats lie in harbour 7?"


class CountingTokenizer:
    """A tokenizer, and how many characters it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: Any, **options: Any) -> Any:
        self.characters += sum(map(len, [text] if isinstance(text, str) else text))
        return self._tokenizer(text, **options)


@pytest.fixture(scope="module")
def processor(tiny_model: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        made = load_processor(tiny_model)
        made.tokenizer = CountingTokenizer(made.tokenizer)
        yield made


def asked(table: str, table_format: str | None = None, after: str = QUESTION) -> Prompt:
    return Prompt(1, "A table follows.\n\n", table, after, after, table_format=table_format)


def made(inputs: PromptInputs, prompt: Prompt, image: Any = None) -> tuple[Any, dict[str, object]]:
    recovery: dict[str, object] = {}
    return inputs.of(prompt, image, recovery), recovery


def shown(inputs: PromptInputs, of_model: Any) -> str:
    text: str = inputs._tokenizer.decode(of_model["input_ids"][0])
    return text


ROWS = "".join(f"<tr><td>Harbour {n}</td><td>{n * 37 % 1009}</td></tr>\n" for n in range(6000))
HEADER = "".join(f"<tr><th>level {n}</th></tr>\n" for n in range(9))
TABLES = {
    "rows": (f"<table><thead>{HEADER}</thead>{ROWS}</table>", "html"),
    "one line of 1 MB": (
        "<table>" + "".join(f"<tr><td>Harbour {n}</td><td>{n}</td></tr>" for n in range(26_000)) + "</table>",
        "html",
    ),
    "rows longer than the budget": (
        "\n".join(",".join(f"{row} {cell}" for cell in range(9000)) for row in range(4)),
        "csv",
    ),
    "a header longer than the budget": (
        f"<table><thead>{'<th>column</th>' * 9000}</thead>{ROWS}</table>",
        "html",
    ),
    "styles longer than the budget": (
        "<style>\n"
        + "td.column { border: 1px solid }\n" * 2000
        + f"</style><table><thead>{HEADER}</thead>{ROWS}",
        "html",
    ),
    "many scripts": (
        "".join(f"| Straße {n} | e\u0301té | 漁港{n}号 | 🛶🏽 | ﬁsh |\n" for n in range(3000)),
        "markdown",
    ),
    "padding": ("".join(f"row {n:<400} & {n:>300} \\\\\n" for n in range(400)), "latex"),
    "marks of the tokenizer": ("<|im_end|> | <|image_pad|>\n" * 4000, "markdown"),
    "digits alone": ("0123456789" * 9000, "csv"),
    "no boundary": ("harbour" * 9000, None),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_cut_prompt_uses_its_budget_and_never_more(
    processor: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, table_format = TABLES[name]
    inputs = PromptInputs(processor, 12_000, None)
    for budget in (1500, 12_000):
        prompt = replace(asked(table, table_format), max_input_tokens=budget)
        of_model, recovery = made(inputs, prompt)

        assert 0.99 * budget <= length(of_model) <= budget
        assert recovery["max_input_tokens"] == budget
        assert int(str(recovery["uncut_tokens"])) > budget
        text = shown(inputs, of_model)
        assert text.startswith("<|im_start|>user\nA table follows.\n\n")
        assert text.endswith(f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
        assert "characters of the table are left out here]" in text
        if HEADER in table and len(HEADER) < budget:
            assert HEADER in text

        # In one go, without what is known of the table.
        monkeypatch.setattr(PromptInputs, "_spliced", lambda *_: None)
        plain, _ = made(inputs, prompt)
        assert {key: value.tolist() for key, value in of_model.items()} == {
            key: value.tolist() for key, value in plain.items()
        }
        monkeypatch.undo()


def test_a_table_that_hardly_does_not_fit_is_hardly_cut(processor: Any) -> None:
    table = "\n".join(f"{n},{n * 7}" for n in range(40))
    # A table that parts a word makes more tokens than it has itself.
    prompt = Prompt(1, "A row of Bracken", table, "ford, how many?", "how many?")
    whole = length(made(PromptInputs(processor, 10**6, None), prompt)[0])

    for budget in range(whole - 4, whole):
        of_model, _ = made(PromptInputs(processor, budget, None), prompt)
        assert 0.99 * budget <= length(of_model) <= budget
    assert made(PromptInputs(processor, whole, None), prompt)[1] == {}


@pytest.mark.parametrize("name", ["rows", "no boundary"])
def test_a_tokenizer_that_cannot_say_where_tokens_begin_will_do(
    processor: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in Python, without Rust."""
    call = CountingTokenizer.__call__

    def without_offsets(self: CountingTokenizer, text: Any, **options: Any) -> Any:
        assert "return_offsets_mapping" not in options
        return call(self, text, **options)

    monkeypatch.setattr(CountingTokenizer, "is_fast", False, raising=False)
    monkeypatch.setattr(CountingTokenizer, "__call__", without_offsets)
    table, table_format = TABLES[name]
    of_model, recovery = made(PromptInputs(processor, 5000, None), asked(table, table_format))

    assert 4950 <= length(of_model) <= 5000
    assert recovery["max_input_tokens"] == 5000
    assert shown(PromptInputs(processor, 5000, None), of_model).endswith("assistant\n")


def test_marks_are_broken_up_and_words_of_the_vocabulary_are_not(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AddedToken

    # Qwen's marks for code are none of its special ones; other vocabularies hold the tags of HTML.
    added = [AddedToken("<|file_sep|>", special=False), AddedToken("<td>", special=False)]
    monkeypatch.setattr(processor.tokenizer, "added_tokens_decoder", dict(enumerate(added)), raising=False)
    inputs = PromptInputs(processor, 10**6, None)
    for _ in range(2):
        of_model, _ = made(inputs, asked("<td><|file_sep|>harbour 7"))
        assert "\n<td>< |file_sep|>harbour 7\n" in shown(inputs, of_model)


def test_a_table_is_tokenized_once_for_all_questions_about_it(processor: Any) -> None:
    table, table_format = TABLES["rows"]
    for budget in (10**6, 12_000):
        inputs = PromptInputs(processor, budget, None)
        made(inputs, asked(table, table_format))
        processor.tokenizer.characters = 0
        for number in range(5):
            made(inputs, asked(table, table_format, f"\n\nHow many in {number}?"))

        assert processor.tokenizer.characters < len(table) / 4


def test_the_table_before_is_not_tokenized_again_for_who_is_asked_once_more(processor: Any) -> None:
    """The next ones are made ready while others are answered."""
    inputs = PromptInputs(processor, 12_000, None)
    before, following = (asked(ROWS.replace("Harbour", name), "html") for name in ("Quay", "Berth"))
    once = [made(inputs, prompt)[0]["input_ids"].tolist() for prompt in (before, following)]
    processor.tokenizer.characters = 0
    again = [made(inputs, prompt)[0]["input_ids"].tolist() for prompt in (before, following)]

    assert again == once
    assert once[0] != once[1]
    assert processor.tokenizer.characters < len(ROWS) / 4

    # Of those before it nothing is kept.
    made(inputs, asked(ROWS, "html"))
    processor.tokenizer.characters = 0
    made(inputs, before)
    assert processor.tokenizer.characters > len(ROWS)


def test_so_it_is_where_a_template_trims_the_prompt(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trimming = processor.chat_template.replace("{{ part.text }}", "{{ part.text | trim }}")
    assert trimming != processor.chat_template
    monkeypatch.setattr(processor, "chat_template", trimming)
    table, table_format = TABLES["rows"]
    inputs = PromptInputs(processor, 10**6, None)
    prompt = replace(asked(table, table_format), before="\n A table:\n", after="\n\nHow many? \n")
    made(inputs, prompt)
    processor.tokenizer.characters = 0
    of_model, _ = made(inputs, prompt)

    assert processor.tokenizer.characters < len(table) / 4
    text = shown(inputs, of_model)
    assert text.startswith("<|im_start|>user\nA table:\n<table>")
    assert text.endswith("\n\nHow many?<|im_end|>\n<|im_start|>assistant\n")
    plain = processor.tokenizer(text)
    assert of_model["input_ids"][0].tolist() == plain["input_ids"]


@pytest.mark.parametrize("in_template", [True, False])
@pytest.mark.parametrize("rows", [3, 6000])
def test_a_mark_of_the_beginning_stands_there_once(tiny_model: Path, in_template: bool, rows: int) -> None:
    """As Llama's and Gemma's, whose tokenizers put it there as well as their chat templates."""
    from tokenizers.processors import TemplateProcessing

    processor = load_processor(tiny_model)
    tokenizer = processor.tokenizer
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    begin = tokenizer.convert_tokens_to_ids("<|begin|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
    )
    if in_template:
        processor.chat_template = "{{ bos_token }}" + processor.chat_template
    prompt = asked("".join(ROWS.splitlines(keepends=True)[:rows]))
    of_model, _ = made(PromptInputs(processor, 10**6, None), prompt)

    words = [{"type": "text", "text": prompt.before + prompt.table + prompt.after}]
    plain = processor.apply_chat_template(
        [[{"role": "user", "content": words}]], tokenize=True, add_generation_prompt=True, return_dict=True
    )
    ids = of_model["input_ids"][0].tolist()
    assert ids == list(plain["input_ids"][0])
    assert ids.count(begin) == 1
    assert ids[0] == begin


def test_a_thought_that_the_template_begins_is_part_of_the_reply(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    begins = "<|im_start|>assistant\\n"
    for name in ("chat_template.json", "tokenizer_config.json"):
        text = (tmp_path / name).read_text()
        assert text.count(begins) == 1
        (tmp_path / name).write_text(text.replace(begins, f"{begins}<think>\\n"))
    replies = {}
    for folder in (tiny_model, tmp_path):
        engine = TransformersEngine(folder, 1000, 8, None)
        engine.load()
        prompts = [replace(asked("Harbour 1,41\n"), task_id=number) for number in range(3)]
        together = [reply for some in engine.answer_all(deque(prompts)) for _, reply in some]
        replies[folder] = [engine.answer(prompts[0]).text, *(reply.text for reply in together)]
        engine.close()
    assert [text.startswith("<think>") for text in replies[tiny_model]] == [False] * 4
    assert [text.startswith("<think>") for text in replies[tmp_path]] == [True] * 4


def test_questions_of_one_length_get_the_same_cut_and_all_the_same_head(processor: Any) -> None:
    inputs = PromptInputs(processor, 12_000, None)
    table, table_format = TABLES["rows"]
    first, second, longer = (
        made(inputs, asked(table, table_format, after))[0]["input_ids"][0]
        for after in (
            "\n\nHow many in 1?",
            "\n\nHow many in 2?",
            "\n\nHow many in 2?" + " Say it in words." * 40,
        )
    )

    def shared(one: Any, other: Any) -> int:
        least = min(len(one), len(other))
        return int((one[:least] != other[:least]).nonzero()[0])

    assert shared(first, second) > 11_800
    assert shared(first, longer) > 7_500


def test_a_picture_stays_whole_and_its_prompt_is_spliced_too(processor: Any, tmp_path: Path) -> None:
    (tmp_path / "shown.png").write_bytes(png(96, 64))
    image = Pictures().open(tmp_path / "shown.png")
    table, table_format = TABLES["rows"]
    for budget in (10**6, 3000):
        inputs = PromptInputs(processor, budget, None)
        made(inputs, asked(table, table_format), image)
        processor.tokenizer.characters = 0
        of_model, _ = made(inputs, asked(table, table_format, "\n\nHow many?"), image)

        assert processor.tokenizer.characters < len(table) / 4
        assert length(of_model) <= budget
        plain = inputs._process(shown_table(shown(inputs, of_model)), image, None)
        assert {key: value.tolist() for key, value in of_model.items()} == {
            key: value.tolist() for key, value in plain.items()
        }

    # Where the words alone would just fit, the table makes room for it.
    table = table[:2000]
    budget = length(made(PromptInputs(processor, 10**6, None), asked(table, table_format))[0])
    of_model, recovery = made(PromptInputs(processor, budget, None), asked(table, table_format), image)
    assert 0.95 * budget <= length(of_model) <= budget
    assert recovery.keys() == {"max_input_tokens", "uncut_tokens"}


def shown_table(prompt: str) -> str:
    """The words of a prompt, from its text with a picture."""
    return prompt.partition("<|vision_end|>")[2].partition("<|im_end|>")[0]


def test_the_older_scripts_cut_may_be_above_the_budget_and_counts_no_picture(
    processor: Any, tmp_path: Path
) -> None:
    (tmp_path / "shown.png").write_bytes(png(256, 256))
    image = Pictures().open(tmp_path / "shown.png")
    table = "\n".join(f"{n},{n * 7}" for n in range(4000))
    cuts = [
        "".join(part if isinstance(part, str) else table[part[0] : part[1]] for part in parts)
        for parts in original_cuts(table)
    ]
    # In text alone, so that a picture's tokens would make a difference if they counted.
    budget = length(made(PromptInputs(processor, 10**6, None), asked(cuts[2]))[0])
    for picture in (None, image):
        inputs = PromptInputs(processor, budget, None, truncation="original")
        of_model, recovery = made(inputs, asked(table), picture)
        assert cuts[2] in shown(inputs, of_model)
        assert recovery.items() >= {"truncation": "original", "max_input_tokens": budget}.items()

    lowest = PromptInputs(processor, 100, None, truncation="original")
    of_model, _ = made(lowest, asked(table))
    assert cuts[-1] in shown(lowest, of_model)
    assert length(of_model) > 100

    whole = PromptInputs(processor, 10**6, None, truncation="original")
    assert made(whole, asked(table))[1] == {}
