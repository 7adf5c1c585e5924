"""The supervisor with real runner processes: it starts them, follows them, and may die itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued
from hitui.domain.schedule import Schedule
from hitui.errors import LaunchError, NoSuchName, SettingsError, SupervisorError
from tests.tools.control import HEAD, Control, control, environment_of, kill
from tests.tools.eventually import eventually


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_a_job_answers_what_is_pending_and_is_recorded(here: Control) -> None:
    job_id = here.submit("answer")
    state = here.ended(job_id)
    assert (state.ending, state.exit_status, state.signal) == (Ending.SUCCEEDED, 0, None)
    assert state.peak_memory is not None
    assert state.peak_memory > 1_000_000
    assert here.answered("answer") == [1, 2, 3, 4, 5, 6]
    assert here.job(job_id).task_count == 6
    again = here.submit("answer")
    assert here.ended(again).reason.startswith("nothing to do")
    assert here.answered("answer") == [1, 2, 3, 4, 5, 6]


def test_a_runner_sees_its_gpu_by_uuid_and_its_marker(here: Control) -> None:
    job_id = here.submit("hang", gpus=("1",))
    process = here.told("hang", "main")
    environment = environment_of(process)
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-7e570000-0000-4000-8000-000000000001"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["HITUI_JOB"].startswith(f"{here.paths.runtime.name}:{job_id}:")
    assert environment["HITUI_EVENTS"] == here.job(job_id).events
    assert here.running(job_id).pid == process.pid
    assert here.job(job_id).gpus == (environment["CUDA_VISIBLE_DEVICES"],)


def test_ids_run_as_far_as_they_are_pending_and_unknown_ones_are_refused(here: Control) -> None:
    here.ended(here.submit("answer", ids=("2", 5)))
    assert here.answered("answer") == [2, 5]
    here.ended(here.submit("answer", ids=(1, 2)))
    assert here.answered("answer") == [2, 5, 1]
    with pytest.raises(LaunchError, match="no task 77 in the question list"):
        here.submit("answer", ids=(1, 77))


def test_one_job_a_gpu_and_the_others_say_what_they_wait_for(here: Control) -> None:
    first, second, third = here.submit("hang"), here.submit("stubborn"), here.submit("answer")
    held = {*here.running(first).gpus, *here.running(second).gpus}
    assert len(held) == 2
    text = here.waits_for(third)
    assert text.startswith("20 GiB free on one GPU: ")
    assert f"is held by job {first}" in text
    assert f"is held by job {second}" in text
    here.client.stop([first])
    assert here.ended(third).ending is Ending.SUCCEEDED
    assert here.ended(first).ending is Ending.STOPPED


def test_a_job_that_waits_for_one_gpu_does_not_hold_up_the_next(here: Control) -> None:
    first = here.submit("hang", gpus=("0",))
    here.running(first)
    waiting = here.submit("stubborn", gpus=("0",))
    assert here.waits_for(waiting) == f"20 GiB free on GPU 0: GPU 0 is held by job {first}"
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED


def test_a_job_that_waits_for_two_gpus_keeps_the_free_one_from_those_behind_it(here: Control) -> None:
    first = here.submit("hang", gpus=("0",))
    here.running(first)
    waiting = here.submit("answer", gpus=("0", "1"))
    assert here.waits_for(waiting) == f"20 GiB free on GPU 0, 1: GPU 0 is held by job {first}"
    behind = here.submit("answer2")
    assert here.waits_for(behind) == (
        f"20 GiB free on one GPU: GPU 0 is held by job {first}; GPU 1 is kept for job {waiting}"
    )
    here.client.stop([first])
    assert here.ended(waiting).ending is Ending.SUCCEEDED
    assert here.ended(behind).ending is Ending.SUCCEEDED
    assert [len(entry["gpus"]) for entry in here.entries() if entry["what"] == "end"] == [2, 1]


def test_a_gpu_that_does_not_exist_is_refused_with_those_that_do(here: Control) -> None:
    with pytest.raises(LaunchError, match="no GPU 7; there are 0, 1"):
        here.submit("answer", gpus=("7",))


def test_a_gpu_that_goes_while_a_job_waits_for_it_ends_the_job(here: Control) -> None:
    here.running(here.submit("hang", gpus=("1",)))
    waiting = here.submit("answer", gpus=("1",))
    here.waits_for(waiting)
    file = here.gpus / "gpus.json"
    beside = file.with_name("new")
    text = file.read_text().replace('"index": 1', '"index": 2')
    beside.write_text(text)
    beside.replace(file)
    state = here.ended(waiting)
    assert state.ending is Ending.NOT_STARTED
    assert "no GPU 1; there are 0, 2" in state.reason


def test_a_second_workspace_leaves_a_locked_gpu_alone(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = here.submit("hang", gpus=("0",))
    here.running(first)
    other = Control(tmp_path / "other", 6, 0.02)
    try:
        waiting = other.submit("answer", gpus=("0",))
        locked = "GPU 0 is locked by your hitui in workspace"
        eventually(lambda: other.waits_for(waiting).endswith(locked), locked)
        # The lock is the runner's: it stands although nobody supervises it.
        kill(here.supervisor())
        kill(here.launcher(first))
        assert isinstance(other.job(waiting).state, Queued)
        here.service.ensure_supervisor()
        here.client.stop([first])
        assert other.ended(waiting).ending is Ending.SUCCEEDED
    finally:
        other.client.shut_down()


def test_a_failing_runner_leaves_its_last_words_without_escapes(here: Control) -> None:
    state = here.ended(here.submit("fail"))
    assert (state.ending, state.exit_status) == (Ending.FAILED, 3)
    assert state.reason == "exit status 3: model.safetensors: no such file"


def test_a_line_of_200_megabytes_disturbs_nobody(here: Control) -> None:
    job_id = here.submit("rubbish")
    state = here.ended(job_id)
    assert (state.ending, state.exit_status) == (Ending.FAILED, 4)
    assert state.reason.isprintable()
    assert len(state.reason) < 250
    assert Path(here.job(job_id).log).stat().st_size > 200_000_000


def test_status_75_puts_the_job_back_into_the_queue(here: Control) -> None:
    first = here.submit("requeue")
    assert here.ended(first).ending is Ending.REQUEUED
    assert here.ended(first + 1).ending is Ending.SUCCEEDED
    assert here.answered("requeue") == [1, 2, 3, 4, 5, 6]


def test_a_runner_that_does_nothing_but_ask_for_the_queue_fails_in_the_end(here: Control) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD + '[runner.x]\ncommand = ["/bin/sh", "-c", "exit 75"]\n[[config]]\nname = "g/x"\nrunner = "x"\n'
    )
    first = here.submit("x")
    assert [here.ended(first + number).ending for number in range(3)] == [
        Ending.REQUEUED,
        Ending.REQUEUED,
        Ending.FAILED,
    ]
    assert here.ended(first + 2).reason == (
        "exit status 75 within 10 s of its start, 3 times: it was not queued again"
    )
    assert not any(job.active for job in here.client.jobs().jobs)


def test_a_program_that_cannot_be_executed_is_a_reason(here: Control) -> None:
    file = here.root / "no-program"
    file.write_bytes(b"\x7fELF and nothing more")
    file.chmod(0o755)
    settings = here.root / "hitui.toml"
    settings.write_text(HEAD + f'[runner.x]\ncommand = ["{file}"]\n[[config]]\nname = "g/x"\nrunner = "x"\n')
    state = here.ended(here.submit("x"))
    assert state.ending is Ending.NOT_STARTED
    assert "Exec format error" in state.reason


@pytest.mark.parametrize(
    ("runner", "complaint"),
    [
        ('command = ["no-such-program"]', r"\[runner.x\] command: no-such-program is not there"),
        ('command = ["true"]\ncwd = "nowhere"', r"\[runner.x\] cwd: .*nowhere does not exist"),
        ('command = ["true", "{model}"]', r"\{model\} is asked for, and g/x has none; add model"),
        ('engine = "demo"\npython = "/no/python"', r"\[runner.x\] python: /no/python is not there"),
        (
            'command = ["true"]\nenv = {CUDA_VISIBLE_DEVICES = "0"}',
            r"\[runner.x\] env: CUDA_VISIBLE_DEVICES decides which GPUs a runner sees",
        ),
        ('engine = "transformers"\nmodel = "absent"', r"\[runner.x\] model: .*absent does not exist"),
    ],
)
def test_what_cannot_be_launched_is_refused_naming_the_key(
    here: Control, runner: str, complaint: str
) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD + f'[runner.x]\n{runner}\n[[config]]\nname = "g/x"\nrunner = "x"\n'
        'modality = "text"\nformat = "html"\n'
    )
    with pytest.raises(LaunchError, match=complaint):
        here.submit("x")
    assert here.client.jobs().jobs == ()


def test_what_is_refused_keeps_no_other_from_the_queue_and_is_found_by_few_questions(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    submit = here.service.submit

    def counted(requests: Sequence[JobRequest], schedule: Schedule) -> tuple[Job, ...]:
        asked.append(len(requests))
        return submit(requests, schedule)

    monkeypatch.setattr(here.service, "submit", counted)
    names = [*"abcde", "unknown", *"fghijklmno"]
    requests = [JobRequest("g/hang" if name == "a" else f"g/{name}") for name in names]
    configs = [
        f'[[config]]\nname = "g/{name}"\nrunner = "hang"\nmodality = "text"\nformat = "html"\n'
        for name in names
        if name not in ("a", "unknown")
    ]
    with (here.root / "hitui.toml").open("a") as settings:
        settings.writelines(configs)
    jobs, refusals = here.service.submit_each(requests, Schedule(held="for now"))
    assert [job.request.config for job in jobs] == [f"g/{name}" for name in ["hang", *"bcdefghijklmno"]]
    assert len(refusals) == 1
    assert "g/unknown" in refusals[0]
    assert asked == [16, 8, 4, 4, 2, 1, 1, 2, 8]


def test_a_config_has_one_job_at_a_time(here: Control) -> None:
    first = here.submit("hang")
    with pytest.raises(LaunchError, match=f"g/hang: job {first} is already on it"):
        here.submit("hang")
    with pytest.raises(LaunchError, match="already on it"):
        here.service.submit([JobRequest("g/answer"), JobRequest("g/hang")])
    assert [job.request.config for job in here.client.jobs().jobs] == ["g/hang"]


def test_settings_are_read_anew_and_broken_ones_stop_only_what_is_new(here: Control) -> None:
    job_id = here.submit("hang")
    here.running(job_id)
    settings = here.root / "hitui.toml"
    good = settings.read_text()
    settings.write_text(good + "\n[gpus]\nnonsense = 1\n")
    with pytest.raises(SettingsError, match=r"hitui\.toml"):
        here.submit("answer")
    assert here.running(job_id)
    settings.write_text(good)
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED


def test_unknown_names(here: Control) -> None:
    with pytest.raises(NoSuchName, match="did you mean g/answer"):
        here.submit("anser")
    here.service.ensure_supervisor()
    with pytest.raises(NoSuchName, match="no job 12"):
        here.client.stop([12])


def test_watchers_hear_of_every_change(here: Control) -> None:
    heard: list[JobsSnapshot] = []
    ended = threading.Event()

    def publish(snapshot: JobsSnapshot) -> None:
        heard.append(snapshot)
        if any(isinstance(job.state, Ended) for job in snapshot.jobs):
            ended.set()

    here.service.ensure_supervisor()
    here.service.start(publish)
    here.submit("answer")
    assert ended.wait(30)
    here.service.close()
    assert heard[-1].jobs[0].state.ending is Ending.SUCCEEDED  # type: ignore[union-attr]
    assert heard[-1].supervisor_pid == here.supervisor().pid


def test_stopping_the_supervisor_leaves_jobs_running(here: Control) -> None:
    job_id = here.submit("hang")
    process = here.told("hang", "main")
    supervisor = here.supervisor()
    here.client.shut_down()
    # Whoever asks the next one must not reach this one's last moments.
    assert not processes.alive(supervisor)
    assert processes.alive(process)
    here.service.ensure_supervisor()
    assert here.running(job_id).pid == process.pid


def test_a_runner_gets_the_environment_of_whoever_asked(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.service.ensure_supervisor()
    monkeypatch.setenv("ASKED_FROM", "this terminal")
    monkeypatch.setenv("NO_TEXT", "\udcff")
    here.submit("hang")
    environment = environment_of(here.told("hang", "main"))
    assert environment["ASKED_FROM"] == "this terminal"
    assert "NO_TEXT" not in environment


def test_a_python_without_a_folder_is_looked_up_where_whoever_asked_would_find_it(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.service.ensure_supervisor()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "a-python").symlink_to("/bin/true")
    (here.root / "hitui.toml").write_text(
        HEAD + '[runner.x]\nengine = "demo"\npython = "a-python"\n[[config]]\nname = "g/x"\nrunner = "x"\n'
        'modality = "text"\nformat = "html"\n'
    )
    with pytest.raises(LaunchError, match=r"\[runner.x\] python: a-python is not there or no program"):
        here.submit("x")
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    assert here.ended(here.submit("x")).ending is Ending.SUCCEEDED


def test_a_log_that_takes_no_more_ends_neither_an_answer_nor_the_supervisor(here: Control) -> None:
    here.paths.state.mkdir(parents=True)
    here.paths.supervisor_log.symlink_to("/dev/full")
    pid = here.service.ensure_supervisor()
    with pytest.raises(SupervisorError, match="invalid literal for int"):
        here.client.stop(["seven"])  # type: ignore[list-item]
    assert here.client.status()["pid"] == pid


def test_a_store_that_was_made_and_never_filled_holds_no_jobs(here: Control) -> None:
    here.paths.state.mkdir(parents=True)
    here.paths.database.touch()
    assert here.service.read_once() == JobsSnapshot()
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED
