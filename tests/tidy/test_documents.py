"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trinity_core.errors import TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_errors_is_the_table_of_errors() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \| (\d+) \| .+ \|$", page, re.MULTILINE)
    assert rows == [(reason.value, row.code.name, str(row.http_status)) for reason, row in TABLE.items()]


def test_every_decision_has_its_number_and_they_have_no_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def _pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", _pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", _pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_no_file_that_does_not_exist(page: Path) -> None:
    shelves = "clients|gen|mesh|services|gateway|feeds|cli|tests|benchmarks|docs|scripts|deploy|protos"
    for target in re.findall(rf"`((?:{shelves})/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / target).exists(), f"{page.name} names {target}"
