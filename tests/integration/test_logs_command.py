"""`hitui logs`: of jobs that run, have ended, or never wrote one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.commands import hitui, shown_on_a_terminal
from tests.tools.control import Control, control


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_a_piped_log_is_byte_for_byte_and_a_followed_one_ends_with_its_job(here: Control) -> None:
    here.ended(here.submit("fail"))
    plain = hitui(here, "logs", "1")
    assert plain.stdout == "\x1b[31mmodel.safetensors: no such file\x1b[0m\x07\n"
    assert hitui(here, "logs", "1", "-f").stdout == plain.stdout


def test_the_log_of_a_config_is_that_of_the_job_that_runs_or_of_the_last_one(here: Control) -> None:
    here.ended(here.submit("fail"))
    last = hitui(here, "logs", "g/fail")
    assert last.stdout == "\x1b[31mmodel.safetensors: no such file\x1b[0m\x07\n"
    assert last.stderr == "job 1 on g/fail, failed\n"
    assert hitui(here, "logs", "fail", "-f").stdout == last.stdout
    here.running(here.submit("hang"))
    hitui(here, "run", "fail", "--hold")
    assert hitui(here, "logs", "hang").stderr == "job 2 on g/hang, running\n"
    beside = hitui(here, "logs", "fail")
    assert beside.stderr == "job 1 on g/fail, failed (there is also job 3, queued)\n"
    assert beside.stdout == last.stdout


def test_to_a_terminal_a_log_can_do_nothing(here: Control) -> None:
    here.ended(here.submit("fail"))
    assert shown_on_a_terminal(here, "logs", "1") == b"model.safetensors: no such file\\x07\r\n"


def test_no_character_is_torn_where_a_long_log_is_read_in_pieces(here: Control) -> None:
    here.ended(here.submit("fail"))
    lines = ["é" * 500] * 200
    Path(here.job(1).log).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert shown_on_a_terminal(here, "logs", "1").decode().splitlines() == lines


def test_of_a_long_log_the_end_can_be_asked_for(here: Control) -> None:
    here.ended(here.submit("fail"))
    log = Path(here.job(1).log)
    log.write_text("".join(f"line {number}\n" for number in range(1, 5001)) + "unfinished")
    for more in ([], ["-f"]):
        assert hitui(here, "logs", "1", "-n", "2", *more).stdout == "line 5000\nunfinished"
    assert hitui(here, "logs", "1", "--last", "100000").stdout == log.read_text()
    log.write_text("")
    assert hitui(here, "logs", "1", "-n", "2").stdout == ""
    refused = hitui(here, "logs", "1", "-n", "0")
    assert refused.returncode == 2
    assert "a number of lines from 1 to 100000 is expected, not '0'" in refused.stderr


def test_a_job_that_never_had_a_log_says_how_it_stands(here: Control) -> None:
    here.ended(here.submit("answer"))
    here.ended(here.submit("answer"))
    for words in (["logs", "2"], ["logs", "2", "-f"]):
        done = hitui(here, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "hitui: job 2 has no log: succeeded (nothing to do: no task of it is pending)\n"
        )


def test_a_log_that_was_removed_is_said(here: Control) -> None:
    here.ended(here.submit("fail"))
    log = Path(here.job(1).log)
    log.unlink()
    for words in (["logs", "1"], ["logs", "1", "-f"]):
        done = hitui(here, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"hitui: {log}: the log of job 1 is not there any more\n"
