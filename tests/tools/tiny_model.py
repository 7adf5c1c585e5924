"""A Qwen3-VL with random weights, or another of the known kinds, small enough for tests, on disk in the layout of the
published ones.

The tokenizer is trained on made-up table rows; the weights are scaled up, since at their usual scale every
answer of an untrained model is the same. What it says is noise: tests look at how it is asked, not at answers.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.tools.tiny_kinds import QWEN3_VL, Kind

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Qwen's pre-tokenizer: contractions, words, single digits, punctuation, line ends, spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'image' %}PICTURE{% else %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
PICTURE = "PICTURE"
"""Where the template has what stands for one."""
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
MIDDLE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
LARGE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


def build(
    folder: Path,
    seed: int = 0,
    size: dict[str, int] = TINY,
    texts: Iterable[str] | None = None,
    vocabulary: int = 1024,
    kind: Kind = QWEN3_VL,
) -> Path:
    """Saves the model into `folder`, in a second or two. Needs transformers from 4.57 on.

    TINY has 250 thousand parameters; MIDDLE 1 million and LARGE 25, and their answers depend on the question. The
    tokenizer learns at most so many tokens, its `vocabulary`, from the texts.
    """
    import torch
    import transformers

    tokenizer = _trained_tokenizer(_rows() if texts is None else texts, vocabulary)
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL_TOKENS}
    config = kind.settings(tokenizer.get_vocab_size(), ids, size)
    torch.manual_seed(seed)
    # A copy: the class changes the names of what it is given.
    made = getattr(transformers, f"{kind.name}Config")(**copy.deepcopy(config))
    model = getattr(transformers, kind.model)(made)
    scale_up(model, attentive=size in (MIDDLE, LARGE))
    model.save_pretrained(folder)
    _write(folder / "config.json", {"architectures": [kind.model], **config})
    # As the real model's generation settings: a runner that wants greedy answers must override them.
    _write(
        folder / "generation_config.json",
        {
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "pad_token_id": ids["<|endoftext|>"],
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.8,
            "top_k": 20,
        },
    )
    _write_tokenizer(folder, tokenizer, kind)
    of_both = {"processor_class": kind.processor}
    _write(folder / "preprocessor_config.json", {**of_both, **kind.pictures})
    video = {**kind.pictures, "video_processor_type": kind.video_processor}
    del video["image_processor_type"]
    _write(folder / "video_preprocessor_config.json", {**of_both, **video})
    if kind.processor_settings:
        _write(folder / "processor_config.json", {**of_both, **kind.processor_settings})
    return folder


def scale_up(model: Any, *, attentive: bool) -> None:
    """Lets the answers of untrained weights differ. `attentive`: and depend on the question."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() >= 2:
                weight.mul_(8 if "embed_tokens" in name or "lm_head" in name else 4)
            elif attentive and name.endswith(("q_norm.weight", "k_norm.weight")):
                # So that it attends to a few tokens, and not to all of them alike.
                weight.mul_(3)


def _trained_tokenizer(texts: Iterable[str], vocabulary: int):  # type: ignore[no-untyped-def]
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _write_tokenizer(folder: Path, tokenizer, kind: Kind) -> None:  # type: ignore[no-untyped-def]
    """The tokenizer's own file, its parts in two older ones, and the chat template, as the real model has them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL_TOKENS}
    template = CHAT_TEMPLATE.replace(PICTURE, kind.picture_in_template)
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_prefix_space": False,
            "added_tokens_decoder": {str(ids[name]): {"content": name, **plain} for name in SPECIAL_TOKENS},
            "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": 262144,
            "chat_template": template,
            **kind.tokenizer_settings,
        },
    )
    _write(folder / "chat_template.json", {"chat_template": template})


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _rows() -> list[str]:
    chance = random.Random(0)
    towns = ["Alderwick", "Brackenford", "Coldharbour", "Dunmere", "Eastleigh Cross", "Fennimore"]
    crops = ["barley", "oats", "rye", "turnips", "flax", "hops"]
    rows = []
    for _ in range(3000):
        town, crop = chance.choice(towns), chance.choice(crops)
        number = chance.randrange(100000)
        rows.append(
            chance.choice(
                (
                    f"<tr><td>{town}</td><td>{crop}</td><td>{number}</td></tr>\n",
                    f"{town},{crop},{number}\n",
                    f"| {town} | {crop} | {number} |\n",
                    f"How many tonnes of {crop} did {town} harvest? [Final Answer]: {number}\n",
                    f'{{"town": "{town}", "{crop}": {number}}},\n',
                )
            )
        )
    return rows
