"""What the options of engines and programs have in common: numbers that can be meant, and the folder of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from hitui_runners.engines.adapter import ADAPTER_CONFIG, base_of
from hitui_runners.errors import SetupError
from hitui_runners.look import is_dir, is_file


def at_least_one(text: str) -> int:
    """For argparse: a whole number from 1 on."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a number from 1 on is expected, not {text!r}")
    return int(text)


DTYPES = ("bfloat16", "float16", "float32")
"""What a model may compute in."""


def add_dtype_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--dtype`."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="what the model computes in (default: bfloat16 on GPUs, float32 on the CPU); GPUs before Ampere are slow at "
        "bfloat16, or refuse it",
    )


def model_folder(arguments: argparse.Namespace) -> Path:
    """The folder that `--model` names. Raises SetupError where it is none."""
    if arguments.model is None:
        raise SetupError(f"--engine {arguments.engine} needs --model, the folder of the model")
    folder = Path(arguments.model)
    if not is_dir(folder):
        raise SetupError(
            f"{folder}: there is no such model folder; give the one that holds config.json by --model"
        )
    if is_file(folder / ADAPTER_CONFIG):
        base = base_of(folder) or "the model that it was trained on"
        then = (
            "and this folder by --adapter"
            if hasattr(arguments, "adapter")
            else "with the adapter merged into it"
        )
        raise SetupError(f"{folder}: is an adapter and no model; give {base} by --model, {then}")
    if not is_file(folder / "config.json"):
        raise SetupError(f"{folder}: is no model folder, it has no config.json; see --model")
    return folder
