"""judge as a user runs it: by config, with the judge that `hitui.toml` names, and its verdicts in the scores."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runners.charts import running
from tests.tools.chat_server import Chat, ChatServer, chat_server
from tests.tools.eventually import eventually
from tests.tools.results import answer, failure, write_results, write_workspace
from tests.tools.sandbox import Sandbox

SUMMARY = {"QuestionType": "Data Analysis", "SubQType": "Summary Analysis", "Metrics": {}}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        made.act = lambda chat: chat.answer("[Score]: 60/100")
        yield made


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    workspace = write_workspace(tmp_path / "workspace")
    for table in (workspace / "data" / "latex").iterdir():
        table.write_text(r"a & b \\")
    folder = workspace / "result" / "g"
    write_results(
        folder / "text_html" / "results.json", [answer(1) | SUMMARY, answer(2), failure(3) | SUMMARY]
    )
    write_results(folder / "text_html_shard1" / "results.json", [answer(4) | SUMMARY])
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


def settings(server: ChatServer, more: str = "") -> str:
    return f"""
    [judge]
    base_url = "{server.url}"
    model = "gpt-4o"
    api_key_env = "JUDGE_KEY"
    concurrency = 2
    timeout = "1m"
    {more}
    """


def test_a_config_is_judged_with_all_its_folders_and_scored_with_the_verdicts(
    sandbox: Sandbox, server: ChatServer
) -> None:
    sandbox.settings(settings(server))
    sandbox.env["JUDGE_KEY"] = "sk-1"
    before = sandbox.json("ls")
    (report,) = sandbox.json("judge", "text_html")
    assert (report["name"], report["judged_now"], report["failed"]) == ("g/text_html", 2, [3])
    assert Path(report["verdicts_file"]) == sandbox.workspace / "result/g/text_html/verdicts.jsonl"
    assert server.chats[0].headers["Authorization"] == "Bearer sk-1"
    assert any(r"a & b \\" in chat.text for chat in server.chats)
    assert sandbox.json("ls") == before

    (scored,) = sandbox.json("score", "text_html")
    assert scored["aggregate_metrics"]["overall"]["GPT_EVAL"] == 40.0
    written = json.loads((sandbox.workspace / "result/g/text_html/scores.json").read_bytes())
    assert written["metrics"]["4"] == {"GPT_EVAL": 60.0}

    again = sandbox.hitui("judge", str(sandbox.workspace / "result" / "g" / "text_html"))
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0].endswith("text_html: 1 of 1 answer judged by gpt-4o, 0 of them now")
    assert len(server.chats) == 2


def test_another_wording_is_refused_until_it_is_asked_for(sandbox: Sandbox, server: ChatServer) -> None:
    sandbox.env["JUDGE_KEY"] = "sk-1"
    sandbox.settings(settings(server))
    sandbox.json("judge", "text_html")
    prompts = sandbox.workspace / "prompts.py"
    prompts.write_text('Summary_Analysis = Anomaly_Analysis = "{Question} {User_Answer}"')
    sandbox.settings(settings(server, 'prompts = "prompts.py"'))
    run = sandbox.hitui("judge", "text_html")
    assert run.returncode == 1
    assert "g/text_html: answers are judged already, 2 by gpt-4o (prompts " in run.stderr
    assert len(server.chats) == 2
    (report,) = sandbox.json("judge", "text_html", "--again")
    assert (report["judged_now"], server.chats[-1].text) == (2, "? [Final Answer]: 7")


def test_without_a_judge_a_key_or_a_config_there_is_one_line_and_nothing_is_asked(
    sandbox: Sandbox, server: ChatServer
) -> None:
    run = sandbox.hitui("judge", "text_html")
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"hitui: {sandbox.workspace}/hitui.toml: names no judge; write [judge] there")

    sandbox.settings(settings(server))
    run = sandbox.hitui("judge", "text_html")
    assert (run.returncode, run.stderr) == (
        1,
        "error: --api-key-env: the variable JUDGE_KEY is not set, or empty; set it to the server's key\n",
    )
    assert sandbox.hitui("judge", "text_htlm").returncode == 3
    assert server.chats == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_whatever_ends_the_command_ends_the_asking(
    number: int, status: int, sandbox: Sandbox, server: ChatServer
) -> None:
    sandbox.env["JUDGE_KEY"] = "sk-1"
    sandbox.settings(settings(server))
    asked = threading.Event()

    def act(chat: Chat) -> object:
        asked.set()
        return chat.hang()

    server.act = act
    command = [sys.executable, "-m", "hitui", "-w", str(sandbox.workspace), "judge", "text_html"]
    process = subprocess.Popen(command, env=sandbox.env, start_new_session=True)
    try:
        assert asked.wait(60)
        process.send_signal(number)
        assert process.wait(60) == status
        eventually(lambda: not running(f"--base-url={server.url}"))
    finally:
        process.kill()
