"""Notices reach whoever is named, by a real apprise and a real receiver, and hold up nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hitui.adapters.notify import send
from hitui.domain.jobs import Ended, Ending, Job, JobRequest
from hitui.domain.notices import Notice, NoticeKind, of_ended_job
from hitui.domain.schedule import HeldFor, Schedule
from hitui.settings import NotifySettings, Settings
from hitui.supervisor.notifier import Notifier
from tests.tools.benchmark import harbours
from tests.tools.commands import hitui, typed
from tests.tools.control import HEAD, Control, control
from tests.tools.eventually import eventually
from tests.tools.programs import execute_themselves, write_programs


class Receiver(ThreadingHTTPServer):
    """A server on this machine that takes apprise's JSON, or refuses it the first `refusals` times."""

    daemon_threads = True

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals = refusals
        self.answering = threading.Event()
        self.answering.set()
        self.got: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        return [line for message in self.got for line in message["message"].splitlines()]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answering.wait(30)
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self.send_response(503)
        else:
            self.server.got.append(json.loads(body))
            self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def receiving(refusals: int = 0) -> Iterator[Receiver]:
    server = Receiver(refusals)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def notify(here: Control, receiver: Receiver, on: str = "", head: str = HEAD) -> None:
    here.write_settings(f'{head}[notify]\nurls = ["{receiver.url}"]\n{on}\n')


def add_notify(here: Control, receiver: Receiver) -> None:
    with (here.root / "hitui.toml").open("a") as file:
        file.write(f'[notify]\nurls = ["{receiver.url}"]\n')


def line(receiver: Receiver, part: str) -> str:
    """The line that holds this, once it has come."""
    return eventually(lambda: next((text for text in receiver.lines if part in text), ""), part)


def test_a_job_that_is_done_and_the_queue_that_is_empty_then(here: Control, receiver: Receiver) -> None:
    notify(here, receiver)
    here.submit("answer")
    line(receiver, "the queue is empty: 1 succeeded")
    (done,) = [text for text in receiver.lines if "job 1" in text]
    assert done.startswith("g/answer (job 1): done in ")
    assert done.endswith("; 6 tasks answered")
    assert {message["title"] for message in receiver.got} == {"hitui: workspace"}
    # There is nothing to do now: no news.
    assert here.ended(here.submit("answer")).reason.startswith("nothing to do")
    here.ended(here.submit("answer2"))
    line(receiver, "g/answer2")
    assert not [text for text in receiver.lines if "job 2" in text]


def test_a_config_in_shards_is_done_once_and_each_shard_that_fails_is_told_of(
    here: Control, receiver: Receiver
) -> None:
    benchmark = harbours(here.root, 3)
    benchmark.add_table("piers")
    for number in range(4, 7):
        benchmark.ask(number, "piers", "How many boats are there?", "1")
    notify(here, receiver)
    here.submit("answer", shards=2)
    assert line(receiver, "the queue is empty") == "the queue is empty: 2 succeeded"
    (done,) = [text for text in receiver.lines if "g/answer" in text]
    assert done in [f"g/answer shard {n}/2 (job {n}): done, as the last of 2 shards" for n in (1, 2)]
    here.submit("fail", shards=2)
    line(receiver, "the queue is empty: 2 failed")
    failed = sorted(text.partition(":")[0] for text in receiver.lines if "g/fail" in text)
    assert failed == ["g/fail shard 1/2 (job 3)", "g/fail shard 2/2 (job 4)"]


def test_a_job_that_failed_and_not_one_that_is_tried_again(here: Control, receiver: Receiver) -> None:
    notify(here, receiver, head=HEAD.replace("retries = 0", 'retries = 1\nretry_pause = "100ms"'))
    here.submit("fail")
    told = line(receiver, "the queue is empty")
    assert told == "the queue is empty: 1 failed"
    (failed,) = [text for text in receiver.lines if text != told]
    assert failed.startswith("g/fail (job 2): failed: exit status 3: model.safetensors: no such file")


def test_only_what_was_asked_for_is_sent(here: Control, receiver: Receiver) -> None:
    notify(here, receiver, 'on = ["failed"]')
    here.ended(here.submit("answer"))
    here.ended(here.submit("fail"))
    line(receiver, "g/fail")
    assert len(receiver.lines) == 1


