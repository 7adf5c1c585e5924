"""Is a workspace whole: its settings, results, questions, dataset, and the runners it names."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hitui.adapters import notify
from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.weights import defect_of_adapter, defect_of_model
from hitui.adapters.files.look import identity_of, is_dir, is_file
from hitui.adapters.files.watch import inotify_sees
from hitui.adapters.gpus import chosen_kind
from hitui.adapters.processes import user_name
from hitui.domain.units import counted
from hitui.errors import LaunchError
from hitui.services.health import LOW_SPACE, Finding, Level, fail, ok, space_left, warn
from hitui.settings import RunnerSettings, Settings
from hitui.supervisor.arguments import engine_options, runners_folder, text_or_none, too_old

MODEL_LIBRARIES = {"transformers": ("torch", "transformers", "accelerate", "PIL"), "vllm": ("vllm",)}
"""What an engine imports, in the runner's environment."""
ADAPTER_CONFIG = "adapter_config.json"
SETUP_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
"""Of a model folder."""
CHART_LIBRARIES = ("numpy", "pandas", "matplotlib", "openpyxl")
PACKAGES = {"PIL": "pillow"}
"""What brings a module, where that has another name."""
ASK_SECONDS = 30.0
"""How long a runner's Python may take to say what it has."""
SERVER_SECONDS = 10.0
"""How long a server may take to say which models it has."""
_ABSENT = "is not there, or out of reach"
_ASK = """
import contextlib, importlib.util, os, runpy, sys
found = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}
print("%d.%d" % sys.version_info[:2], *[name for name in found if found[name] is None])
# Where torch is not there, or does not say how it was built, a run will tell.
with contextlib.suppress(Exception):
    built = runpy.run_path(os.path.join(os.path.dirname(found["torch"].origin), "version.py"))
    print("" if built["cuda"] or built["hip"] else built["__version__"])
"""
"""Its version and what it lacks; on a second line torch's version, where that is one for the CPU alone."""


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that were read; that they are refused is for the caller to say."""
    if settings.file is None:
        yield warn("settings", f"no hitui.toml in {settings.root} or above", "`hitui init` writes one")
    elif in_whose_hands := _others_hands(settings.file):
        what = f"{settings.file} {in_whose_hands}, and a job runs what it names with your rights"
        yield warn(
            "settings", what, "read it before you start anything; until then nothing of it is run here"
        )
    else:
        yield ok("settings", str(settings.file))


def examine_files(catalogue: Catalogue) -> Iterator[Finding]:
    """Workspace folder, results, question list and dataset."""
    root = catalogue.settings.root
    if not os.access(root, os.W_OK):
        yield warn("workspace", f"{root} is read-only", "runs need a writable `output`; looking works")
    else:
        left = space_left(root)
        if left is not None and left < LOW_SPACE:
            yield warn("workspace", f"{root}: only {left // 1024**2} MiB left on its disk", "make room there")
        else:
            yield ok("workspace", str(root))
    if not inotify_sees(root):
        yield ok("watching", "a network file system: changes are found by polling")
    catalogue.refresh()
    count = len(catalogue.configs)
    if count:
        yield ok("results", counted(count, "config"))
    else:
        yield warn("results", "none found", "name their folders as [workspace] results")
    if catalogue.questions_file is None:
        yield warn("questions", "no question list found", "name it as [workspace] questions")
    elif catalogue.questions is not None:
        number = len(catalogue.questions.questions)
        yield ok("questions", f"{catalogue.shown(catalogue.questions_file)} ({number})")
    if catalogue.data_folder is None:
        mend = "name its folder as [workspace] data; until then nothing counts as blocked"
        yield warn("dataset", "not found", mend)
    else:
        yield ok("dataset", catalogue.shown(catalogue.data_folder))
    for problem in catalogue.problems:
        what, _, mend = problem.partition("; ")
        yield warn("workspace", what, mend)


def examine_runners(settings: Settings) -> Iterator[Finding]:
    """Each runner's program, model and libraries. Starts each runner's Python once, and asks its server, but for what
    others may have written: their program would run, and their server be told a key."""
    if not settings.runners:
        yield warn("runners", "none: nothing can be run", "add a [runner.NAME] to hitui.toml")
    may_start = not _others_hands(settings.file)
    for name, runner in settings.runners.items():
        yield from _examine_runner(settings, name, runner, may_start)


def examine_scores(settings: Settings) -> Iterator[Finding]:
    """Whether what `[charts]` and `[judge]` name is there; neither is asked for where it is not."""
    if settings.charts.python is not None and not _others_hands(settings.file):
        yield _libraries("charts", settings.program(settings.charts.python), CHART_LIBRARIES)
    judge = settings.judge
    if judge.base_url is None:
        return
    if judge.prompts is not None and identity_of(settings.path(judge.prompts)) is None:
        yield fail("judge", f"prompts: {settings.path(judge.prompts)} {_ABSENT}", "correct the path")
    elif judge.api_key_env is not None and not os.environ.get(judge.api_key_env):
        mend = f"export {judge.api_key_env} before `hitui judge`"
        yield warn("judge", f"{judge.api_key_env}, which is to hold its key, is not set", mend)
    else:
        yield ok("judge", f"{judge.model} at {judge.base_url}; it is not asked here")


def examine_notifications(settings: Settings) -> Iterator[Finding]:
    """Whether what `[notify]` asks for can be sent; nothing is."""
    count = len(settings.notify.urls)
    if count and not notify.installed():
        yield warn("notifications", "apprise, which sends them, is not installed", notify.INSTALL)
    elif count:
        kinds = ", ".join(settings.notify.on) or "nothing"
        yield ok("notifications", f"of {kinds}, to {counted(count, 'address', 'addresses')}")
    if count and settings.file is not None and _mode(settings.file) & 0o044:
        what = f"others can read {settings.file}, and its addresses may hold passwords"
        yield warn("notifications", what, f"chmod 600 {settings.file}")


def _others_hands(file: Path | None) -> str:
    """Who else may have written the settings, as the end of `FILE …`; empty: only this user, or root, or there are
    none."""
    if file is None:
        return ""
    try:
        status, folder = file.stat(), file.parent.stat()
    except OSError:
        return ""
    if status.st_uid not in (os.getuid(), 0):
        return f"belongs to user {user_name(status.st_uid)}"
    if status.st_mode & stat.S_IWOTH or folder.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        return "can be changed by everybody"
    return ""


def _mode(path: Path) -> int:
    """Its permissions; 0 where it cannot be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _examine_runner(
    settings: Settings, name_of_runner: str, runner: RunnerSettings, may_start: bool
) -> Iterator[Finding]:
    name = f"runner {name_of_runner}"
    for key in ("cwd", "prompts"):
        path = getattr(runner, key)
        if path is not None and identity_of(settings.path(path)) is None:
            yield fail(name, f"{key}: {settings.path(path)} {_ABSENT}", "correct the path")
    if runner.command is not None:
        cwd = settings.path(runner.cwd) if runner.cwd is not None else settings.root
        yield _program(name, runner.command[0], cwd)
        return
    if runner.model is not None and runner.model_is_a_folder:
        yield _model(name, settings.path(runner.model))
    if runner.adapter is not None:
        yield _adapter(name, settings.path(runner.adapter))
    python = sys.executable if runner.python is None else settings.program(runner.python)
    if not may_start:
        yield ok(name, "neither its Python nor a server is asked")
        return
    takes_gpus = settings.min_free_bytes("", name_of_runner) > 0 and chosen_kind() != "simulated"
    wanted = MODEL_LIBRARIES.get(runner.engine or "", ()) + (() if runner.adapter is None else ("peft",))
    libraries = _libraries(name, python, wanted, takes_gpus=takes_gpus)
    yield libraries
    if runner.engine == "openai" and libraries.level is Level.OK:
        yield _server(name, python, runner)


