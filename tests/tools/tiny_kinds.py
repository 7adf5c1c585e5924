"""How vision-language models of several kinds are set up: the settings of each, with the names that the published ones
carry since transformers 4.57. Every later version reads those, while what a version saves by itself an earlier one may not
read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Ids = dict[str, int]
"""Of the special tokens, by their names."""
Size = dict[str, int]


@dataclass(frozen=True)
class Kind:
    """One kind of model, by the names of its classes in transformers."""

    name: str
    """Those of the configuration and the model begin with it."""
    processor: str
    video_processor: str
    settings: Callable[[int, Ids, Size], dict[str, Any]]
    """The configuration of a model that knows so many tokens."""
    pictures: dict[str, Any]
    """Settings of the image processor."""
    processor_settings: dict[str, Any] = field(default_factory=dict)
    tokenizer_settings: dict[str, Any] = field(default_factory=dict)
    picture_in_template: str = "<|vision_start|><|image_pad|><|vision_end|>"

    @property
    def model(self) -> str:
        return f"{self.name}ForConditionalGeneration"


def _qwen3_vl(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    return {
        "model_type": "qwen3_vl",
        "text_config": {
            "model_type": "qwen3_vl_text",
            "vocab_size": vocabulary,
            **size,
            "max_position_embeddings": 262144,
            "rope_theta": 5000000,
            "rope_scaling": {
                "rope_type": "default",
                "mrope_section": _sections(size["head_dim"]),
                "mrope_interleaved": True,
            },
            "eos_token_id": ids["<|im_end|>"],
            "bos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": size["hidden_size"],
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
        },
        **_marks(ids),
        "tie_word_embeddings": False,
    }


def _qwen3_vl_moe(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    settings = _qwen3_vl(vocabulary, ids, size)
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": size["intermediate_size"] // 2,
        "decoder_sparse_step": 1,
        "norm_topk_prob": True,
        "mlp_only_layers": [],
    }
    settings["model_type"] = "qwen3_vl_moe"
    settings["text_config"] |= {"model_type": "qwen3_vl_moe_text", **experts}
    settings["vision_config"]["model_type"] = "qwen3_vl_moe"
    return settings


def _qwen2_vl(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    return {
        "model_type": "qwen2_vl",
        **_flat(vocabulary, ids, size),
        "vision_config": {
            "depth": 2,
            "embed_dim": 32,
            "mlp_ratio": 2,
            "num_heads": 2,
            "in_chans": 3,
            "hidden_size": size["hidden_size"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
    }


def _qwen2_5_vl(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    return {
        "model_type": "qwen2_5_vl",
        **_flat(vocabulary, ids, size),
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "in_chans": 3,
            "out_hidden_size": size["hidden_size"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
            # One layer looks through windows of four by four patches, one at all of the picture.
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
    }


def _flat(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    """What these two say of text, beside the rest and not in a part of its own."""
    # Their heads are as large as goes into the width.
    assert size["head_dim"] * size["num_attention_heads"] == size["hidden_size"]
    return {
        "vocab_size": vocabulary,
        **{name: number for name, number in size.items() if name != "head_dim"},
        "max_position_embeddings": 128000,
        "max_window_layers": size["num_hidden_layers"],
        "sliding_window": 32768,
        "use_sliding_window": False,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": _sections(size["head_dim"])},
        "eos_token_id": ids["<|im_end|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": False,
        **_marks(ids),
    }


def _sections(head: int) -> list[int]:
    """A quarter of a head's pairs of dimensions each for height and width, the rest for time."""
    quarter = head // 8
    return [2 * quarter, quarter, quarter]


def _marks(ids: Ids) -> dict[str, int]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _internvl(vocabulary: int, ids: Ids, size: Size) -> dict[str, Any]:
    return {
        "model_type": "internvl",
        "text_config": {
            "model_type": "qwen3",
            "vocab_size": vocabulary,
            **size,
            "max_position_embeddings": 40960,
            "rope_theta": 1000000.0,
            "eos_token_id": ids["<|im_end|>"],
            "bos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "model_type": "internvl_vision",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": [TILE, TILE],
            "patch_size": [14, 14],
        },
        "image_token_id": ids["<|image_pad|>"],
        "image_seq_length": TOKENS_OF_A_TILE,
        "downsample_ratio": 0.5,
        "tie_word_embeddings": False,
    }


def _qwen_pictures(patch: int) -> dict[str, Any]:
    """Patches of so many pixels at each side; four of them are a token."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 32 * 32, "longest_edge": 512 * 512},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


TILE = 84
"""Pixels of each side of a tile, into which this kind cuts up pictures."""
TOKENS_OF_A_TILE = 9
QWEN3_VL = Kind("Qwen3VL", "Qwen3VLProcessor", "Qwen3VLVideoProcessor", _qwen3_vl, _qwen_pictures(16))
QWEN3_VL_MOE = Kind(
    "Qwen3VLMoe", "Qwen3VLProcessor", "Qwen3VLVideoProcessor", _qwen3_vl_moe, _qwen_pictures(16)
)
QWEN2_VL = Kind("Qwen2VL", "Qwen2VLProcessor", "Qwen2VLVideoProcessor", _qwen2_vl, _qwen_pictures(14))
QWEN2_5_VL = Kind(
    "Qwen2_5_VL", "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", _qwen2_5_vl, _qwen_pictures(14)
)
INTERNVL = Kind(
    "InternVL",
    "InternVLProcessor",
    "InternVLVideoProcessor",
    _internvl,
    {
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 12,
        "do_resize": True,
        "size": {"height": TILE, "width": TILE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
    processor_settings={"image_seq_length": TOKENS_OF_A_TILE},
    tokenizer_settings={
        "extra_special_tokens": {
            "start_image_token": "<|vision_start|>",
            "end_image_token": "<|vision_end|>",
            "context_image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
        }
    },
    # What is around it the processor puts there.
    picture_in_template="<|image_pad|>\n",
)
KINDS = {
    "qwen3_vl": QWEN3_VL,
    "qwen3_vl_moe": QWEN3_VL_MOE,
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "internvl": INTERNVL,
}
