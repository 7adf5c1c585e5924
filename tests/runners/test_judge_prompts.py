"""What a judge is asked, and which score stands in its reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.judge_prompts import judge_prompts, score_in
from hitui_runners.realhitbench.scoring import JUDGED, judged_score

THEIRS = '''
Summary = """Rate it.
{Table}
Q {Question} R {Reference_Answer} U {User_Answer} {other}"""
Anomaly_Analysis = "No table. {Question} {Reference_Answer} {User_Answer}"
Eval_Prompt = {"Summary Analysis": Summary}
'''


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("It is good.\n[Score]: 85/100", 85.0),
        ("[Score]: 85.5 / 100.", 85.5),
        ("[Score]: 0/100", 0.0),
        ("Score: 100", 100.0),
        ("**[Score]:** **72/100**", 72.0),
        ("[ score ]：64 out of 100", 64.0),
        ("[Score]: 10/100, I thought at first.\n[Score]: 90/100 - three mistakes", 90.0),
        ("<think>Score: 20</think>[Score]: 60%", 60.0),
        ("", None),
        ("Eighty-five of a hundred.", None),
        ("[Score]: N/100", None),
        ("[Score]: 8/10", None),
        ("[Score]: 4 out of 5", None),
        ("[Score]: 80-90/100", None),
        ("[Score]: 101/100", None),
        ("[Score]: -5/100", None),
        ("[Score]: **8**/10", None),
        ("[Score]: **8** out of **10**", None),
        ("Score: 50/100, and better: Score: 1e2", None),
        ("[Score]: 97/100. I took the score: 3 points off for the units.", 97.0),
        ("Its score: 20 of mine.\n**[Score]**: `85`/100", 85.0),
        ("[Score] [85]/100", 85.0),
        ('{"score": 85}', 85.0),
        ("<think>Perhaps [Score]: 20/100", None),
        ("<think>a</think>[Score]: 80/100<think>or [Score]: 20/100", 80.0),
        ("the underscore: 5", None),
        ("[Final Score]: 85", 85.0),
        ("[Overall score]: 70/100", 70.0),
        ("[**Score**]: 85", 85.0),
        ("Score]: 85", 85.0),
        ("[score]" + " " * 300_000 + "x", None),
        ("score" + "]" * 300_000, None),
        ("[Score]: 85 to 90", None),
        ("[Score]: 85—90", None),
        ("[Score]: 85,5/100", None),
        ("[Score]: 50/100 at first, then\n[Score]: 7/10", None),
    ],
)
def test_the_last_score_of_a_reply_counts_where_it_is_one_of_a_hundred(
    reply: str, score: float | None
) -> None:
    assert score_in(reply) == score


@pytest.mark.parametrize(
    ("stored", "score"),
    [
        (85, 85.0),
        (0, 0.0),
        ("85", 85.0),
        (" 85.5 ", 85.5),
        ("N/A (no eval_api_key)", None),
        ("**85", 85.0),
        ("85/100", 85.0),
        ("85/10", None),
        ("about 85", None),
        (101, None),
        (-1, None),
        (True, None),
        (float("nan"), None),
        (None, None),
        ([85], None),
    ],
)
def test_a_stored_score_may_be_a_text(stored: object, score: float | None) -> None:
    assert judged_score(stored) == score


def test_our_prompts_hold_all_that_there_is_to_judge_by() -> None:
    prompts = judge_prompts(None)
    for sub_type in JUDGED:
        wording = prompts.wording(sub_type, "What {Table}?", "the {Question}", "mine, {Reference_Answer}")
        assert prompts.reads_table(sub_type)
        assert "{Table}" not in wording.before
        for part in ("What {Table}?", "the {Question}", "mine, {Reference_Answer}"):
            assert part in wording.after
        assert wording.after.endswith("[Score]: N/100")


def test_the_benchmarks_own_prompts_are_read_from_their_file_or_folder(tmp_path: Path) -> None:
    file = tmp_path / "gpt_eval_prompt.py"
    file.write_text(THEIRS)
    prompts = judge_prompts(tmp_path)
    wording = prompts.wording("Summary Analysis", "q", "r", "u")
    assert (wording.before, wording.after) == ("Rate it.\n", "\nQ q R r U u {other}")
    assert not prompts.reads_table("Anomaly Analysis")
    assert prompts.wording("Anomaly Analysis", "q", "r", "u").before == "No table. q r u"
    assert prompts == judge_prompts(file)

    file.write_text(THEIRS.replace("Rate it.", "Rate this."))
    digests = {judge_prompts(None).digest, prompts.digest, judge_prompts(file).digest}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "X = 1",
            "Eval_Prompt has nothing for 'Summary Analysis'; correct it, or name another file (`prompts` in hitui.toml)",
        ),
        (
            THEIRS.replace("U {User_Answer}", ""),
            "the prompt for 'Summary Analysis' lacks the field {User_Answer}",
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "judge.py"
    file.write_text(content)
    with pytest.raises(RunnerError) as refused:
        judge_prompts(file)
    assert str(refused.value).startswith(f"{file}: {said}")
