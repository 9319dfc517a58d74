"""CloudWatch's embedded metric format as its specification has it, written out as a check of one line.

After "Specification: Embedded metric format" of the Amazon CloudWatch Logs user guide.
"""

from __future__ import annotations

import json
from typing import Any

UNITS = {
    "Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits",
    "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Kilobytes/Second",
    "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second",
    "Gigabits/Second", "Terabits/Second", "Count/Second", "None",
}  # fmt: skip
DAY_MS = 86_400_000


def check_line(line: bytes, *, now_ms: int) -> dict[str, Any]:
    """Fail for a line that breaks a rule; the root object of one that does not."""
    assert b"\n" not in line
    assert len(line) <= 1 << 20, "a log event has at most 1 MB"
    root = json.loads(line)
    assert isinstance(root, dict), "the root is an object"
    metadata = root["_aws"]
    assert set(metadata) <= {"Timestamp", "CloudWatchMetrics", "LogGroupName", "LogStreamName"}
    stamp = metadata["Timestamp"]
    assert type(stamp) is int, "a timestamp is a whole number of milliseconds"
    assert now_ms - 14 * DAY_MS <= stamp <= now_ms + DAY_MS // 12
    directives = metadata["CloudWatchMetrics"]
    assert isinstance(directives, list)
    assert directives
    for directive in directives:
        _check_directive(directive, root)
    return root


def _check_directive(directive: dict[str, Any], root: dict[str, Any]) -> None:
    assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
    assert 1 <= len(directive["Namespace"]) <= 1_024
    assert directive["Dimensions"], "a directive has at least one set"
    for names in directive["Dimensions"]:
        assert isinstance(names, list)
        assert len(names) <= 30
        assert len(set(names)) == len(names)
        for name in names:
            assert isinstance(root[name], str), "the value of a dimension is a text at the root"
            assert 1 <= len(root[name]) <= 1_024
            assert 1 <= len(name) <= 250
            assert not name.startswith(":")
    assert 1 <= len(directive["Metrics"]) <= 100
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(set(names)) == len(names)
    for metric in directive["Metrics"]:
        assert set(metric) <= {"Name", "Unit", "StorageResolution"}
        assert 1 <= len(metric["Name"]) <= 1_024
        assert metric.get("Unit", "None") in UNITS
        value = root[metric["Name"]]
        for each in value if isinstance(value, list) else [value]:
            assert type(each) in (int, float), "the value of a metric is a number, or an array of them"
            assert abs(each) < 2**360
        assert not isinstance(value, list) or len(value) <= 100
