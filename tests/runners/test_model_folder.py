"""Which model lies in a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hitui_runners.engines.model_folder import hub_commit, model_digest


def model_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4000)
    (folder / "README.md").write_text("a model")
    return folder


def test_a_model_is_told_by_what_its_answers_depend_on(tmp_path: Path) -> None:
    digest = model_digest(model_folder(tmp_path / "one"))
    assert re.fullmatch("sha256:[0-9a-f]{12}", digest)
    assert model_digest(model_folder(tmp_path / "another place")) == digest
    same = model_folder(tmp_path / "same")
    (same / "README.md").write_text("what it says")
    (same / "optimizer.pt").write_bytes(b"state")
    assert model_digest(same) == digest

    changes: list[tuple[str, bytes]] = [
        ("generation_config.json", b'{"repetition_penalty": 1.1}'),
        ("tokenizer.json", b"[]"),
        ("chat_template.jinja", b"{{ x }}"),
        ("model.safetensors", bytes(range(256)) * 4001),
        ("model.safetensors", bytes(reversed(range(256))) * 4000),
        ("adapter_model.safetensors", b"more"),
    ]
    found = {digest}
    for number, (name, content) in enumerate(changes):
        changed = model_folder(tmp_path / str(number))
        (changed / name).write_bytes(content)
        found.add(model_digest(changed))
    assert len(found) == len(changes) + 1


def test_the_hubs_commit_is_found_where_the_folder_tells_it(tmp_path: Path) -> None:
    commit, other = "a1" * 20, "b2" * 20
    plain = model_folder(tmp_path / "plain")
    assert hub_commit(plain) is None
    cached = model_folder(tmp_path / commit)
    (tmp_path / "link").symlink_to(cached)
    assert hub_commit(cached) == hub_commit(tmp_path / "link") == commit
    notes = plain / ".cache/huggingface/download"
    notes.mkdir(parents=True)
    (notes / "config.json.metadata").write_text(f"{commit}\n62d1ca\n1726498370.8\n")
    assert hub_commit(plain) == commit
    (notes / "model.safetensors.metadata").write_text(f"{other}\n62d1cb\n1726498370.8\n")
    assert hub_commit(plain) is None
    (plain / "config.json").write_text(json.dumps({"_commit_hash": other}))
    assert hub_commit(plain) == other
