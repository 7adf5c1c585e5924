"""`hitui init`: looks at what lies here and writes a commented hitui.toml."""

from __future__ import annotations

import argparse
import os

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.files.atomic import keep_copy_once, write_atomically
from hitui.adapters.files.look import is_file
from hitui.commands.saying import harmless, warn
from hitui.errors import WorkspaceError
from hitui.factory import folder_of
from hitui.paths import SETTINGS_NAME
from hitui.services.proposal import propose
from hitui.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force", action="store_true", help="replace a hitui.toml that is there; a copy is kept"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the file was written; 1 when there is one already, or it cannot be written."""
    root = folder_of(arguments.workspace).resolve()
    file = root / SETTINGS_NAME
    # A link that leads nowhere is there as well.
    if os.path.lexists(file) and not arguments.force:
        raise WorkspaceError(f"{file}: is there already; edit it, or replace it with --force")
    catalogue = Catalogue(Settings(root=root))
    proposal = propose(catalogue)
    try:
        text = proposal.text.encode()
    except UnicodeEncodeError as error:
        line = error.object[: error.end].rpartition("\n")[2]
        raise WorkspaceError(
            f"{line}: a name that is no UTF-8 text; rename it, or write {file} by hand"
        ) from error
    copy = keep_copy_once(file) if is_file(file) else None
    write_atomically(file, text)
    kept = f" (the one before is kept as {copy.name})" if copy else ""
    print(harmless(f"wrote {file}{kept}"))
    for line in proposal.found:
        print(harmless(f"  found: {line}"))
    for line in proposal.unknown:
        print(harmless(f"  could not tell: {line}"))
    for problem in catalogue.problems:
        warn(problem)
    return 0