def test_a_group_that_is_stopped_because_its_programs_cannot_be_executed(
    here: Control, receiver: Receiver
) -> None:
    write_programs(here, dict.fromkeys(("one", "two", "three"), ""))
    for path in (here.root.parent / "programs").iterdir():
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
    execute_themselves(here)
    add_notify(here, receiver)
    here.client.start(here.root)
    here.client.change_queue("limit", group="default", limit=1)
    jobs = [here.submit(name) for name in ("one", "two", "three")]
    told = line(receiver, "group default starts no more jobs")
    assert f"#{jobs[0]} and #{jobs[1]} failed at their start" in told


def test_a_group_that_is_stopped_because_its_jobs_die_at_once(here: Control, receiver: Receiver) -> None:
    notify(here, receiver, 'on = ["group_stopped"]')
    here.service.change_queue("pause", reason="not yet")
    died = [here.submit("fail", ids=(number,)) for number in (1, 2)]
    here.submit("answer", gpus=("0",))
    here.service.change_queue("resume")
    for job_id in died:
        here.ended(job_id)
    told = line(receiver, "group default starts no more jobs")
    assert "#1 and #2 failed at their start" in told
    # What it says to do can be done.
    command = told.split("`")[1].split()
    assert command == ["hitui", "queue", "resume", "default"]
    assert typed(here, *command[1:]).stdout == "group default goes on\n"


def test_a_job_that_stalls_is_told_of_once(here: Control, receiver: Receiver) -> None:
    write_programs(here, {"quiet": "say('main')\nwait()\n"}, 'stall = "0.4s"')
    add_notify(here, receiver)
    here.submit("quiet")
    assert line(receiver, "no sign of life").endswith("`hitui logs 1`")
    here.client.stop([1])
    line(receiver, "the queue is empty: 1 stopped")
    assert len(receiver.lines) == 2


def test_a_job_that_is_paused_because_its_tasks_fail(here: Control, receiver: Receiver) -> None:
    program = "for number in range(1, 4):\n    event('task', id=number, status='error', seconds=1)\nwait()\n"
    write_programs(here, {"fails": program}, 'pause_after_errors = 3\nstall = "1s"')
    add_notify(here, receiver)
    here.submit("fails")
    assert line(receiver, "g/fails (job 1): paused: 3 tasks failed one after the other")
    assert here.job(2).schedule.held


def test_a_gpu_that_was_in_use_and_is_free_is_told_of_once_and_not_where_the_queue_takes_it(
    here: Control, receiver: Receiver
) -> None:
    describe_gpu(here, 0, memory_used=70 << 30)
    describe_gpu(here, 1, utilization=90)
    notify(here, receiver, 'on = ["gpu_free"]')
    hang, second = here.submit("hang", gpus=("0",)), here.submit("answer", gpus=("1",))
    eventually(lambda: "is 90% busy" in here.waits_for(second), "the GPUs are looked at")
    here.client.stop([second])
    describe_gpu(here, 0, memory_used=0)
    here.running(hang)
    describe_gpu(here, 1, utilization=0)
    # The first one was taken at once.
    assert line(receiver, "GPU") == "GPU 1 is free: 80 GiB of 80 GiB (Simulated 80GB)"
    describe_gpu(here, 1, memory_used=70 << 30)
    third = here.submit("answer", gpus=("0", "1"))
    eventually(lambda: "has 10 GiB" in here.waits_for(third), "it is in use again")
    here.client.stop([third, hang])
    line(receiver, "GPU 0 is free")
    # Nobody watches and nothing waits now.
    describe_gpu(here, 1, memory_used=0)
    eventually(lambda: len([text for text in receiver.lines if "GPU 1" in text]) == 2, "it is told again")
    assert len(receiver.lines) == 3


def describe_gpu(here: Control, index: int, **values: object) -> None:
    path = here.gpus / "gpus.json"
    described = json.loads(path.read_text())
    described["gpus"][index].update(values)
    beside = path.with_name("gpus.json.new")
    beside.write_text(json.dumps(described))
    beside.replace(path)


def test_jobs_that_run_as_one_are_one_notice() -> None:
    job = Job(
        3,
        JobRequest("g/a", also=(JobRequest("g/b"),)),
        0.0,
        Ended(Ending.FAILED, 100.0, "exit status 1", started_at=10.0),
    )
    notice = of_ended_job(job, 4, 2)
    assert notice == Notice(
        NoticeKind.FAILED, "g/a and 1 more (job 3): failed: exit status 1; 4 tasks answered, 2 failed"
    )


