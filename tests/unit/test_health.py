"""The doctor's findings: what is looked at, what it is called, and the mend."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.paths import RuntimePaths
from hitui.services import health, health_workspace
from hitui.services.health import Finding, Level
from hitui.settings import RunnerSettings, Settings, load_settings
from hitui.settings.values import ChartSettings, JudgeSettings
from tests.tools.chat_server import chat_server
from tests.tools.results import write_safetensors


def levels(findings: list[Finding]) -> list[tuple[str, Level]]:
    return [(finding.name, finding.level) for finding in findings]


def only(findings: list[Finding], level: Level) -> Finding:
    (found,) = [finding for finding in findings if finding.level is level]
    assert found.mend or level is Level.OK
    return found


def test_this_python_has_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(list(health.examine_python())) == [("python", Level.OK), ("packages", Level.OK)]
    monkeypatch.setattr(health, "PACKAGES", ("textual", "surely-not-installed"))
    found = only(list(health.examine_python()), Level.FAIL)
    assert (found.what, found.mend) == (
        "not installed: surely-not-installed",
        "pip install surely-not-installed",
    )


def test_a_machine_without_a_driver_is_warned_and_one_with_a_broken_driver_fails(tmp_path: Path) -> None:
    snapshot = GpuSnapshot(1.0, "nvml", error="the driver is not loaded; load it")
    node = tmp_path / "nvidiactl"
    found = only(list(health.examine_gpus(snapshot, frozenset(), node)), Level.WARN)
    assert found.what == "the driver is not loaded"
    assert found.mend.startswith("load it")
    node.touch()
    assert only(list(health.examine_gpus(snapshot, frozenset(), node)), Level.FAIL).mend == "load it"


def test_simulated_gpus_say_so_once() -> None:
    snapshot = GpuSnapshot(1.0, "simulated", (Gpu(0, "GPU-a", "A100"),), "simulated")
    assert [finding.what for finding in health.examine_gpus(snapshot, frozenset())] == [
        "simulated",
        "1 (A100)",
    ]


def test_each_gpu_with_a_fault_is_named() -> None:
    gpus = (Gpu(0, "GPU-a", "A100"), Gpu(1, "GPU-b", "A100", error="lost: no answer; reset it"))
    findings = list(health.examine_gpus(GpuSnapshot(1.0, "nvml", gpus, "550.1"), frozenset({1, 7})))
    assert [(finding.name, finding.what, finding.mend) for finding in findings] == [
        ("driver", "nvml 550.1", ""),
        ("GPUs", "2 (A100)", ""),
        ("GPU 1", "lost: no answer", "reset it"),
        ("GPUs", "[gpus] exclude names GPU 7, which is not there", "correct it in hitui.toml"),
    ]


@pytest.mark.parametrize(
    ("environment", "level", "words"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Level.OK, "true colour"),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux,1,0"}, Level.OK, "in tmux, 256 colours"),
        ({"TERM": "screen", "TMUX": "/tmp/tmux,1,0"}, Level.WARN, "in tmux, 16 colours"),
        ({"TERM": "linux"}, Level.WARN, "16 colours"),
        ({"TERM": "dumb"}, Level.FAIL, "can draw no screen"),
        ({}, Level.FAIL, "(unset)"),
    ],
)
def test_the_terminal_is_told_by_its_name(environment: dict[str, str], level: Level, words: str) -> None:
    finding = next(health.examine_terminal(environment, is_terminal=True))
    assert (finding.name, finding.level) == ("terminal", level)
    assert words in finding.what
    assert bool(finding.mend) == (level is not Level.OK)


def test_without_a_terminal_there_is_nothing_to_mend() -> None:
    assert levels(list(health.examine_terminal({}, is_terminal=False))) == [("terminal", Level.OK)]


def test_the_state_folder_may_still_have_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(tmp_path / "locks"))
    paths = RuntimePaths(tmp_path / "a" / "state", tmp_path / "b")
    assert {finding.level for finding in health.examine_state(paths)} == {Level.OK}
    assert not paths.state.exists()


def test_a_runtime_folder_that_is_not_there_is_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(tmp_path / "locks"))
    logins = tmp_path / "logins"
    logins.touch()
    paths = RuntimePaths(tmp_path / "state", logins / "ours" / "hitui" / "digest")
    _, runtime, _ = health.examine_state(paths)
    assert (runtime.level, runtime.what) == (Level.OK, str(paths.socket_elsewhere.parent))
    logins.unlink()
    (logins / "ours").mkdir(parents=True)
    (logins / "ours" / "hitui").touch()
    _, runtime, _ = health.examine_state(paths)
    assert runtime.level is Level.FAIL


def test_a_state_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    paths = RuntimePaths(tmp_path / "file" / "state", tmp_path)
    found = next(health.examine_state(paths))
    assert (found.name, found.level) == ("state folder", Level.FAIL)
    assert "XDG_STATE_HOME" in found.mend


def test_low_limits_of_inotify_name_the_orders_that_raise_them(tmp_path: Path) -> None:
    assert only(list(health.examine_watching(tmp_path)), Level.WARN).mend == "changes are found by polling"
    (tmp_path / "max_user_watches").write_text("100\n")
    (tmp_path / "max_user_instances").write_text("1024\n")
    assert only(list(health.examine_watching(tmp_path)), Level.WARN).mend == (
        f"sysctl fs.inotify.max_user_watches={health.WATCHES_WANTED}"
    )
    (tmp_path / "max_user_watches").write_text("524288\n")
    assert levels(list(health.examine_watching(tmp_path))) == [("inotify", Level.OK)]


def test_an_empty_workspace_says_what_to_name(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    assert (
        only(list(health_workspace.examine_settings(settings)), Level.WARN).mend == "`hitui init` writes one"
    )
    findings = list(health_workspace.examine_files(Catalogue(settings)))
    assert [finding.name for finding in findings if finding.level is Level.WARN] == [
        "results",
        "questions",
        "dataset",
    ]
    assert only(list(health_workspace.examine_runners(settings)), Level.WARN).name == "runners"


def runner_findings(folder: Path, runner: RunnerSettings) -> list[Finding]:
    return list(health_workspace.examine_runners(Settings(root=folder, runners={"mine": runner})))


def test_an_adapter_is_looked_at_and_asks_for_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_workspace, "MODEL_LIBRARIES", {})
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path / "model.safetensors")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    write_safetensors(tmp_path / "lora" / "adapter_model.safetensors")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    runner = RunnerSettings(engine="transformers", model=".", adapter="lora", python=str(python))
    findings = runner_findings(tmp_path, runner)
    assert [finding.level for finding in findings] == [Level.OK, Level.OK, Level.FAIL]
    assert findings[1].what == f"adapter {tmp_path}/lora"
    assert findings[2].what == f"{python} lacks peft"


def test_a_runner_with_everything_in_place_is_well(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    write_safetensors(tmp_path / "model" / "model.safetensors")
    # Whoever leaves out the older form of the weights still gets what lists its files.
    index = '{"weight_map": {"a": "pytorch_model-1.bin"}}'
    (tmp_path / "model" / "pytorch_model.bin.index.json").write_text(index)
    runner = RunnerSettings(engine="demo", python=sys.executable, model="model")
    assert levels(runner_findings(tmp_path, runner)) == [("runner mine", Level.OK)] * 2


def test_a_server_is_asked_for_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY_OF_TESTS", "secret-123")
    with chat_server() as server:
        runner = RunnerSettings(engine="openai", base_url=server.url, api_key_env="A_KEY_OF_TESTS")
        findings = runner_findings(tmp_path, runner)
        absent = msgspec.structs.replace(runner, model="harbours/70b", max_new_tokens=5)
        (found,) = [each for each in runner_findings(tmp_path, absent) if each.level is not Level.OK]
        assert server.chats == []
    assert levels(findings) == [("runner mine", Level.OK)] * 2
    assert findings[1].what == f"harbour-7b at {server.url}"
    assert found.what == f"{server.url}: it lists harbour-7b, and not harbours/70b; see --model"


def test_what_is_wrong_with_a_server_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY_OF_TESTS", raising=False)
    with chat_server() as server:
        runner = RunnerSettings(engine="openai", base_url=server.url)
        server.act_on_models = lambda chat: chat.error(401, "who are you?")
        refused = only(runner_findings(tmp_path, runner), Level.WARN)
        server.act_on_models = lambda chat: chat.json(404, {"detail": "Not Found"})
        named = msgspec.structs.replace(runner, model="harbour-7b")
        elsewhere = only(runner_findings(tmp_path, named), Level.WARN)
        keyless = msgspec.structs.replace(runner, api_key_env="A_KEY_OF_TESTS")
        unset = only(runner_findings(tmp_path, keyless), Level.WARN)
    gone = only(runner_findings(tmp_path, runner), Level.WARN)
    assert refused.what.startswith(f"{server.url}: 401: who are you?; name the variable")
    assert elsewhere.what.startswith(f"{server.url}: it lists no models (404: Not Found); see --base-url")
    assert unset.what == "A_KEY_OF_TESTS, which is to hold its server's key, is not set"
    assert gone.what == f"{server.url}: it cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        (RunnerSettings(engine="transformers", model="absent"), "is not there"),
        (RunnerSettings(engine="transformers", model="empty"), "has no config.json"),
        (RunnerSettings(engine="transformers", model="light"), "light: weights are absent"),
        (RunnerSettings(engine="transformers", model="torn"), "torn: tokenizer.json is no whole JSON"),
        (RunnerSettings(engine="vllm", model="cut"), "cut: model.safetensors is cut off"),
        (RunnerSettings(engine="transformers", model="lora"), "lora is an adapter and no model"),
        (
            RunnerSettings(engine="transformers", model="whole", adapter="whole"),
            "adapter: {}/whole has no adapter_config.json",
        ),
        (
            RunnerSettings(engine="transformers", model="whole", adapter="lora"),
            "adapter: {}/lora: has no adapter_model.safetensors",
        ),
        (
            RunnerSettings(engine="transformers", model="whole", adapter="cut-lora"),
            "adapter: {}/cut-lora: adapter_model.safetensors is cut off",
        ),
        (
            RunnerSettings(engine="transformers", model="whole", adapter="old-lora"),
            "adapter: {}/old-lora: adapter_model.bin is cut off",
        ),
        (RunnerSettings(engine="demo", python="/absent/python"), "No such file or directory"),
        (RunnerSettings(engine="demo", python="true"), "is no Python"),
        (RunnerSettings(engine="demo", python="false"), "ended with status 1"),
        (RunnerSettings(engine="demo", python="./python3.9"), "python3.9 is Python 3.9, and 3.10 is needed"),
        (RunnerSettings(engine="demo", prompts="absent.py"), "prompts: "),
        (RunnerSettings(command=["./absent.sh"]), "./absent.sh is not there"),
        (RunnerSettings(command=["surely-no-such-program"]), "is not there or no program"),
        (RunnerSettings(command=["true"], cwd="absent"), "cwd: "),
    ],
)
def test_what_a_runner_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: RunnerSettings, words: str
) -> None:
    older = tmp_path / "python3.9"
    older.write_text("#!/bin/sh\necho 3.9\n")
    older.chmod(0o755)
    for folder in ("empty", "light", "cut", "torn", "whole"):
        (tmp_path / folder).mkdir()
        if folder != "empty":
            (tmp_path / folder / "config.json").write_text("{}")
    write_safetensors(tmp_path / "whole" / "model.safetensors")
    for folder in ("lora", "cut-lora", "old-lora"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "adapter_config.json").write_text("{}")
    (tmp_path / "cut-lora" / "adapter_model.safetensors").write_bytes(b"cut")
    (tmp_path / "old-lora" / "adapter_model.bin").write_bytes(b"cut")
    write_safetensors(weights := tmp_path / "cut" / "model.safetensors")
    (tmp_path / "torn" / "model.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "torn" / "config.json").write_text('{"limit": [0.0, Infinity]}')
    (tmp_path / "torn" / "tokenizer.json").write_text('{"model": {"voc')
    weights.write_bytes(weights.read_bytes()[:-1])
    # Whether this environment has them is not what is asked here.
    monkeypatch.setattr(health_workspace, "MODEL_LIBRARIES", {})
    assert words.format(tmp_path) in only(runner_findings(tmp_path, runner), Level.FAIL).what


def test_libraries_that_a_runners_python_lacks_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"vllm": ("json", "surely_no_such_module")}
    monkeypatch.setattr(health_workspace, "MODEL_LIBRARIES", wanted)
    monkeypatch.setattr(health_workspace, "PACKAGES", {"surely_no_such_module": "no-such-package"})
    (tmp_path / "config.json").write_text("{}")
    # A name of its own is no defect.
    write_safetensors(tmp_path / "consolidated.safetensors")
    found = only(runner_findings(tmp_path, RunnerSettings(engine="vllm", model=".")), Level.FAIL)
    assert found.what == f"{sys.executable} lacks no-such-package"
    assert found.mend.endswith("-m pip install no-such-package")


def test_a_torch_for_the_cpu_alone_is_told_of_where_the_runner_takes_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HITUI_SIMULATED_GPUS", raising=False)
    monkeypatch.setattr(health_workspace, "MODEL_LIBRARIES", {"transformers": ("torch",)})
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path / "model.safetensors")
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text("raise RuntimeError('nobody imports it')")
    # Without its site-packages, where a torch that is really there would come first.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    runner = RunnerSettings(engine="transformers", model=".", python=str(python))
    version = tmp_path / "site" / "torch" / "version.py"

    version.write_text("__version__ = '2.13.0+cpu'\ncuda = None\nhip = None\n")
    found = only(runner_findings(tmp_path, runner), Level.WARN)
    assert found.what == f"{python}: its torch (2.13.0+cpu) is one for the CPU alone"
    on_the_cpu = msgspec.structs.replace(runner, min_free="0B")
    assert levels(runner_findings(tmp_path, on_the_cpu)) == [("runner mine", Level.OK)] * 2
    version.write_text("__version__ = '2.13.0'\ncuda = '13.0'\nhip = None\n")
    assert levels(runner_findings(tmp_path, runner)) == [("runner mine", Level.OK)] * 2
    version.unlink()
    assert levels(runner_findings(tmp_path, runner)) == [("runner mine", Level.OK)] * 2


def test_a_pipe_in_a_model_folder_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "tokenizer.json")
    findings = runner_findings(tmp_path, RunnerSettings(engine="demo", model="."))
    assert [finding.what for finding in findings if str(tmp_path) in finding.what]


def test_nothing_is_run_that_settings_of_somebody_else_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    file = tmp_path / "hitui.toml"
    file.write_text(
        '[charts]\npython = "./python"\n[runner.a]\nengine = "openai"\npython = "./python"\n'
        'base_url = "http://localhost:1/v1"\n'
    )
    settings = load_settings(tmp_path, file)

    def findings() -> list[Finding]:
        examined = (
            health_workspace.examine_settings,
            health_workspace.examine_runners,
            health_workspace.examine_scores,
        )
        return [finding for examine in examined for finding in examine(settings)]

    file.chmod(0o666)
    assert "can be changed by everybody" in only(findings(), Level.WARN).what
    file.chmod(0o644)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", lambda path, **_: of_user(os.stat(path), 4_000_000_000))  # noqa: PTH116
        assert "belongs to user 4000000000, and a job runs" in only(findings(), Level.WARN).what
    assert not (tmp_path / "ran").exists()
    findings()
    assert (tmp_path / "ran").exists()


def of_user(status: os.stat_result, user: int) -> os.stat_result:
    return os.stat_result((*status[:4], user, *status[5:]))


def test_what_lies_where_the_doctor_is_asked_is_no_library_of_a_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path / "consolidated.safetensors")
    (tmp_path / "vllm_of_a_test.py").touch()
    monkeypatch.setattr(health_workspace, "MODEL_LIBRARIES", {"vllm": ("vllm_of_a_test",)})
    monkeypatch.chdir(tmp_path)
    found = only(runner_findings(tmp_path, RunnerSettings(engine="vllm", model=".")), Level.FAIL)
    assert found.what == f"{sys.executable} lacks vllm_of_a_test"


def test_what_scores_need_is_looked_at_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def findings(judge: JudgeSettings, python: str | None = None) -> list[Finding]:
        settings = Settings(root=tmp_path, judge=judge, charts=ChartSettings(python))
        return list(health_workspace.examine_scores(settings))

    asked = JudgeSettings(base_url="http://localhost:1/v1", model="harbours/7b", api_key_env="A_KEY_OF_TESTS")
    monkeypatch.delenv("A_KEY_OF_TESTS", raising=False)
    assert findings(JudgeSettings(model="harbours/7b")) == []
    assert "A_KEY_OF_TESTS" in only(findings(asked), Level.WARN).mend
    monkeypatch.setenv("A_KEY_OF_TESTS", "secret")
    assert "secret" not in only(findings(asked), Level.OK).what
    absent = msgspec.structs.replace(asked, prompts="absent.py")
    assert only(findings(absent), Level.FAIL).what.startswith(f"prompts: {tmp_path / 'absent.py'}")
    assert levels(findings(JudgeSettings(), "/absent/python")) == [("charts", Level.FAIL)]


def test_a_python_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_workspace, "ASK_SECONDS", 0.2)
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    found = only(runner_findings(tmp_path, RunnerSettings(engine="demo", python=str(program))), Level.WARN)
    assert "did not answer" in found.what


def test_a_read_only_workspace_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked of the system, not tried: root may write even where the mode says no.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    finding = next(health_workspace.examine_files(Catalogue(Settings(root=tmp_path))))
    assert (finding.name, finding.level) == ("workspace", Level.WARN)
    assert "read-only" in finding.what
