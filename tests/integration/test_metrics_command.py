"""`hitui metrics` on a workspace with jobs, printed and served, read by the official client's parser."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.tools.commands import hitui, shown_on_a_terminal
from tests.tools.control import Control, control
from tests.tools.results import answer, write_results
from tests.tools.sandbox import GIB

UUID = "GPU-7e570000-0000-4000-8000-000000000000"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def values(text: str) -> dict[tuple[str, frozenset[str]], float]:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def command(here: Control, *words: str) -> list[str]:
    return [sys.executable, "-m", "hitui", "-w", str(here.root), "metrics", *words]


def printed(here: Control) -> str:
    run = hitui(here, "metrics")
    assert run.returncode == 0, run.stderr
    return run.stdout


@contextmanager
def serving(here: Control, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address, and the process, which is ended."""
    process = subprocess.Popen(command(here, "--port", str(port)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def test_what_is_printed_before_there_ever_was_a_job(here: Control) -> None:
    found = values(printed(here))
    assert found["hitui_supervisor_up", frozenset()] == 0
    assert found["hitui_config_tasks_pending", frozenset({"g/answer"})] == 6
    assert found["hitui_jobs", frozenset({"queued"})] == 0
    assert not here.paths.database.exists()


def test_names_are_told_as_they_are_but_command_no_terminal(here: Control) -> None:
    name = "g/text_html\x1b[31m"
    write_results(here.root / "result" / name / "results.json", [answer(1)])
    assert any(name in labels for _, labels in values(printed(here)))
    shown = shown_on_a_terminal(here, "metrics")
    assert b"g/text_html" in shown
    assert b"\x1b" not in shown


def test_jobs_and_gpus_are_told_as_they_stand(here: Control) -> None:
    here.ended(here.submit("answer"))
    here.ended(here.submit("fail"))
    running = here.submit("hang", gpus=("0",))
    here.running(running)
    here.service.change_queue("pause", reason="enough")
    here.submit("answer2")
    text = printed(here)
    found = values(text)
    assert found["hitui_supervisor_up", frozenset()] == 1
    assert found["hitui_config_tasks", frozenset({"g/answer", "done"})] == 6
    assert found["hitui_config_tasks_wanted", frozenset({"g/answer"})] == 6
    assert found["hitui_jobs", frozenset({"running"})] == 1
    assert found["hitui_jobs", frozenset({"queued"})] == 1
    assert found["hitui_jobs_ended", frozenset({"succeeded"})] == 1
    assert found["hitui_jobs_ended", frozenset({"failed"})] == 1
    assert found["hitui_jobs_ended", frozenset({"not_started"})] == 0
    assert found["hitui_queue_paused", frozenset()] == 1
    assert found["hitui_group_jobs", frozenset({"default"})] == 2
    labels = frozenset({"0", UUID, "Simulated 80GB"})
    assert found["hitui_gpu_memory_size_bytes", labels] == 80 * GIB
    assert found["hitui_gpu_held", labels] == 1


def test_it_is_served_on_this_machine_alone_and_anew_for_each_scrape(here: Control) -> None:
    with serving(here) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert values(answer.read().decode())["hitui_jobs_ended", frozenset({"succeeded"})] == 0
        here.ended(here.submit("answer"))
        with urllib.request.urlopen(address) as answer:
            found = values(answer.read().decode())
        assert found["hitui_jobs_ended", frozenset({"succeeded"})] == 1
        assert found["hitui_config_tasks_pending", frozenset({"g/answer"})] == 0
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address.replace("metrics", "secrets"))
        assert refused.value.code == 404
        refused.value.close()
        assert listening(process.pid) == {"127.0.0.1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens, as the kernel lists them."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = str(link.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[9] in inodes and fields[3] == "0A":
                raw = bytes.fromhex(fields[1].partition(":")[0])[::-1]
                found.add(socket.inet_ntop(family, raw))
    return found


def test_a_page_that_cannot_be_made_is_no_end_of_the_service(here: Control) -> None:
    here.ended(here.submit("answer"))
    here.client.shut_down()
    here.paths.database.write_bytes(b"no database" * 1000)
    with serving(here) as (address, _), urllib.request.urlopen(address) as answer:
        found = values(answer.read().decode())
    assert found["hitui_supervisor_up", frozenset()] == 0
    assert found["hitui_config_tasks_pending", frozenset({"g/answer"})] == 0
    here.paths.database.unlink()


def test_who_hangs_up_is_no_news(here: Control, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(here) as (address, process):
        port = int(address.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(b"GET /metrics HT")
            # With a reset instead of an end.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("port", ["70000", "x", "-1"])
def test_a_port_that_is_none_is_wrong_usage(here: Control, port: str) -> None:
    run = hitui(here, "metrics", f"--port={port}")
    assert run.returncode == 2
    assert "a port from 0 to 65535 is expected" in run.stderr


def test_a_port_that_is_taken_is_said_in_one_line(here: Control) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = hitui(here, "metrics", "--port", str(port))
    assert run.returncode == 1
    assert run.stderr == (
        f"hitui: port {port} on 127.0.0.1: Address already in use; name another with --port\n"
    )
