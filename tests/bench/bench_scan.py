"""The scan of a workspace's result files, against `json.load` of the same files (parsing alone: 4 to 5 times as fast).

A scan that lists nothing anew is what the screen does when a file changed; the whole of `hitui ls` besides
the interpreter's start is discovery, question list, parsing and counting. Files are in the page cache.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.kept_readings import KeptReadings
from hitui.adapters.checkpoints.result_listing import result_files
from hitui.adapters.checkpoints.results_file import read_results_file
from hitui.services.workspace import WorkspaceService
from hitui.settings import Settings
from tests.tools.workspaces import real_or_made_up_workspace

ROUNDS = 9


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = real_or_made_up_workspace(Path(temporary) / "workspace")
        settings = Settings(root=root)
        catalogue = Catalogue(settings)
        chosen = [config for config in catalogue.configs if "complied" in config.output]
        configs = chosen or [config for config in catalogue.configs if config.kind == "realhitbench"]
        files = [Path(path) for config in configs for path, _ in result_files(config.folders)]

        def load_json() -> None:
            for path in files:
                with path.open(encoding="utf-8") as file:
                    json.load(file)

        def parse() -> None:
            for path in files:
                read_results_file(path)

        def read_states() -> None:
            fresh = Catalogue(settings)
            fresh.refresh()
            for config in configs:
                fresh.read(config)

        keeping = KeptReadings(Path(temporary) / "kept", settled_seconds=0)
        for path in files:
            keeping.read(path)

        def read_kept() -> None:
            another_process = KeptReadings(Path(temporary) / "kept")
            for path in files:
                another_process.read(path)

        def read_again() -> None:
            for config in configs:
                catalogue.read(config)

        size = sum(path.stat().st_size for path in files) / 1e6
        print(f"{len(configs)} configs, {len(files)} files, {size:.1f} MB")
        times = {
            "json.load": measure(load_json),
            "parsed by hitui, the first time": measure(parse),
            "by another process, unchanged": measure(read_kept),
            "discovery, questions, parsing, counting": measure(read_states),
            "scan_once of the whole workspace": measure(lambda: scan(settings)),
            "read again by the same, nothing changed": measure(read_again),
        }
        reference = times["json.load"]
        for name, seconds in times.items():
            print(f"  {name:42} {seconds * 1000:8.2f} ms   {reference / seconds:6.1f} times json.load")


def scan(settings: Settings) -> None:
    WorkspaceService(settings).scan_once()


def measure(work: Callable[[], None]) -> float:
    """The best of several rounds, in seconds: what other programs take away is no part of it."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
