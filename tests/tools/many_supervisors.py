"""Starts several supervisors of one workspace at the same moment, again and again: `many_supervisors.py DIR ROUNDS COUNT`.

They are forks of one process that has loaded everything, which a pipe lets go at once; loading Python for each would
cost more than the start itself and spread them. Prints a JSON list: for each round what each of them said.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from hitui.paths import RuntimePaths
from hitui.supervisor import running
from hitui.supervisor.client import SupervisorClient


def start_together(workspace: str, count: int) -> list[str]:
    gate_read, gate_write = os.pipe()
    readers = []
    children = []
    for _ in range(count):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setsid()
                os.close(gate_write)
                os.dup2(write, 1)
                os.close(write)
                os.read(gate_read, 1)
                status = running.run(workspace)
            finally:
                os._exit(status)
        os.close(write)
        readers.append(read)
        children.append(child)
    os.close(gate_read)
    os.close(gate_write)
    said = []
    for read in readers:
        with os.fdopen(read, encoding="utf-8") as file:
            said.append(file.readline().strip())
    SupervisorClient(RuntimePaths.of(Path(workspace))).shut_down()
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [f"{line} {status}" for line, status in zip(said, ends, strict=True)]


if __name__ == "__main__":
    rounds = [start_together(sys.argv[1], int(sys.argv[3])) for _ in range(int(sys.argv[2]))]
    json.dump(rounds, sys.stdout)
