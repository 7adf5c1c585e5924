"""`hitui metrics`: GPUs, queue, configs and jobs for Prometheus, printed once or served on this machine alone."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hitui.commands.saying import harmless, warn
from hitui.commands.scheduling import whole_number
from hitui.domain.jobs import JobsSnapshot, Running, Stopping
from hitui.errors import HituiError, WorkspaceError
from hitui.factory import Services, build_services
from hitui.services.metrics import CONTENT_TYPE, Standing, metrics_text
from hitui.services.progress import read_progress

ADDRESS = "127.0.0.1"
GPU_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help=f"serve http://{ADDRESS}:N/metrics until interrupted; 0: on a free port, which is said",
    )


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    if arguments.port is None:
        page = _page(services)
        # Prometheus takes any name as it is, and has to: two that look alike are not the same. A terminal would obey it.
        sys.stdout.write("\n".join(map(harmless, page.split("\n"))) if sys.stdout.isatty() else page)
        return 0
    return _serve(services, arguments.port)


def _page(services: Services) -> str:
    """What there is now. Starts no supervisor; configs and GPUs are told also when none can be asked."""
    try:
        jobs = services.jobs.read_once(every=True)
    except HituiError as error:
        warn(error)
        jobs = JobsSnapshot()
    progress = {job.id: read_progress(job) for job in jobs.jobs if isinstance(job.state, (Running, Stopping))}
    return metrics_text(
        Standing(
            services.gpus.read_once(GPU_SECONDS),
            services.workspace.scan_once().configs,
            jobs,
            progress,
            str(services.settings.root),
        )
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, services: Services) -> None:
        self.services = services
        self.lock = threading.Lock()
        super().__init__((ADDRESS, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has hung up, or never said what he wants: no news. Anything else is said."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self._answer(HTTPStatus.NOT_FOUND, "there is only /metrics\n")
            return
        try:
            # One scrape reads the workspace; another one would read the same files beside it.
            with self.server.lock:
                page = _page(self.server.services)
        except (HituiError, OSError) as error:
            warn(error)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n")
        else:
            self._answer(HTTPStatus.OK, page)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """A scrape every few seconds is no news."""


def _serve(services: Services, port: int) -> int:
    try:
        server = _Server(port, services)
    except OSError as error:
        raise WorkspaceError(
            f"port {port} on {ADDRESS}: {error.strerror}; name another with --port"
        ) from error
    # As Ctrl+C: the port is given back, and the exit status says that it was interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        print(f"http://{ADDRESS}:{server.server_address[1]}/metrics", flush=True)
        server.serve_forever()
    return 0


def _port(text: str) -> int:
    return whole_number(text, 0, 65535, "a port from 0 to 65535 is expected")
