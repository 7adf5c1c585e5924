"""The options of engines that make what a model gets themselves: how tables are cut, and how large pictures may be."""

from __future__ import annotations

import argparse

from hitui_runners.engines.inputs import TRUNCATIONS
from hitui_runners.engines.options import at_least_one
from hitui_runners.engines.pictures import MAX_IMAGE_PIXELS


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--truncation`, `--max-pixels` and `--max-image-pixels`."""
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        default=TRUNCATIONS[0],
        help="how a table is cut that is too long: to the budget (tokens, the default), or as the script did that the "
        "first results were made with (original: 35 %% of the lines at each end, then less; may be above the budget)",
    )
    parser.add_argument(
        "--max-pixels",
        type=at_least_one,
        metavar="N",
        help="scale images down to this many pixels (default: the model's)",
    )
    parser.add_argument(
        "--max-image-pixels",
        type=at_least_one,
        default=MAX_IMAGE_PIXELS,
        metavar="N",
        help="open no image of more pixels: each takes 3 bytes of memory before it is scaled, and more while it is "
        f"(default {MAX_IMAGE_PIXELS})",
    )
