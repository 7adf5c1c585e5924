"""The final answer in a reply."""

from __future__ import annotations

import pytest
from hitui_runners.realhitbench.answers import final_answer, without_open_thought


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("[Final Answer]: 41", "41"),
        ("First I look.\n[Final Answer]: Saltby, 63\n", "Saltby, 63"),
        ("**[final answer] :** 41", "41"),
        ("**Final Answer: 41**", "41"),
        ("The final answer is 41.", None),
        ("[Final Answer]: guess\nNo, wait.\n[Final Answer]: 63", "63"),
        ("[Final Answer]: 63\n[Final Answer]:", "63"),
        ("**Final Answer**: 41", "41"),
        ("[Final Answer]：\u3000５\u00a0", "５"),
        ("[Final Answer]: \u00a0", None),
        ("**[Final Answer]**: 41", "41"),
        ("**[Final Answer]** **41**", "41"),
        ("Final Answer: **41**", "41"),
        ("[Final Answer]: two\nlines", "two\nlines"),
        ("[Final Answer]:   ", None),
        ("The answer is 41.", None),
        ("", None),
        ("<think>[Final Answer]: 12 no, let me", None),
        ("<think>12?</think>[Final Answer]: 63", "63"),
        ("<think>12?</think>[Final Answer]: 63\n<think>[Final Answer]: or", "63"),
    ],
)
def test_what_follows_the_last_label_counts(reply: str, answer: str | None) -> None:
    assert final_answer(reply) == answer


CODE = "import pandas as pd\nimport matplotlib.pyplot as plt\nplt.show()"


@pytest.mark.parametrize(
    "reply",
    [
        f"[Final Answer]: {CODE}",
        f"[Final Answer]:\n```python\n{CODE}\n```",
        f"Here it is:\n```py\n{CODE}\n```\nIt draws bars.",
        f"```\nnot this\n```\n```\n{CODE}\n```",
        f"Sure.\n{CODE}",
        f"```python\n{CODE}",
        f"```python\n{CODE}\n```\n[Final Answer]: see above",
        f"[Final Answer]:\n```python\n{CODE}\n```\n**Final Answer**: the chart is drawn",
    ],
)
def test_a_program_is_found_with_and_without_label(reply: str) -> None:
    assert final_answer(reply, is_code=True) == CODE


def test_a_reply_without_a_program_has_no_answer() -> None:
    assert final_answer("I cannot draw. pandas would help.", is_code=True) is None


def test_what_follows_a_label_counts_where_no_program_is_to_be_found() -> None:
    assert final_answer("[Final Answer]: plt.show()", is_code=True) == "plt.show()"
    rest = "df.plot()\nplt.show()"
    assert final_answer(f"```python\nimport pandas as pd\n```\n[Final Answer]: {rest}", is_code=True) == rest
    assert final_answer("[Final Answer]: df.plot()\n[Final Answer]: plt.show()", is_code=True) == "plt.show()"


def test_a_long_reply_is_looked_through_once() -> None:
    """A server may send megabytes of one thing, which took minutes where each of them was followed to the end."""
    many = 1_000_000
    assert final_answer("[Final Answer]: 41 <think>" + "<think>" * many) == "41"
    assert (
        final_answer("<think>" * many + "</think> [Final Answer]: " + "* " * many + "41" + " *" * many)
        == "41"
    )
    assert without_open_thought("<think>a</think>b<think>c") == "<think>a</think>b"
