"""What is remembered of a job beside the job itself: what exactly ran, where, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ended, Job
from hitui.domain.units import counted

_TELLING = ("CUDA_", "HF_", "HITUI_", "CONDA_", "NCCL_", "TORCH_", "PYTORCH_")
_TELLING_NAMES = ("VIRTUAL_ENV", "PYTHONPATH")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
_USER_OF_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class GpuUse(msgspec.Struct, frozen=True, gc=False):
    """A GPU that a job held."""

    uuid: str
    label: str | None = None
    """Its index, as `3` or `3:1`; None: it was not seen while the job ran."""
    name: str | None = None
    peak_memory: int | None = None
    """Bytes of the job's own processes at the most, of readings a second apart; None: the driver did not say."""


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """One launch. What was not recorded is None or empty."""

    command: tuple[str, ...] = ()
    cwd: str = ""
    environment: dict[str, str] = {}
    """The variables that matter, without secrets."""
    versions: dict[str, str] = {}
    """Of hitui, and of what the runner says of itself: python, torch, transformers."""
    commit: str | None = None
    """Git commit of the workspace when the runner was started; empty: it is in no repository. Whether files
    differed from it is not known."""
    branch: str = ""
    """Empty: none was checked out."""
    gpus: tuple[GpuUse, ...] = ()
    done: int | None = None
    """Tasks that were answered."""
    failed: int | None = None


def words_of_end(job: Job, record: JobRecord | None) -> str:
    """What is said of a job behind how it ended: why, or how many of its tasks failed though it succeeded. Empty: nothing
    is to be said, or it has not ended."""
    if not isinstance(job.state, Ended):
        return ""
    if job.state.reason or record is None or record.done is None or not record.failed:
        return job.state.reason
    return f"{record.failed} of {counted(record.done + record.failed, 'task')} failed"


def telling_environment(environment: Mapping[str, str], own: Collection[str]) -> dict[str, str]:
    """The variables that decide what a run does, and those that the runner's settings name (`own`).

    Without what may hold a secret: by the variable's name, and what stands before the @ of an address.
    """
    return {
        name: _USER_OF_ADDRESS.sub("…", value)
        for name, value in sorted(environment.items())
        if (name.startswith(_TELLING) or name in _TELLING_NAMES or name in own)
        and not any(word in name.upper() for word in _SECRET)
    }


def used_gpus(
    uuids: Sequence[str], known: Sequence[GpuUse], snapshot: GpuSnapshot, pid: int
) -> tuple[GpuUse, ...]:
    """The GPUs of a job with one more reading; `pid` leads the session of its runner."""
    before = {use.uuid: use for use in known}
    now = {gpu.uuid: gpu for gpu in snapshot.gpus}
    uses = []
    for uuid in uuids:
        use, gpu = before.get(uuid, GpuUse(uuid)), now.get(uuid)
        if gpu is not None:
            own = [one.memory for one in gpu.processes if pid in (one.pid, one.session)]
            told = [memory for memory in own if memory is not None]
            peak = max(use.peak_memory or 0, sum(told)) if told else use.peak_memory
            use = replace(use, label=gpu.label, name=gpu.name or use.name, peak_memory=peak)
        uses.append(use)
    return tuple(uses)
