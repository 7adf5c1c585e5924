"""The program that runs stored Visualization answers again and compares the scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runners.charts import write_workbook
from tests.runners.conftest import RUNNERS, environment

HEAD = "import pandas as pd\nimport matplotlib.pyplot as plt\ntable = pd.read_excel('table.xlsx')\n"
DRAW = f"{HEAD}plt.plot(table['Ships'])\nplt.show()"
FAIL = f"{HEAD}plt.bar(table['Harbour'], [1, 2, 3])\nnothing\nplt.show()"


def result(identifier: int, prediction: str, ecr: Any, passed: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "FileName": "harbours",
        "QuestionType": "Visualization",
        "SubQType": "LineChart Generation",
        "Question": "Draw the ships.",
        "Reference": "[[41, 63, 7]]\n",
        "Prediction": prediction,
        "Metrics": {"ECR": ecr, "Pass": passed},
        "ProcessingTime": 1.0,
        **changes,
    }


def check(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(
                sys.executable,
                str(RUNNERS),
                "charts",
                "--check",
                str(folder),
                "--tables",
                str(folder / "tables"),
            ),
            *("--python", sys.executable, "--jobs", "1", *words),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    write_workbook(tmp_path / "tables" / "harbours.xlsx")
    return tmp_path


def store(path: Path, *results: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"results": results}))


def test_equal_scores_are_counted_and_a_broken_file_stops_nothing(folder: Path) -> None:
    (folder / "checkpoint.json").write_text('{"results": [{"id": 1')
    store(
        folder / "b" / "results.json",
        result(1, DRAW, True, True),
        result(2, FAIL, False, "None"),
        result(3, "[ERROR] OOM: Text too large (5 tokens)", False, "None"),
        result(4, "41", 1, 2, QuestionType="Fact Checking"),
        result(5, DRAW, True, False, Reference="[1]"),
        result(6, f"{HEAD}print(1)\nplt.show()", True, "False"),
    )
    done = check(folder)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{folder / 'b' / 'results.json'}: 4 equal",
        "4 answers",
        "     4  equal              stored and computed scores are the same",
    ]
    assert f"{folder / 'checkpoint.json'}: is half written" in done.stderr
    assert "charts run under bubblewrap with python" in done.stderr


def test_every_difference_has_its_class(folder: Path) -> None:
    (folder / "tables" / "pointer.xlsx").write_text("version https://git-lfs.github.com/spec/v1\n")
    store(
        folder / "results.json",
        result(1, DRAW, True, True),
        # Its line is still there when the next one draws, so that more is drawn than wanted.
        result(2, f"{HEAD}plt.plot([5])\nnothing\nplt.show()", False, "None"),
        result(3, DRAW, True, False),
        result(4, DRAW, False, "None", SubQType="PieChart Generation"),
        result(5, DRAW, True, True, FileName="absent"),
        result(6, DRAW, True, True, FileName="pointer"),
        result(7, DRAW, True, True, Metrics={}),
        result(8, DRAW, True, True, Metrics="none"),
    )
    done = check(folder, "--json")
    assert done.returncode == 1
    (file,) = json.loads(done.stdout)["files"]
    assert {one["id"]: one["class"] for one in file["differences"]} == {
        3: "left figure",
        4: "unexplained",
        5: "no workbook",
        6: "no workbook",
        7: "nothing stored",
        8: "nothing stored",
    }
    assert file["counts"]["equal"] == 2


def test_a_file_in_which_no_chart_could_be_read_says_so(folder: Path) -> None:
    store(folder / "results.json", result(1, DRAW, True, "False"))
    done = check(folder)
    assert done.returncode == 0
    assert "1 nothing read then" in done.stdout
    assert "1: nothing read then: stored {'ECR': True, 'Pass': 'False'}" in done.stdout


def test_without_answers_or_environment_one_line_says_so(folder: Path) -> None:
    done = check(folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Visualization answers are in these files" in done.stderr
    done = check(folder, "--python", "/bin/true")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: charts stay unscored: /bin/true: ")
