"""`hitui run CONFIG…`: start or resume configs."""

from __future__ import annotations

import argparse

from hitui.commands.launching import add_launch_arguments, launch, parse_names
from hitui.commands.scheduling import schedule_of
from hitui.domain.jobs import JobRequest
from hitui.domain.tasks import TaskId
from hitui.factory import build_services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="name of a config, or its unique end")
    parser.add_argument(
        "--ids", type=parse_names, metavar="ID,…", help="only these tasks, as far as they are pending"
    )
    add_launch_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    catalogue = services.workspace.catalogue
    schedule = schedule_of(arguments)
    ids: tuple[TaskId, ...] | None = arguments.ids
    configs = list(dict.fromkeys(catalogue.find(name) for name in arguments.configs))
    wanted = [
        (
            config,
            JobRequest(
                config.name,
                ids=ids,
                gpus=arguments.gpus,
                executor=arguments.executor,
                shards=arguments.shards,
                force=arguments.force,
            ),
        )
        for config in configs
    ]
    return launch(services, catalogue, wanted, arguments.wait, schedule)
