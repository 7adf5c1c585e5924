"""The one thread that drives vLLM, and the prompts that other threads have under way in it."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from hitui_runners.engines.base import TaskFailed, image_too_large
from hitui_runners.errors import EngineLost, words_of

CLOSE_SECONDS = 30.0
"""That a step may last which is under way."""


class VllmSteps:
    """Takes prompts at any time, and hands each output to the thread that asked."""

    def __init__(self, engine: Any) -> None:
        """`engine`: vLLM's LLMEngine, which from now on no other thread may use."""
        self._engine = engine
        self._numbers = map(str, itertools.count())
        self._asked: dict[str, Future[Any]] = {}
        """What is under way, by its number in vLLM."""
        self._arriving: SimpleQueue[tuple[Any, Any, Future[Any]] | None] = SimpleQueue()
        """None: there is to be an end."""
        self._lock = threading.Lock()
        self._lost: EngineLost | None = None
        """Why nothing can be asked any more."""
        self._thread = threading.Thread(target=self._work, name="vllm", daemon=True)
        self._thread.start()

    def ask(self, prompt: Any, sampling: Any) -> Any:
        """vLLM's finished RequestOutput. Raises TaskFailed where it refuses this prompt, EngineLost where it can
        answer none any more."""
        asked: Future[Any] = Future()
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._arriving.put((prompt, sampling, asked))
        return asked.result()

    def close(self) -> None:
        """Ends the thread; what is under way ends with an EngineLost where it was asked."""
        self._arriving.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        lost = EngineLost("vLLM is closed")
        try:
            while self._take_in():
                for output in self._engine.step():
                    if output.finished:
                        self._asked.pop(output.request_id).set_result(output)
        except BaseException as error:  # noqa: BLE001  (raised again where something was asked)
            lost = _lost(error)
        with self._lock:
            self._lost = lost
            self._engine = None
        for asked in self._asked.values():
            asked.set_exception(lost)
        while True:
            try:
                arrived = self._arriving.get(block=False)
            except Empty:
                return
            if arrived is not None:
                arrived[2].set_exception(lost)

    def _take_in(self) -> bool:
        """Gives vLLM what has arrived, and waits for the next where nothing is under way. False: it is the end."""
        while True:
            try:
                arrived = self._arriving.get(block=not self._asked)
            except Empty:
                return True
            if arrived is None:
                return False
            self._add(*arrived)

    def _add(self, prompt: Any, sampling: Any, asked: Future[Any]) -> None:
        number = next(self._numbers)
        self._asked[number] = asked
        try:
            (rendered,) = self._engine.renderer.render_cmpl([prompt])
            self._engine.add_request(number, rendered, sampling)
        except Exception as error:
            if type(error).__name__ == "EngineDeadError":
                raise
            del self._asked[number]
            asked.set_exception(_refused(error, prompt))


def _refused(error: Exception, prompt: Any) -> TaskFailed:
    if "encoder cache size" in str(error):
        # What was set aside for pictures holds none of so many pixels.
        return image_too_large(prompt["multi_modal_data"]["image"].size)
    return TaskFailed(f"vLLM: {words_of(error)}", unexpected=True)


def _lost(error: BaseException) -> EngineLost:
    found = EngineLost(
        f"vLLM ended: {type(error).__name__}: {words_of(error)}; nothing is lost, run again with --resume (where memory "
        "ran out, with a lower --gpu-memory-utilization or --max-pixels)"
    )
    found.__cause__ = error
    return found
