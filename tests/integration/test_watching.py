"""What is seen of running jobs: that nothing comes of them, that their tasks only fail, that their GPU is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters import processes
from hitui.domain.jobs import Ended, Ending, Queued, Running
from tests.tools.commands import listed
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.nvml_sim.driver import FILE_VARIABLE, NvmlDriver
from tests.tools.programs import write_programs

HANG = "say('main')\nwait()\n"
UUID = "GPU-7e570000-0000-4000-8000-00000000000{}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def stalled_since(here: Control, job_id: int) -> float | None:
    state = here.job(job_id).state
    assert isinstance(state, Running), state
    return state.stalled_since


def change_gpu(here: Control, index: int, **values: Any) -> None:
    path = here.gpus / "gpus.json"
    described = json.loads(path.read_text())
    described["gpus"][index].update(values)
    beside = path.with_name("gpus.json.new")
    beside.write_text(json.dumps(described))
    beside.replace(path)


def test_a_job_of_which_nothing_comes_is_marked_until_something_does(here: Control) -> None:
    write_programs(
        here,
        {"quiet": "signal.signal(signal.SIGUSR2, lambda *_: print('on it goes', flush=True))\n" + HANG},
        'stall = "0.6s"',
    )
    job_id = here.submit("quiet")
    here.running(job_id)
    main = here.told("quiet", "main")
    since = eventually(lambda: stalled_since(here, job_id), "it is marked")
    assert since is not None
    assert since >= here.running(job_id).started_at - 1.0
    (told,) = listed(here)
    assert told["stalled_since"] is not None
    processes.send(main, 12)
    eventually(lambda: stalled_since(here, job_id) is None, "the mark is taken away")
    eventually(lambda: stalled_since(here, job_id), "it is marked again")


@pytest.mark.parametrize(
    "sign",
    ["print('.', flush=True)", "event('progress', done=1, total=2, errors=0)"],
)
def test_output_or_events_are_signs_of_life(here: Control, sign: str) -> None:
    write_programs(
        here,
        {"alive": f"say('main')\nwhile True:\n    {sign}\n    time.sleep(0.05)\n", "quiet": HANG},
        'stall = "0.6s"',
    )
    alive, quiet = here.submit("alive"), here.submit("quiet")
    eventually(lambda: here.running(quiet).stalled_since, "the other is marked")
    assert stalled_since(here, alive) is None


def test_a_gpu_at_work_is_a_sign_of_life_unless_it_works_for_someone_else(here: Control) -> None:
    write_programs(here, {"computes": HANG, "idles": HANG}, 'stall = "1s"')
    computes, idles = here.submit("computes", gpus=("0",)), here.submit("idles", gpus=("1",))
    here.running(computes)
    here.running(idles)
    someone = {"pid": os.getpid(), "memory": 1, "user": "x", "command": "other"}
    change_gpu(here, 0, utilization=80)
    (here.gpus / "claims" / "other.json").write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "start_time": processes.find_process(os.getpid()).start_time,  # type: ignore[union-attr]
                "memory": {UUID.format(1): someone["memory"]},
                "utilization": 70,
            }
        )
    )
    eventually(lambda: stalled_since(here, idles), "the one whose GPU works for someone else is marked")
    assert stalled_since(here, computes) is None


def test_a_config_may_say_that_it_never_stalls(here: Control) -> None:
    write_programs(here, {"patient": HANG, "quiet": HANG}, 'stall = "0.6s"', {"patient": 'stall = "never"'})
    patient, quiet = here.submit("patient"), here.submit("quiet")
    eventually(lambda: here.running(quiet).stalled_since, "the other is marked")
    assert stalled_since(here, patient) is None


def test_a_stalled_job_is_restarted_where_its_config_says_so_and_as_often_as_a_crashed_one(
    here: Control,
) -> None:
    write_programs(
        here,
        {"quiet": HANG},
        'stall = "0.8s"\nretries = 1\nretry_pause = "10ms"\nquick = "0s"',
        {"quiet": "restart_stalled = true"},
    )
    first = here.submit("quiet")
    state = here.ended(first)
    assert state.ending is Ending.FAILED
    assert re.fullmatch(
        r"stalled: no output, no event and no use of a GPU for \d s; tried again after 0 s, attempt 2 of 2",
        state.reason,
    )
    again = here.successor(first)
    assert again is not None
    assert again.attempt == 2
    eventually(lambda: here.running(again.id).stalled_since, "the second is only marked")
    assert isinstance(here.job(again.id).state, Running)


def test_the_mark_outlives_the_supervisor(here: Control) -> None:
    write_programs(here, {"quiet": HANG}, 'stall = "0.6s"')
    job_id = here.submit("quiet")
    here.running(job_id)
    since = eventually(lambda: stalled_since(here, job_id), "it is marked")
    write_programs(here, {"quiet": HANG}, 'stall = "1h"')
    kill(here.supervisor())
    here.service.ensure_supervisor()
    assert stalled_since(here, job_id) == since


FAILS = """
for number in range({good}):
    event('task', id=number, status='done')
