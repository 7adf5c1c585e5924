"""A `hitui.toml` for what lies in a folder, with comments for what cannot be seen from outside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.domain.configs import Config
from hitui.domain.units import counted

_HEAD = """\
# What hitui shows and runs here. Paths are relative to this file; sizes and times carry units.
# `hitui ls` shows what these lines make of the files; an unknown key is refused with the nearest known one.
"""

_RUNNERS = """\
[gpus]
# exclude = [5, 6, 7]        # never touch these
min_free = "20GiB"           # memory a config needs, unless it says its own
max_utilization = 10         # percent
hold     = "10s"             # both for this long without a break

# What runs the configs. One of these, or both, without the leading `# `:
#
# [runner.model]                                  # ours
# engine = "transformers"                         # or "vllm", or "openai", which asks a server; "demo" needs no model
# python = "/path/to/environment/bin/python"      # the model's environment; default: hitui's own
# model  = "/path/to/the/model"
#
# [runner.mine]                                   # any program: a list of arguments, never a shell line
# command = ["python", "my_program.py", "--modality", "{modality}", "--format", "{format}",
#            "--task_ids", "{ids}", "--output", "{output}"]
"""


class Proposal(msgspec.Struct, frozen=True):
    text: str
    found: tuple[str, ...]
    """One line for each kind of thing that was found."""
    unknown: tuple[str, ...]
    """What could not be told, and how to say it."""


def propose(catalogue: Catalogue) -> Proposal:
    """The settings under which the same rows are shown as without any."""
    root = catalogue.settings.root
    found: list[str] = []
    unknown: list[str] = []
    configs = catalogue.configs
    workspace = ["[workspace]"]
    results = _results_folders(root, configs)
    if results:
        workspace.append(f"results   = {_text_list(results)}")
        found.append(f"{counted(len(configs), 'config')} below {', '.join(results)}")
    else:
        workspace.append('# results   = ["result"]      # folders below which results are looked for')
        if configs:
            found.append(counted(len(configs), "config"))
        else:
            unknown.append("where results lie; name their folder as `results`")
    questions, data = catalogue.questions_file, catalogue.data_folder
    if questions is not None:
        workspace.append(f"questions = {_text(_relative(questions, root))}")
        listed = catalogue.questions
        count = f", {counted(len(listed.questions), 'question')}" if listed else ""
        found.append(f"question list {_relative(questions, root)}{count}")
    else:
        workspace.append('# questions = "data/questions.json"   # without it no total is known')
        unknown.append("the question list; name it as `questions`, or no total is known")
    if data is not None:
        workspace.append(f"data      = {_text(_relative(data, root))}")
        found.append(f"dataset {_relative(data, root)}")
    else:
        workspace.append(
            '# data      = "data"        # the folder with csv/, html/, …; without it nothing is blocked'
        )
        unknown.append("the dataset; name it as `data`, or no task counts as blocked")
    workspace.append('# runner    = "model"       # of the configs that name none')
    unknown.append("which program runs them; add a [runner.NAME]")
    found += [f"trainer folder {config.name}" for config in configs if config.kind == "hf_trainer"]
    unclear = [config.name for config in configs if config.kind == "realhitbench" and not _is_clear(config)]
    if unclear:
        unknown.append(f"modality or format of {', '.join(unclear)}; give them in their [[config]]")
    sections = ["\n".join(workspace) + "\n", _RUNNERS, *(_section(config, root) for config in configs)]
    return Proposal("\n".join([_HEAD, *sections]), tuple(found), tuple(unknown))


def _section(config: Config, root: Path) -> str:
    lines = ["[[config]]", f"name     = {_text(config.name)}"]
    if config.kind != "realhitbench":
        lines.append(f"kind     = {_text(config.kind)}")
    elif config.modality is None:
        lines.append('# modality = "text"       # text, image or mix')
    if config.modality is not None:
        lines.append(f"modality = {_text(config.modality)}")
    if config.table_format is not None:
        lines.append(f"format   = {_text(config.table_format)}")
    elif config.kind == "realhitbench" and config.modality != "image":
        lines.append('# format   = "html"       # html, csv, latex, markdown or json')
    lines.append(f"output   = {_text(_relative(Path(config.output), root))}")
    more = [_relative(Path(folder), root) for folder in config.folders if folder != config.output]
    if more:
        lines.append(f"folders  = {_text_list(more)}    # read together with it")
    return "\n".join(lines) + "\n"


def _is_clear(config: Config) -> bool:
    return config.modality == "image" or (config.modality is not None and config.table_format is not None)


def _results_folders(root: Path, configs: Sequence[Config]) -> list[str]:
    """The folders at the top of the workspace in which configs lie; none when one lies in the workspace
    itself, which is then searched as a whole."""
    folders = [Path(folder) for config in configs for folder in config.folders]
    if any(not folder.is_relative_to(root) or folder == root for folder in folders):
        return []
    return sorted({_relative(root / folder.relative_to(root).parts[0], root) for folder in folders})


def _relative(path: Path, root: Path) -> str:
    """As settings say it: a `~` at the beginning would stand for a home."""
    relative = os.path.relpath(path, root)
    return f"./{relative}" if relative.startswith("~") else relative


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text_list(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
