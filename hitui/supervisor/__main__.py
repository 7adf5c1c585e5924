"""Starts the supervisor of one workspace: `python -m hitui.supervisor [--foreground] FOLDER`.

Returns at once; the supervisor goes on in a session of its own. With --foreground it is this very process, as a
service manager wants it, which takes the end of what it started for the end of the service. It writes one line to standard output when
it can be asked, `ready PID`, or `refused REASON`. There is one supervisor a workspace and user, held by a
lock; starting a second makes sure that the first can be reached, and is otherwise harmless. Its messages
go to standard error, which whoever starts it lays into `supervisor.log`.

Signals: SIGTERM and SIGINT end it, the jobs go on. SIGHUP makes it open its socket anew, where the folder of
sockets was cleared away (as systemd does at the end of a login).
"""

from __future__ import annotations

import os
import sys

FOREGROUND = "--foreground"
USAGE = f"usage: python -m hitui.supervisor [{FOREGROUND}] FOLDER (the whole path of a workspace); see hitui supervisor -h"


def main() -> None:
    # Before anything else is imported: whoever starts it is waiting.
    *options, folder = sys.argv[1:] or [""]
    if options not in ([], [FOREGROUND]) or not folder.startswith("/"):
        sys.stderr.write(f"{USAGE}\n")
        sys.exit(2)
    if not options:
        if os.fork():
            os._exit(0)
        os.setsid()
    os.chdir("/")
    from hitui.supervisor.running import run

    sys.exit(run(folder))


if __name__ == "__main__":
    main()
