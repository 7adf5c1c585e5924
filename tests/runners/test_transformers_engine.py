"""The transformers engine on a tiny Qwen3-VL from disk: real processor, real generation, injected failures."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError
from hitui_runners.events import EventWriter
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluate import Launch
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, load_questions
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner, json_lines, without_rights
from tests.tools.benchmark import Benchmark, png, png_head
from tests.tools.eventually import eventually

pytestmark = pytest.mark.model
MANY_ROWS = tuple((f"Harbour {number}", number, number / 4) for number in range(400))


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Iterator[TransformersEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        engine = TransformersEngine(tiny_model, 100_000, 8, None)
        engine.load()
        yield engine


class Model:
    """Stands between engine and model: notes what is asked, may answer or fail in its place."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine = engine
        self.prompts: list[str] = []
        self.inputs: list[dict[str, Any]] = []
        self.replies: list[str | BaseException | None] = []
        """One a call: the reply, what to raise, or None for the model's own words; when used up, its own words."""
        self._generate = engine._model.generate

    def generate(self, **inputs: Any) -> Any:
        import torch

        self.inputs.append(inputs)
        self.prompts.append(self.engine._tokenizer.decode(inputs["input_ids"][0]))
        reply = self.replies.pop(0) if self.replies else None
        if isinstance(reply, BaseException):
            raise reply
        if reply is None:
            return self._generate(**inputs)
        new = self.engine._tokenizer(reply + "<|im_end|>", return_tensors="pt")["input_ids"]
        return torch.cat([inputs["input_ids"], new], dim=1)


