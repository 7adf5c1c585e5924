"""What the README and `docs` say of settings and of each other is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from hitui.settings.reading import load_settings, tomllib
from hitui.settings.values import SettingsFile

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def tables() -> dict[str, type[msgspec.Struct]]:
    """Heading of each table of the file, as the page writes it → what it may hold."""
    found = {}
    for name, kind in get_type_hints(SettingsFile).items():
        if get_origin(kind) is list:
            found[f"[[{name}]]"] = get_args(kind)[0]
        elif get_origin(kind) is dict:
            found[f"[{name}.{'GROUP' if name == 'matrix' else 'NAME'}]"] = get_args(kind)[1]
        else:
            found[f"[{name}]"] = kind
    return found


def sections(page: Path) -> dict[str, str]:
    """Heading of each second level → what stands below it."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading.strip("`"): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`, made of the headings as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("heading", "struct"), tables().items())
def test_every_key_stands_there_with_its_default(heading: str, struct: type[msgspec.Struct]) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|(.*?)\| ", sections(ROOT / "docs" / "settings.md")[heading], re.MULTILINE
    )
    assert sorted(key for key, _ in rows) == sorted(struct.__struct_fields__)
    defaults = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, default in rows:
        real: Any = defaults[key].default
        if defaults[key].default_factory is not msgspec.NODEFAULT:
            real = defaults[key].default_factory()
        if default.strip():
            written = tomllib.loads(f"it = {default.strip(' `')}")["it"]
            assert (list(real) if isinstance(real, tuple) else real) == written, key
        else:
            assert real is None or real is msgspec.NODEFAULT, key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_shown_of_a_settings_file_is_taken(page: Path, tmp_path: Path) -> None:
    for number, shown in enumerate(
        re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ):
        file = tmp_path / f"{number}.toml"
        file.write_text(shown, encoding="utf-8")
        assert load_settings(tmp_path, file) != load_settings(tmp_path, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), link
            assert not anchor or anchor in anchors(target), link
    assert all(
        (ROOT / "README.md").read_text(encoding="utf-8").count(f"docs/{page.name}") for page in PAGES[1:]
    )