def test_a_job_that_goes_on_is_no_news_unless_it_waits_for_someone() -> None:
    stopped = Ended(Ending.STOPPED, 100.0, "paused: why", started_at=10.0)
    job = Job(3, JobRequest("g/a"), 0.0, stopped, successor=4)
    lost = replace(job, state=replace(stopped, ending=Ending.LOST))
    assert of_ended_job(job, 4, 2, Schedule()) is None
    assert of_ended_job(job, 4, 2, Schedule(held="by hand: 3 tasks failed one after the other")) is None
    failing, restarts = (Schedule(held="why", held_for=why) for why in (HeldFor.ERRORS, HeldFor.RESTARTS))
    assert of_ended_job(job, 4, 2, failing) == Notice(NoticeKind.ERRORS, "g/a (job 3): paused: why")
    assert of_ended_job(lost, 4, 2, restarts) == Notice(NoticeKind.FAILED, "g/a (job 3): paused: why")


def test_a_message_that_is_refused_is_sent_again(tmp_path: Path) -> None:
    with receiving(refusals=2) as receiver:
        notifier = Notifier("w", lambda: settings(tmp_path, receiver.url), pauses=(0.0, 0.0), gather=0.0)
        notifier.tell(Notice(NoticeKind.DONE, "one"))
        line(receiver, "one")
        notifier.close()
        assert receiver.lines == ["one"]


def test_an_address_that_is_out_of_reach_holds_up_no_other_and_is_told_to_the_log(
    tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiving() as hanging:
        hanging.answering.clear()
        nobody = "json://ada:hunter2@127.0.0.1:1"
        wanted = settings(tmp_path, nobody, hanging.url, receiver.url)
        notifier = Notifier("w", lambda: wanted, pauses=(0.0,), gather=0.0)
        for number in range(3):
            notifier.tell(Notice(NoticeKind.FAILED, f"line {number}"))
        line(receiver, "line 2")
        assert receiver.lines == ["line 0", "line 1", "line 2"]
        said = eventually(lambda: capfd.readouterr().err, "the log says it")
        assert "not sent: json://ada:****@127.0.0.1:1/: it was not accepted: line 0" in said
        assert "hunter2" not in said
        hanging.answering.set()
        notifier.close()


def settings(root: Path, *urls: str) -> Settings:
    return Settings(root, notify=NotifySettings(urls=list(urls)))


def test_what_comes_about_at_one_time_is_one_message(tmp_path: Path, receiver: Receiver) -> None:
    notifier = Notifier("w", lambda: settings(tmp_path, receiver.url), gather=60.0)
    for number in range(40):
        notifier.tell(Notice(NoticeKind.DONE, f"line {number}"))
    # Who closes does not wait for more.
    notifier.close()
    line(receiver, "line 39")
    assert len(receiver.got) == 1
    assert len(receiver.lines) == 40


def test_an_address_that_apprise_does_not_know_is_named_without_its_secrets() -> None:
    assert send("nonsense://hunter2@x", "t", "b") == "nonsense://…: apprise does not understand this address"


@pytest.fixture
def without_apprise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes from now on do not find apprise."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Nowhere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'apprise':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Nowhere())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("without_apprise")
def test_without_apprise_the_log_and_the_doctor_say_how_to_get_it(here: Control, receiver: Receiver) -> None:
    notify(here, receiver)
    (here.root / "hitui.toml").chmod(0o644)
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED
    here.ended(here.submit("answer2"))
    here.client.shut_down()
    said = here.paths.supervisor_log.read_text().splitlines()
    mend = "pip install 'hitui[notify]'"
    assert [text for text in said if text.endswith(f"apprise, which is not installed: {mend}")] == said
    assert len(said) == 1
    run = hitui(here, "doctor", "--json")
    found = [each for each in json.loads(run.stdout)["checks"] if each["name"] == "notifications"]
    readable = f"chmod 600 {here.root / 'hitui.toml'}"
    assert [(each["level"], each["mend"]) for each in found] == [("warn", mend), ("warn", readable)]
    assert receiver.got == []
