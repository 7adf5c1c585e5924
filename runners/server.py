"""Asks a server whether a run with the engine `openai` could begin there; its model is asked nothing.

    python -m hitui_runners server --base-url http://localhost:8000/v1 --model NAME

Exit status: 0 it could, and one line on stdout says which model is where; 1 it could not, or the server does not list
that model, which some do not (one line says why); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

from hitui_runners.engines.openai import OpenAIEngine
from hitui_runners.engines.options import at_least_one
from hitui_runners.errors import RunnerError
from hitui_runners.output import complain, say


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(prog="hitui_runners server", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", metavar="NAME", help="its name there; default: the only one that it has")
    parser.add_argument("--max-new-tokens", type=at_least_one, default=1, metavar="N", help="of an answer")
    # No prompt is made.
    parser.set_defaults(max_input_tokens=1)
    OpenAIEngine.add_arguments(parser)
    try:
        engine = OpenAIEngine.from_arguments(parser.parse_args(words))
        # What a run says of itself when it begins is no answer to whoever asks this.
        with contextlib.redirect_stdout(sys.stderr):
            engine.load()
        model = engine.facts().settings["model"]
        if engine.listing_error is not None:
            raise engine.listing_error
        if engine.lists_others:
            listed = ", ".join(engine.lists_others[:10])
            raise RunnerError(f"{engine.url}: it lists {listed}, and not {model}; see --model")
    except RunnerError as error:
        complain(f"error: {error}")
        return 1
    say(f"{model} at {engine.url}")
    return 0
