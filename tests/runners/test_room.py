"""How many tokens a model has room for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hitui_runners.engines.room import room_of


def config(**values: object) -> SimpleNamespace:
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(**values))


@pytest.mark.parametrize(
    ("values", "room"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 262144, "rope_scaling": {"rope_type": "default"}}, 262144),
        ({"max_position_embeddings": 8192, "rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, 8192),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 131072),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        # Of each kind of layer its own: none of them is stretched.
        ({"max_position_embeddings": 4096, "rope_parameters": {"full_attention": {"factor": 8.0}}}, 4096),
        ({"max_position_embeddings": None}, None),
        ({}, None),
    ],
)
def test_it_is_what_the_configuration_says(
    tmp_path: Path, values: dict[str, object], room: int | None
) -> None:
    for said in ({"text_config": values}, {"llm_config": values, "vision_config": {}}, values):
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert room_of(config(**values), tmp_path) == room


@pytest.mark.parametrize("said", ["{}", '{"vision_config": {"max_position_embeddings": 9}}', "[]", "{", None])
def test_what_a_class_has_by_itself_is_no_models_room(tmp_path: Path, said: str | None) -> None:
    if said is not None:
        (tmp_path / "config.json").write_text(said)
    assert room_of(config(max_position_embeddings=2048), tmp_path) is None
