"""The stemmers, each loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path

import nltk

__path__ = [str(Path(folder) / "stem") for folder in nltk.__path__[1:]]