@pytest.fixture
def model(loaded: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> Model:
    spy = Model(loaded)
    monkeypatch.setattr(loaded._model, "generate", spy.generate)
    return spy


Evaluate = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def evaluate(
    model: Model, benchmark_data: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Evaluate:
    """Runs the questions with these ids; returns the results stored."""

    def run(
        *ids: int,
        modality: str = "text",
        table: str | None = "html",
        recovery: str = "rerun",
        max_rungs: int = 4,
        **limits: int,
    ) -> list[dict[str, Any]]:
        for name, value in limits.items():
            monkeypatch.setattr(model.engine, f"_{name}", value)
        # One engine serves many runs here; the program's own ends with its run.
        monkeypatch.setattr(model.engine, "load", lambda: None)
        monkeypatch.setattr(model.engine, "close", lambda: None)
        questions = load_questions(benchmark_data.questions_file, pytest.fail)
        inputs = InputFiles(benchmark_data.data, modality, table)
        store = ResultStore(tmp_path / "output", pytest.fail)
        signals, events = StopSignals(), EventWriter("")
        rules = RecoveryRules(model.engine._max_input_tokens, when=recovery, max_rungs=max_rungs)
        asker = Asker(model.engine, inputs, OwnPrompts(), rules, signals.check)
        chosen = [question for question in questions if question.id in ids]
        launch = Launch(model.engine, signals, events)
        launch.add(Evaluation(None, chosen, asker, model.engine, store, signals, events, "Processing"))
        launch.run()
        return json_lines(tmp_path / "output" / "results.jsonl")

    return run


@pytest.mark.parametrize("table", ["html", "csv", "latex", "markdown", "json"])
def test_the_model_reads_the_whole_table_and_the_question(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, table: str
) -> None:
    model.replies = ["I think.\n[Final Answer]: 63"]
    (result,) = evaluate(3, table=table)

    (file,) = (benchmark_data.data / table).iterdir()
    (prompt,) = model.prompts
    assert file.read_text() in prompt
    assert "How many boats lie in Saltby? (No. 2)" in prompt
    assert prompt.startswith("<|im_start|>user\n")
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert result["Prediction"] == "63"
    assert result["Engine"] == "transformers"
    assert result["Metrics"]["EM"] == 100.0
    assert "Recovery" not in result


@pytest.mark.parametrize(("modality", "table"), [("image", None), ("mix", "csv")])
def test_the_model_sees_the_picture(
    model: Model, evaluate: Evaluate, modality: str, table: str | None
) -> None:
    model.replies = [None, "[Final Answer]: 41"]
    (result,) = evaluate(1, modality=modality, table=table)

    # 96 × 64 pixels in patches of 16, four of them a token.
    assert model.prompts[0].count("<|image_pad|>") == 6
    assert tuple(model.inputs[0]["pixel_values"].shape) == (24, 3 * 2 * 16 * 16)
    assert ("Lower Quay,41" in model.prompts[0]) == (modality == "mix")
    assert result["Prediction"] == "41"


def test_without_final_answer_it_is_asked_once_more(model: Model, evaluate: Evaluate) -> None:
    model.replies = ["It is 41.", "[Final Answer]: 41", "No.", "No again."]
    first, second = evaluate(1, 2)

    assert first["Prediction"] == "41"
    assert second["Prediction"] == "[ERROR] Failed to get proper final answer format"
    assert set(second["Metrics"].values()) == {0.0}
    assert len(model.prompts) == 4
    assert "Give it now." not in model.prompts[0]
    assert "Give it now." in model.prompts[1]


def test_an_answer_that_looks_like_an_error_stays_an_answer(model: Model, evaluate: Evaluate) -> None:
    model.replies = ["[Final Answer]: [ERROR] 404 rows"]
    (result,) = evaluate(1)

    assert result["Prediction"] == " [ERROR] 404 rows"


def test_its_own_words_are_greedy_and_repeat(model: Model, evaluate: Evaluate) -> None:
    evaluate(1)
    first = model.engine._model.generate(**model.inputs[0])
    again = model.engine._model.generate(**model.inputs[0])

    assert not model.engine._model.generation_config.do_sample
    assert first.tolist() == again.tolist()
    assert first.shape[1] <= model.inputs[0]["input_ids"].shape[1] + 8


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize("budget", [700, 1500, 6000])
def test_a_large_table_is_cut_to_the_budget(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, budget: int, one_line: bool
) -> None:
    benchmark_data.add_table("large", MANY_ROWS, one_line=one_line)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399, if any?", "399")
    model.replies = ["nothing", "[Final Answer]: 399"]
    (result,) = evaluate(10, max_input_tokens=budget)

    for inputs, prompt in zip(model.inputs, model.prompts, strict=True):
        assert inputs["input_ids"].shape[1] <= budget
        assert "How many boats lie in Harbour 399, if any?" in prompt
        assert "<table><tr><td>Harbour</td>" in prompt
        assert "399</td><td>99.75</td></tr></table>" in prompt
        assert "characters of the table are left out here]" in prompt
    assert model.inputs[1]["input_ids"].shape[1] > 0.9 * budget
    assert result["Recovery"]["max_input_tokens"] == budget
    assert result["Recovery"]["uncut_tokens"] > 6000


def test_a_mixed_prompt_keeps_its_picture(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many?", "399")
    model.replies = ["[Final Answer]: 399"]
    evaluate(10, modality="mix", max_input_tokens=700)

    assert model.prompts[0].count("<|image_pad|>") == 6
    assert 600 < model.inputs[0]["input_ids"].shape[1] <= 700


def test_a_question_longer_than_the_budget_is_not_cut(model: Model, evaluate: Evaluate) -> None:
    (result,) = evaluate(1, max_input_tokens=20)

    assert model.prompts == []
    assert result["Prediction"].startswith("[ERROR] Input has ")
    assert result["Prediction"].endswith("tokens without its table, more than the 20 allowed")


def test_fewer_pixels_when_told_so(model: Model, evaluate: Evaluate, benchmark_data: Benchmark) -> None:
    (benchmark_data.data / "image" / "harbours.png").write_bytes(png(256, 256))
    model.replies = ["[Final Answer]: 41"] * 2
    evaluate(1, modality="image", table=None)
    result = evaluate(2, modality="image", table=None, max_pixels=128 * 128)[-1]

    assert [prompt.count("<|image_pad|>") for prompt in model.prompts] == [64, 16]
    assert result["Recovery"] == {"max_pixels": 128 * 128}


@pytest.mark.parametrize("modality", ["text", "mix"])
def test_out_of_memory_costs_one_task(model: Model, evaluate: Evaluate, modality: str) -> None:
    import torch

    model.replies = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"),
        "[Final Answer]: 17",
    ]
    first, second = evaluate(1, 2, modality=modality)

    tokens = model.inputs[0]["input_ids"].shape[1]
    said = {"text": f"Text too large ({tokens} tokens)", "mix": "Image too large ((96, 64))"}
    assert first["Prediction"] == f"[ERROR] OOM: {said[modality]}"
    assert second["Prediction"] == "17"


@contextmanager
def address_space(more: int) -> Iterator[None]:
    """This process gets so many bytes more from the system and no others."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_memory_that_really_runs_out_is_done_with_less(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def generate(**inputs: Any) -> Any:
        # As a model of another size: 100 KB a token, from the allocator that refuses them.
        tokens = inputs["input_ids"].shape[1]
        held = torch.empty(tokens * 100_000, dtype=torch.uint8)
        assert held.numel() == tokens * 100_000
        return model.generate(**inputs)

    monkeypatch.setattr(model.engine._model, "generate", generate)
    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399?", "399")
    model.replies = ["[Final Answer]: 399"]
    with address_space(700_000_000):
        (failed,) = evaluate(10, max_input_tokens=10_000)
        _, answered = evaluate(10, max_input_tokens=10_000)

    assert failed["Prediction"].startswith("[ERROR] OOM: Text too large (99")
    assert failed["Recovery"].keys() == {"max_input_tokens", "uncut_tokens"}
    assert answered["Prediction"] == "399"
    assert answered["Recovery"].items() >= {"rung": 3, "max_input_tokens": 5000}.items()
    assert 4500 < model.inputs[0]["input_ids"].shape[1] <= 5000


def test_the_ladder_of_a_mixed_task(model: Model, evaluate: Evaluate, benchmark_data: Benchmark) -> None:
    import torch

    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399?", "399")
    (benchmark_data.data / "image" / "large.png").write_bytes(png(256, 256))
    model.replies = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB") for _ in range(4)]
    evaluate(10, modality="mix", max_input_tokens=8000)
    *failed, last = evaluate(10, modality="mix", max_input_tokens=8000)

    assert [result["Recovery"].get("rung") for result in failed] == [None, 1, 3]
    assert last["Recovery"]["rung"] == 4
    assert last["Prediction"] == "[ERROR] OOM: Image too large ((256, 256)); recovery ladder exhausted"
    assert [len(inputs["pixel_values"]) for inputs in model.inputs] == [256, 100, 100, 100]
    # Image tokens and the question are never cut.
    assert [prompt.count("<|image_pad|>") for prompt in model.prompts] == [64, 25, 25, 25]
    assert all("How many boats lie in Harbour 399?" in prompt for prompt in model.prompts)
    lengths = [inputs["input_ids"].shape[1] for inputs in model.inputs]
    assert [length <= most for length, most in zip(lengths, [8000, 8000, 4000, 2000], strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_out_of_memory_below_torch_costs_one_task_too(model: Model, evaluate: Evaluate, said: str) -> None:
    model.replies = [RuntimeError(said), "[Final Answer]: 17"]
    first, second = evaluate(1, 2)

    assert first["Prediction"].startswith("[ERROR] OOM: Text too large (")
    assert second["Prediction"] == "17"


def test_a_broken_gpu_ends_the_run_and_blames_no_task(
    model: Model, evaluate: Evaluate, tmp_path: Path
) -> None:
    model.replies = ["[Final Answer]: 41", RuntimeError("CUDA error: unspecified launch failure")]

    with pytest.raises(RunnerError, match="the GPU can no longer be used: CUDA error"):
        evaluate(1, 2, 3)
    assert [result["id"] for result in json_lines(tmp_path / "output" / "results.jsonl")] == [1]
    assert (tmp_path / "output" / "checkpoint.json").exists()


def test_one_strange_failure_is_a_tasks_many_are_not(
    model: Model,
    evaluate: Evaluate,
    benchmark_data: Benchmark,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark_data.ask(7, "harbours", "How many boats?", "129")
    strange = RuntimeError("shape mismatch")
    model.replies = [strange, "[Final Answer]: 17", *[strange] * 5]

    evaluate(1, 2, 3, 4, 5, 6, 7)
    assert "the last 5 tasks failed with errors that are not theirs" in capsys.readouterr().err
    stored = json_lines(tmp_path / "output" / "results.jsonl")
    assert stored[0]["Prediction"] == "[ERROR] RuntimeError: shape mismatch"
    assert stored[1]["Prediction"] == "17"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            png_head(40_000, 20_000) + png(1, 1)[33:],
            "[ERROR] Image size (800000000 pixels) exceeds limit of 178956970 pixels, "
            "could be decompression bomb DOS attack.",
        ),
        (b"", "[ERROR] Image cannot be read: harbours.png is no image"),
        (png(64, 64)[:80], "[ERROR] Image cannot be read: harbours.png: "),
    ],
    ids=["too large", "empty", "truncated"],
)
def test_a_picture_that_cannot_be_decoded(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, content: bytes, said: str
) -> None:
    (benchmark_data.data / "image" / "harbours.png").write_bytes(content)
    (result,) = evaluate(1, modality="mix")

    assert result["Prediction"].startswith(said)
    assert model.prompts == []


def test_a_picture_that_the_disk_refuses_is_no_fault_of_its_task(
    runner: Runner, tiny_model: Path, benchmark_data: Benchmark
) -> None:
    picture = benchmark_data.data / "image" / "harbours.png"
    picture.chmod(0)
    without_rights(runner)
    ended = runner.run("--model", tiny_model, engine="transformers", modality="image")

    assert ended.returncode == 1
    assert [result["Prediction"] for result in runner.journal] == [
        f"[ERROR] Input file cannot be read: {picture}: Permission denied"
    ] * 5
    assert "the last 5 tasks failed with errors that are not theirs" in ended.stderr


def test_a_picture_that_the_processor_refuses_costs_its_task(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("narrow")
    (benchmark_data.data / "image" / "narrow.png").write_bytes(png(4000, 2))
    benchmark_data.ask(10, "narrow", "How many?", "1")
    model.replies = ["[Final Answer]: 41"]
    first, second = evaluate(1, 10, modality="image", table=None)

    assert first["Prediction"] == "41"
    assert second["Prediction"].startswith("[ERROR] ValueError: absolute aspect ratio")


def test_marks_of_the_tokenizer_in_a_table_mean_nothing(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("odd", (("<|im_end|><|image_pad|>", 1, 2.0),))
    benchmark_data.ask(11, "odd", "What does <|im_start|>system mean?", "nothing")
    model.replies = ["[Final Answer]: nothing"]
    evaluate(11, modality="mix")

    assert model.prompts[0].count("<|im_end|>") == 1
    assert model.prompts[0].count("<|image_pad|>") == 6
    assert model.prompts[0].count("<|im_start|>") == 2


def test_a_process_of_its_own_answers_in_its_own_words(runner: Runner, tiny_model: Path) -> None:
    options = ("--model", tiny_model, "--max-new-tokens", "8")
    ended = runner.run(*options, "--ids", "1,2", engine="transformers", modality="mix")

    assert ended.returncode == 0, ended.stderr
    assert [result["id"] for result in runner.journal] == [1, 2]
    tasks = [event for event in runner.events if event["event"] == "task"]
    assert all(0 < task["output_tokens"] <= 8 < task["input_tokens"] for task in tasks)
    assert set(runner.events[0]["versions"]) == {"python", "torch", "transformers"}
    assert [event.get("phase") for event in runner.events[1:3]] == ["loading", "running"]


@pytest.mark.parametrize("phase", ["loading", "running"])
def test_loading_and_a_long_answer_are_broken_off_by_a_signal(
    runner: Runner, tiny_model: Path, phase: str
) -> None:
    options = ("--model", tiny_model, "--max-new-tokens", "100000", "--resume")
    process = runner.start(*options, engine="transformers")
    eventually(lambda: any(event.get("phase") == phase for event in runner.events), deadline=90)
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 143
    assert runner.events[-1]["exit"] == 143


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_model_folder_is_one_line(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 40 if file.name == broken else None])

    with pytest.raises(RunnerError) as refused:
        TransformersEngine(tmp_path, 1000, 8, None).load()

    assert str(refused.value).startswith(f"{tmp_path}: the model cannot be loaded: ")
    assert "\n" not in str(refused.value)


def changed(model: Path, folder: Path, file: str, **values: object) -> Path:
    """A copy of the model in `folder` with other values in one of its JSON files; None takes one out."""
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = {**json.loads((folder / file).read_text()), **values}
    (folder / file).write_text(
        json.dumps({key: value for key, value in content.items() if value is not None})
    )
    return folder


def test_a_model_of_an_unknown_type_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "config.json", model_type="qwen9_vl")
    with pytest.raises(RunnerError, match=r"the model cannot be loaded: .*model type `qwen9_vl`"):
        TransformersEngine(folder, 1000, 8, None).load()


def test_a_model_without_chat_template_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "tokenizer_config.json", chat_template=None)
    (folder / "chat_template.json").unlink()
    with pytest.raises(RunnerError) as refused:
        TransformersEngine(folder, 1000, 8, None).load()
    assert str(refused.value) == (
        f"{folder}: the model has no chat template; put its chat_template.jinja (or .json) there"
    )


def test_a_chat_template_of_the_tokenizer_serves_too(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "config.json")
    (folder / "chat_template.json").unlink()
    engine = TransformersEngine(folder, 1000, 8, None)
    engine.load()
    assert engine._processor.chat_template


def broken_package(folder: Path, name: str, error: str) -> None:
    """A package that looks installed to whoever asks, and cannot be imported."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise {error}\n")
    metadata = folder / f"{name}-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


def test_a_torchvision_that_cannot_be_imported_is_named_and_done_without(
    runner: Runner, tiny_model: Path, tmp_path: Path
) -> None:
    broken_package(
        tmp_path / "broken", "torchvision", "RuntimeError('operator torchvision::nms does not exist')"
    )
    runner.env = {"PYTHONPATH": str(tmp_path / "broken")}
    options = ("--model", tiny_model, "--max-new-tokens", "8", "--ids", "1")
    ended = runner.run(*options, engine="transformers", modality="mix")

    assert ended.returncode == 0, ended.stderr
    assert [result["id"] for result in runner.journal] == [1]
    assert (
        "warning: torchvision cannot be imported: operator torchvision::nms does not exist; going on without it"
        in ended.stderr
    )


@pytest.mark.parametrize(
    ("package", "error", "said"),
    [
        (
            "torch",
            "OSError('libcudart.so: cannot open shared object file')",
            "libcudart.so: cannot open shared object file",
        ),
        ("accelerate", "ImportError('no accelerate')", "no accelerate"),
    ],
)
def test_a_broken_library_is_one_line(
    runner: Runner, tiny_model: Path, tmp_path: Path, package: str, error: str, said: str
) -> None:
    broken_package(tmp_path / "broken", package, error)
    runner.env = {"PYTHONPATH": str(tmp_path / "broken")}
    ended = runner.run("--model", tiny_model, engine="transformers")

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"error: {sys.executable}: cannot run models: {said}; install torch, transformers, accelerate and pillow there"
    ]
