"""The processor of a vision-language model, also where torchvision is not installed, or is broken.

`AutoProcessor` builds the part for videos too, which needs torchvision; nothing here has videos. Where that
fails, the model's own processor class is built without it, and pictures are prepared by Pillow.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from hitui_runners.errors import SetupError, words_of
from hitui_runners.output import warn

PARTS = {"self", "args", "kwargs", "image_processor", "tokenizer", "video_processor", "chat_template"}
"""Of what a processor is made, each loaded by itself."""
NO_OWN_CODE = {"trust_remote_code": False}
"""For whatever transformers reads of a model: where nothing is said, it asks at the terminal whether to run the code
that the model brings."""


def hide_broken_torchvision() -> None:
    """Makes a torchvision that cannot be imported look as if it were not installed. Call it before transformers
    is imported, which takes any that is installed for one that works.

    The usual one was built for another torch: `operator torchvision::nms does not exist`.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return
        _hide_torchvision(error)
    except Exception as error:  # noqa: BLE001  (whatever native libraries raise)
        _hide_torchvision(error)


def _hide_torchvision(error: Exception) -> None:
    warn(
        f"torchvision cannot be imported: {words_of(error, 200)}; going on without it, install the one "
        "that belongs to this torch"
    )
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # how Python marks what cannot be imported


def load_processor(folder: Path) -> Any:
    """The processor of the model in `folder`, with a chat template. Raises SetupError where it has none, is of no model
    with pictures, or knows no words, and else what transformers raises."""
    processor = _processor(folder)
    if not hasattr(processor, "image_processor"):
        raise SetupError(
            f"{folder}: the model takes no pictures: it has no image processor; a vision-language model is expected"
        )
    # Where only the tokenizer has one, a processor does not look there.
    tokenizer = getattr(processor, "tokenizer", processor)
    processor.chat_template = processor.chat_template or tokenizer.chat_template
    if not processor.chat_template:
        raise SetupError(
            f"{folder}: the model has no chat template; put its chat_template.jinja (or .json) there"
        )
    if not tokenizer("41", add_special_tokens=False)["input_ids"]:
        raise SetupError(
            f"{folder}: the model's tokenizer makes nothing of a text, as where its files are not there; copy or download "
            "the model again"
        )
    return processor


def _processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, **NO_OWN_CODE)
    except (ImportError, TypeError) as error:
        # Versions before 5.5 fail with a TypeError instead, on the video class that they set to None.
        if "orchvision" not in str(error) and "NoneType" not in str(error):
            raise
    return _without_video(folder)


def _without_video(folder: Path) -> Any:
    from transformers import AutoTokenizer

    # Not the one of the package itself: in 5.5 that asks for torchvision before it looks for what works without.
    images = importlib.import_module("transformers.models.auto.image_processing_auto").AutoImageProcessor
    base = _processor_class(folder)

    class WithoutVideo(base):  # type: ignore[misc, valid-type]
        attributes = ("image_processor", "tokenizer")

        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(cls.attributes)

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return (
                None if argument is None else super().check_argument_for_proper_class(argument_name, argument)
            )

    return WithoutVideo(
        image_processor=images.from_pretrained(folder, **NO_OWN_CODE),
        tokenizer=AutoTokenizer.from_pretrained(folder, **NO_OWN_CODE),
        chat_template=_chat_template(folder),
        **_settings(folder, base),
    )


def _processor_class(folder: Path) -> Any:
    from transformers import AutoConfig

    # Raises for a type that this version does not know, with words that say so.
    model_type = AutoConfig.from_pretrained(folder, **NO_OWN_CODE).model_type
    names = importlib.import_module("transformers.models.auto.processing_auto").PROCESSOR_MAPPING_NAMES
    if model_type not in names:
        raise ValueError(f"models of the type {model_type} have no processor for text and images")
    return getattr(importlib.import_module("transformers"), names[model_type])


def _settings(folder: Path, of: Any) -> dict[str, Any]:
    """What the folder says of a processor of this class beside its parts, as how many tokens a piece of a picture has."""
    try:
        said = json.loads((folder / "processor_config.json").read_bytes())
    except FileNotFoundError:
        return {}
    taken = inspect.signature(of.__init__).parameters.keys() - PARTS
    return {name: value for name, value in said.items() if name in taken}


def _chat_template(folder: Path) -> str | None:
    """Processors keep theirs in a file of its own, older ones in JSON; None where only the tokenizer has one."""
    plain, wrapped = folder / "chat_template.jinja", folder / "chat_template.json"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    if wrapped.is_file():
        template = json.loads(wrapped.read_text(encoding="utf-8")).get("chat_template")
        return template if isinstance(template, str) else None
    return None
