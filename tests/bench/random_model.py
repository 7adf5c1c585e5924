"""The model that the benchmark of the runner asks where none is named: its weights are random."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

from tests.tools import tiny_model

TEXT_8B = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
VISION_8B = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
VOCABULARY_8B = 151936
LEARNED = 16_384
"""Tokens that the tokenizer has learned."""
CHARACTERS_LEARNED = 20_000
"""Of each table, from which it learns."""
SMALL = {**tiny_model.LARGE, "hidden_size": 256, "intermediate_size": 768}


def build(folder: Path, layers: int, data: Path, *, gpu: bool) -> None:
    """A Qwen3-VL with random weights in the layout of the hub, whose tokenizer knows the tables of `data`; on the CPU a
    small one of so many layers."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    whole, folder = folder, folder.with_name(f"{folder.name}.new")
    # Of one whose making was broken off.
    shutil.rmtree(folder, ignore_errors=True)
    # All its files but configuration and weights are those of a tiny one, the tokenizer too.
    tables = sorted(path for name in ("html", "csv") for path in (data / name).iterdir())
    texts = (path.read_text("utf-8", "replace")[:CHARACTERS_LEARNED] for path in tables)
    tiny_model.build(folder, texts=texts, vocabulary=LEARNED)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    path, pixels = folder / "config.json", folder / "preprocessor_config.json"
    config = json.loads(path.read_bytes())
    text = config["text_config"]
    text |= {**TEXT_8B, "vocab_size": VOCABULARY_8B} if gpu else {**SMALL, "num_hidden_layers": layers}
    text["rope_scaling"]["mrope_section"] = [text["head_dim"] * part // 32 for part in (6, 5, 5)]
    config["vision_config"] |= {**(VISION_8B if gpu else {}), "out_hidden_size": text["hidden_size"]}
    if gpu:
        limits = {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096}
        pixels.write_text(json.dumps({**json.loads(pixels.read_bytes()), "size": limits}), encoding="utf-8")
        torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if gpu else "cpu"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**copy.deepcopy(config)))
    tiny_model.scale_up(model, attentive=True)
    model.save_pretrained(folder)
    # What a version of transformers saves by itself an earlier one may not read.
    path.write_text(json.dumps(config), encoding="utf-8")
    folder.rename(whole)