for number in range({bad}):
    event('task', id=number, status='error')
say('main')
wait()
"""


def test_a_job_whose_tasks_only_fail_is_paused_and_says_why(here: Control) -> None:
    write_programs(
        here,
        {"fails": FAILS.format(good=2, bad=5), "some": FAILS.format(good=9, bad=4)},
        'pause_after_errors = 5\nstall = "2s"',
    )
    fails, some = here.submit("fails"), here.submit("some")
    state = here.ended(fails)
    assert state.ending is Ending.STOPPED
    assert state.reason.startswith("paused: 5 tasks failed one after the other")
    held = here.successor(fails)
    assert held is not None
    assert here.waits_for(held.id).startswith("someone to resume it: 5 tasks failed")
    assert isinstance(here.job(some).state, Running)


def test_what_fails_in_a_row_is_counted_over_all_configs_of_a_job(here: Control) -> None:
    program = """
for number in range(6):
    event('task', config=f'g/{"ab"[number // 3]}', id=number, status='error')
say('main')
wait()
"""
    write_programs(here, {"a": program, "b": HANG}, 'pause_after_errors = 6\nstall = "2s"')
    job_id = here.submit("a")
    state = here.ended(job_id)
    assert state.reason.startswith("paused: 6 tasks failed one after the other")


def test_errors_before_a_supervisor_was_killed_count(here: Control) -> None:
    source = FAILS.format(good=1, bad=3) + ""
    source = source.replace(
        "wait()", "signal.signal(signal.SIGUSR2, lambda *_: event('task', id=9, status='error'))\nwait()"
    )
    write_programs(here, {"fails": source}, 'pause_after_errors = 4\nstall = "2s"')
    job_id = here.submit("fails")
    here.running(job_id)
    main = here.told("fails", "main")
    kill(here.supervisor())
    processes.send(main, 12)
    here.service.ensure_supervisor()
    assert here.ended(job_id).reason.startswith("paused: 4 tasks failed")


@pytest.mark.parametrize("how", ["asks", "dies"])
def test_a_job_whose_gpu_is_lost_goes_on_elsewhere(here: Control, how: str) -> None:
    react = {
        "asks": "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n",
        "dies": "",
    }[how]
    write_programs(here, {"moves": react + HANG}, 'gpu_lost = "100ms"')
    first = here.submit("moves")
    (lost,) = here.running(first).gpus
    here.told("moves", "main")
    change_gpu(here, int(lost[-1]), error="lost: it fell off the bus")
    state = here.ended(first)
    assert state.ending is Ending.REQUEUED
    assert state.reason == f"GPU {lost[-1]} does not answer: lost: it fell off the bus; it goes on elsewhere"
    again = here.successor(first)
    assert again is not None
    assert again.attempt == 1
    assert here.running(again.id).gpus != (lost,)
    third = here.submit("moves", ids=(1,), gpus=(lost[-1],))
    here.client.stop([again.id])
    here.ended(again.id)
    eventually(lambda: "does not answer" in here.waits_for(third), "it waits for the lost GPU")


NVML_GPUS = "".join(
    f"gpu {index} uuid GPU-nvml-{index}\ngpu {index} mem_total 80GiB\ngpu {index} mem_used 0\n"
    for index in (0, 1)
)


@pytest.fixture
def by_nvml(here: Control, nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> NvmlDriver:
    """The workspace's supervisor reads two GPUs through NVML."""
    driver = NvmlDriver(nvml_library, here.root.parent / "nvml.txt")
    driver.write(NVML_GPUS)
    monkeypatch.delenv("HITUI_SIMULATED_GPUS")
    for name in ("LD_LIBRARY_PATH", FILE_VARIABLE):
        monkeypatch.setenv(name, driver.environment[name])
    return driver


