"""`hitui supervisor start|stop|status`: the background process that owns queue and jobs."""

from __future__ import annotations

import argparse
import sys

from hitui.factory import build_services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("start", "stop", "status"),
        help="start: harmless where one runs; stop: the jobs go on; status: exit status 1 where none runs",
    )


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    client = services.jobs.client
    if arguments.action == "start":
        print(f"the supervisor runs, pid {services.jobs.ensure_supervisor()}")
        return 0
    if not client.answers():
        print("no supervisor runs", file=sys.stderr if arguments.action == "status" else sys.stdout)
        return 1 if arguments.action == "status" else 0
    status = client.status()
    if arguments.action == "stop":
        client.shut_down()
        going_on = f"; jobs that go on or wait: {status['active']}" if status["active"] else ""
        print(f"the supervisor, pid {status['pid']}, has ended{going_on}")
    else:
        print(
            f"the supervisor of {status['workspace']} runs, pid {status['pid']}, "
            f"version {status['version']}; jobs that run or wait: {status['active']}"
        )
    return 0
