"""`hitui analyze`: the missing-task report over all configs; `--write` puts it beside each result."""

from __future__ import annotations

import argparse
import json

import msgspec

from hitui.adapters.checkpoints.skip_ids import write_report
from hitui.commands.saying import harmless, warn
from hitui.commands.tables import lines_of
from hitui.errors import HituiError
from hitui.factory import build_services
from hitui.services.analysis import Analysis, analyze


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="*", help="only these configs (default: all)")
    parser.add_argument("--write", action="store_true", help="write skip_ids.json beside each result")
    parser.add_argument("--json", action="store_true", help="print one object: config → report")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 when a report could not be written or there is nothing to report on."""
    service = build_services(arguments.workspace).workspace
    snapshot = service.scan_once()
    catalogue = service.catalogue
    chosen = [catalogue.find(name) for name in arguments.config] or None
    analyses = analyze(catalogue, chosen)
    if arguments.json:
        reports = {analysis.state.name: msgspec.to_builtins(analysis.report) for analysis in analyses}
        print(json.dumps(reports, indent=2, ensure_ascii=False))
    elif analyses:
        print("\n".join(_table(analyses)))
    problems = [*snapshot.problems, *(problem for state in snapshot.configs for problem in state.problems)]
    if not analyses:
        problems.append(
            f"{catalogue.settings.root}: nothing to report on; results and a question list are needed"
            + ("" if catalogue.questions_file else " (`[workspace] questions` names it)")
        )
    for problem in problems:
        warn(problem)
    failed = not analyses
    if arguments.write:
        for analysis in analyses:
            if analysis.state.hides_answers:
                line = "no report written: a file of its results cannot be read, and may hold answers"
                warn(f"{analysis.state.name}: {line}")
                failed = True
                continue
            failed |= not _write(analysis, quiet=arguments.json)
    return int(failed)


def _write(analysis: Analysis, quiet: bool) -> bool:
    try:
        copy = write_report(analysis.path, analysis.report)
    except HituiError as error:
        warn(error)
        return False
    if not quiet:
        kept = f" (the one before is kept as {copy.name})" if copy else ""
        print(harmless(f"wrote {analysis.path}{kept}"))
    return True


def _table(analyses: tuple[Analysis, ...]) -> list[str]:
    rows = []
    for analysis in analyses:
        counts = analysis.report.statistics
        rows.append(
            (
                analysis.state.name,
                str(counts.total_tasks),
                str(counts.success),
                str(counts.error),
                str(counts.missing),
                str(counts.file_dependency_issues),
                str(counts.incomplete_runs),
            )
        )
    header = ("name", "total", "success", "error", "missing", "of these blocked", "incomplete")
    return lines_of(header, rows, "<>>>>>>")
