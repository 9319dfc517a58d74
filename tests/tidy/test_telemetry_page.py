"""docs/telemetry.md lists the metrics that there are, and every one that there is."""

from __future__ import annotations

import re
from pathlib import Path

from trinity_mesh.telemetry.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_metrics_is_the_catalogue_of_metrics() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    rows = re.findall(r"^\| `([a-z_0-9.]+)` \| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    wanted = [
        (
            metric.name,
            metric.series,
            str(metric.kind),
            f"`{metric.unit}`" if metric.unit else "",
            ", ".join(f"`{label}`" for label in metric.label_names),
            metric.text,
        )
        for metric in CATALOGUE
    ]
    assert rows == wanted


def test_every_metric_of_the_catalogue_is_told_by_something() -> None:
    source = "\n".join(
        path.read_text()
        for shelf in ("mesh", "services", "gateway", "feeds", "cli")
        for path in (ROOT / shelf).rglob("*.py")
        if path.name != "catalogue.py"
    )
    names = re.findall(
        r"^([A-Z_0-9]+): Final = _(?:counter|gauge|histogram)\(",
        (ROOT / "mesh/trinity_mesh/telemetry/catalogue.py").read_text(),
        re.MULTILINE,
    )
    assert len(names) == len(CATALOGUE)
    assert [name for name in names if f"catalogue.{name}" not in source] == []


def test_no_two_metrics_have_the_same_name_in_prometheus() -> None:
    assert len({metric.family for metric in CATALOGUE}) == len(CATALOGUE)
