"""`hitui supervisor start|stop|status|install|uninstall`: the background process that owns queue and jobs."""

from __future__ import annotations

import argparse
import os
import sys

from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless, warn
from hitui.factory import Services
from hitui.supervisor.client import SupervisorClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("start", "stop", "status", "install", "uninstall"),
        help="start: harmless where one runs; stop: the jobs go on; status: exit status 1 where none runs; "
        "install: as a unit of your systemd, so that it starts with the machine; uninstall: no more",
    )
    parser.add_argument("--print", action="store_true", help="with install: print the unit, write nothing")


def run(arguments: argparse.Namespace) -> int:
    if arguments.print and arguments.action != "install":
        warn("supervisor: --print goes with install")
        return 2
    services = open_for_jobs(arguments.workspace)
    if arguments.action == "install":
        return _install(services, only_print=arguments.print)
    if arguments.action == "uninstall":
        return _uninstall(services)
    client = services.jobs.client
    if arguments.action == "start":
        print(f"the supervisor runs, pid {services.jobs.ensure_supervisor()}")
        _warn_of_other_code(client)
        return 0
    if not client.answers():
        if arguments.action == "status":
            warn("no supervisor runs")
            return 1
        print("no supervisor runs")
        return 0
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
        _warn_of_other_code(client)
    return 0


def _warn_of_other_code(client: SupervisorClient) -> None:
    if (line := client.other_code()) is not None:
        warn(line)


def _install(services: Services, *, only_print: bool) -> int:
    from hitui.supervisor import install

    root = services.settings.root
    if only_print:
        print(install.unit_text(root, os.environ), end="")
        return 0
    if not install.systemd_runs():
        print(
            "no systemd runs here, so nothing was written; let cron start the supervisor with the machine:"
            " add this line with `crontab -e`",
            file=sys.stderr,
        )
        print(install.cron_line(root, os.environ))
        return 1
    path = install.install(root, os.environ)
    print(f"{harmless(str(path))} is written; so that it starts now and with the machine, run")
    print("\n".join(f"    {command}" for command in install.commands_after_install(path)))
    if services.jobs.client.answers():
        print("A supervisor runs already: end it first, `hitui supervisor stop`; its jobs go on.")
    return 0


def _uninstall(services: Services) -> int:
    from hitui.supervisor import install

    path = install.uninstall(services.settings.root)
    if path is None:
        print(f"{harmless(str(install.unit_path(services.settings.root)))}: there is no such unit")
        return 0
    print(f"{harmless(str(path))} is removed; if it was enabled, run")
    print("\n".join(f"    {command}" for command in install.commands_after_uninstall(path)))
    return 0