def _program(name: str, program: str, cwd: Path) -> Finding:
    wanted = str(cwd / Path(program).expanduser()) if "/" in program else program
    found = shutil.which(wanted)
    if found is None:
        return fail(name, f"{program} is not there or no program", "correct the command in hitui.toml")
    return ok(name, found)


def _adapter(name: str, folder: Path) -> Finding:
    if not is_file(folder / ADAPTER_CONFIG):
        return fail(name, f"adapter: {folder} has no {ADAPTER_CONFIG}", "name the folder of an adapter")
    if defect := defect_of_adapter(folder):
        return fail(name, f"adapter: {folder}: {defect}", "copy the adapter again, or name another folder")
    return ok(name, f"adapter {folder}")


def _model(name: str, folder: Path) -> Finding:
    if not is_dir(folder):
        return fail(name, f"model: {folder} {_ABSENT}", "correct the path, or download the model there")
    if is_file(folder / ADAPTER_CONFIG):
        mend = "name the model that it was trained on, and this folder as adapter"
        return fail(name, f"model: {folder} is an adapter and no model", mend)
    if not is_file(folder / "config.json"):
        return fail(name, f"model: {folder} has no config.json", "name the folder of a model")
    if defect := _defect_of_setup(folder) or defect_of_model(folder):
        return fail(name, f"model: {folder}: {defect}", "copy or download the model again")
    return ok(name, f"model {folder}")


