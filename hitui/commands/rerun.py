"""`hitui rerun CONFIG…`: run exactly what is pending."""

from __future__ import annotations

import argparse

from hitui.commands.job_naming import read_jobs
from hitui.commands.launching import add_launch_arguments, launch
from hitui.commands.saying import warn
from hitui.commands.scheduling import schedule_of
from hitui.domain.jobs import JobRequest
from hitui.domain.tasks import ErrorClass
from hitui.errors import WorkspaceError
from hitui.factory import build_services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="name of a config, or its unique end")
    parser.add_argument("--all", action="store_true", help="every config that has a runner and no job")
    parser.add_argument(
        "--class",
        dest="error_class",
        metavar="CLASS",
        choices=[error_class.value for error_class in ErrorClass],
        help="only tasks whose newest result is this error: "
        + ", ".join(error_class.value for error_class in ErrorClass),
    )
    add_launch_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if bool(arguments.configs) == arguments.all:
        warn("rerun: name configs, or give --all")
        return 2
    services = build_services(arguments.workspace)
    catalogue = services.workspace.catalogue
    schedule = schedule_of(arguments)
    if arguments.all:
        # What was killed with its supervisor would keep its config from ever being run again.
        jobs, status = read_jobs(services)
        if status != 0:
            return status
        runnable = [config for config in catalogue.configs if config.runner is not None]
        if not runnable:
            raise WorkspaceError(
                "no config has a runner; add a [runner.NAME] to hitui.toml and name it as [workspace] runner,"
                " or as the config's own"
            )
        configs = [config for config in runnable if jobs.active_for(config.name) is None]
        if not configs:
            print("every config that has a runner has a job already; `hitui jobs` lists them")
    else:
        configs = list(dict.fromkeys(catalogue.find(name) for name in arguments.configs))
    error_class = None if arguments.error_class is None else ErrorClass(arguments.error_class)
    wanted = [
        (
            config,
            JobRequest(
                config.name,
                error_class=error_class,
                gpus=arguments.gpus,
                executor=arguments.executor,
                shards=arguments.shards,
                force=arguments.force,
            ),
        )
        for config in configs
    ]
    return launch(services, catalogue, wanted, arguments.wait, schedule, each=arguments.all, again=False)