def test_a_job_goes_on_elsewhere_when_nvml_says_that_its_gpu_is_lost(
    here: Control, by_nvml: NvmlDriver
) -> None:
    react = "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
    source = "(output / 'gpus').open('a').write(os.environ['CUDA_VISIBLE_DEVICES'] + '\\n')\n"
    write_programs(here, {"moves": react + source + HANG}, 'gpu_lost = "100ms"')
    first = here.submit("moves")
    assert here.running(first).gpus == ("GPU-nvml-0",)
    here.told("moves", "main")
    # NVML_ERROR_GPU_IS_LOST of every call that names the device; the other one answers.
    by_nvml.write(NVML_GPUS + "gpu 0 error * lost\n")
    state = here.ended(first)
    assert state.ending is Ending.REQUEUED
    assert state.reason.startswith("GPU 0 does not answer: lost: the driver no longer answers for it; ")
    assert state.reason.endswith("; it goes on elsewhere")
    again = here.successor(first)
    assert again is not None
    assert here.running(again.id).gpus == ("GPU-nvml-1",)
    given = here.output("moves") / "gpus"
    eventually(lambda: given.read_text().split() == ["GPU-nvml-0", "GPU-nvml-1"], "the runner sees the other")
    third = here.submit("moves", ids=(1,), gpus=("0",))
    here.client.stop([again.id])
    here.ended(again.id)
    eventually(lambda: "does not answer" in here.waits_for(third), "nothing starts on the lost one")


def test_a_driver_that_does_not_answer_takes_no_job_from_its_gpu(here: Control) -> None:
    write_programs(here, {"stays": HANG, "later": HANG}, 'gpu_lost = "1ms"')
    job_id = here.submit("stays", gpus=("0",))
    here.running(job_id)
    described = (here.gpus / "gpus.json").read_text()
    (here.gpus / "gpus.json").write_text("{")
    waiting = here.submit("later", gpus=("0",))
    assert "gpus.json" in eventually(
        lambda: here.waits_for(waiting) if "gpus.json" in here.waits_for(waiting) else "", "it is read"
    )
    (here.gpus / "gpus.json").write_text(described)
    eventually(lambda: "held by job" in here.waits_for(waiting), "the GPUs are read again")
    assert isinstance(here.job(job_id).state, Running)
    assert isinstance(here.job(waiting).state, Queued)


def test_a_job_that_is_moved_is_moved_on_by_the_next_supervisor(here: Control) -> None:
    write_programs(
        here,
        {"moves": "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n" + HANG},
        'gpu_lost = "1ms"',
    )
    first = here.submit("moves", gpus=None)
    (lost,) = here.running(first).gpus
    here.told("moves", "main")
    change_gpu(here, int(lost[-1]), error="lost: it fell off the bus")
    eventually(lambda: here.job(first).word == "stopping", "it is asked to give way")
    kill(here.supervisor())
    here.service.ensure_supervisor()
    state = here.ended(first)
    assert isinstance(state, Ended)
    assert state.ending is Ending.REQUEUED
    again = here.successor(first)
    assert again is not None
    assert here.running(again.id).gpus != (lost,)