def _defect_of_setup(folder: Path) -> str:
    """Which of the files that a model is set up from was not copied or downloaded whole; empty: none."""
    for file in SETUP_FILES:
        if not is_file(folder / file):
            continue
        try:
            # As the model's library reads it, which takes numbers that JSON does not have.
            json.loads((folder / file).read_bytes())
        except ValueError:
            return f"{file} is no whole JSON"
        except (OSError, RecursionError):
            # Not every model has all of them, and what cannot be read says so itself.
            continue
    return ""


def _server(name: str, python: str, runner: RunnerSettings) -> Finding:
    """Whether the server has the model, as our runner asks it; the model is asked nothing."""
    key = runner.api_key_env
    if key is not None and not os.environ.get(key):
        return warn(
            name, f"{key}, which is to hold its server's key, is not set", f"export {key} before `hitui run`"
        )
    options = {
        **engine_options(runner),
        "model": runner.model,
        "max-new-tokens": text_or_none(runner.max_new_tokens),
        "timeout": f"{SERVER_SECONDS:g}",
        "patience": "1",
    }
    words = [word for option, text in options.items() if text is not None for word in (f"--{option}", text)]
    try:
        done = subprocess.run(
            [python, runners_folder(), "server", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, LaunchError, subprocess.TimeoutExpired) as error:
        return warn(name, f"its server could not be asked: {error}", "look at python in hitui.toml")
    if done.returncode == 0:
        return ok(name, done.stdout.decode(errors="replace").strip())
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("error: ")
    # What a run would do about it is no matter here.
    return warn(name, said.partition("; asked ")[0], "start the server, or correct its runner in hitui.toml")


def _libraries(name: str, python: str, wanted: tuple[str, ...], *, takes_gpus: bool = False) -> Finding:
    """What the runner's Python says of itself, asked without importing any of it."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK, *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            # Where a job runs is another folder than this: what lies here is neither its library nor to be run.
            cwd="/",
            timeout=ASK_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return warn(name, f"{python} did not answer in {ASK_SECONDS:.0f} s", "look at its disk")
    except subprocess.CalledProcessError as error:
        return fail(name, f"{python} ended with status {error.returncode}", "name a Python as python")
    except OSError as error:
        return fail(name, f"{python}: {error.strerror}", "correct python in hitui.toml")
    said, _, torch_without_gpus = done.stdout.decode(errors="replace").strip().partition("\n")
    if not said:
        return fail(name, f"{python} is no Python", "name a Python as python")
    version, *modules = said.split()
    if old := too_old(version):
        return fail(name, f"{python} {old}", "name a newer one as python")
    if modules:
        absent = [PACKAGES.get(module, module) for module in modules]
        return fail(
            name, f"{python} lacks {', '.join(absent)}", f"{python} -m pip install {' '.join(absent)}"
        )
    if takes_gpus and torch_without_gpus:
        what = f"{python}: its torch ({torch_without_gpus}) is one for the CPU alone"
        return warn(
            name, what, 'install one for CUDA there, or set min_free = "0B" for it to compute on the CPU'
        )
    there = [PACKAGES.get(module, module) for module in wanted]
    return ok(name, f"{python} ({version})" + (f" with {', '.join(there)}" if there else ""))
