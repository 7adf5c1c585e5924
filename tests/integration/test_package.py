"""What `pip install .` gives: the dashboard and the runner's files, without a model library."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: setuptools leaves build/ and egg-info where it builds.
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        # What builds is in the environment of the tests already; fetching and unpacking it again says nothing more.
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("hitui-*.whl"))


def test_it_holds_all_modules_and_styles(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in (("hitui", ROOT / "hitui"), ("hitui_runners", ROOT / "runners")):
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".tcss") or path.name == "py.typed":
                assert f"{package}/{path.relative_to(folder)}" in names


def test_it_asks_for_no_model_library_unless_told_to(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    plain = [line for line in requirements if "extra ==" not in line]
    assert any(line.startswith("textual") for line in plain)
    assert not any(line.startswith(("torch", "transformers", "accelerate")) for line in plain)
    assert any(line.startswith("torch") and "runners" in line for line in requirements)


def test_it_runs_from_where_it_was_installed(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_STATE_HOME": str(tmp_path / "state")}
    code = "import hitui, sys; from hitui.cli import main; print(hitui.__file__); sys.exit(main(['ls', '--json']))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    where, *listing = run.stdout.splitlines()
    assert where.startswith(str(tmp_path / "site"))
    assert "\n".join(listing).strip() == "[]"
