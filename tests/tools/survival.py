"""What is done to jobs that crash and to supervisors that die, and what is seen of it then."""

from __future__ import annotations

from hitui.domain.jobs import Job
from hitui.supervisor.store import Store
from tests.tools.control import Control, kill
from tests.tools.eventually import eventually

HANG = "say('main')\nwait()\n"
STARTED = "(output / 'starts').open('a').write(f'{time.time()}\\n')\n"
CRASH = STARTED + "sys.exit('KeyError: layer 7')\n"
CRASH_ONCE = STARTED + "if len((output / 'starts').read_text().split()) == 1:\n    sys.exit(3)\n"


def follower(here: Control, job_id: int) -> Job:
    """The job that took the place of one that has ended."""
    here.ended(job_id)
    found = here.successor(job_id)
    assert found is not None, here.job(job_id)
    return found


def waits(here: Control, job_id: int, start: str) -> None:
    """Returns once a queued job says that it waits for something that starts so."""
    eventually(lambda: here.waits_for(job_id).startswith(start), f"job {job_id} waits for {start}")


def followers(here: Control, job_id: int) -> int:
    return sum(job.replaces == job_id for job in here.client.last_known(None).jobs)


def revive(here: Control) -> None:
    kill(here.supervisor())
    here.service.ensure_supervisor()


def change(here: Control, statement: str, *values: object) -> None:
    """Changes the store while no supervisor runs."""
    store = Store(here.paths.database)
    store._database.execute(statement, values)
    store.close()
