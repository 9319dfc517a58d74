"""Metrics of several processes as one text: each line gets a label that names its process. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LABEL: Final = "process"


def merged(texts: Mapping[str, bytes]) -> bytes:
    """One text of Prometheus' format, of the texts of processes by their names.

    Families come in the order of their names, each told of once. A line that is none is left out.
    """
    heads: dict[bytes, list[bytes]] = {}
    lines: dict[bytes, list[bytes]] = {}
    for process, text in texts.items():
        label = f'{LABEL}="{process}"'.encode("ascii", "replace")
        family = b""
        for line in text.splitlines():
            if line.startswith((b"# HELP ", b"# TYPE ")):
                family = line.split(b" ", 3)[2]
                head = heads.setdefault(family, [])
                if len(head) < _HEAD_LINES and line not in head:
                    head.append(line)
            elif line and not line.startswith(b"#"):
                lines.setdefault(family, []).append(_labelled(line, label))
    parts = [line for family in sorted(heads) for line in (*heads[family], *lines.get(family, ()))]
    return b"\n".join(parts) + b"\n" if parts else b""


_HEAD_LINES: Final = 2


def _labelled(line: bytes, label: bytes) -> bytes:
    name, brace, rest = line.partition(b"{")
    if brace:
        return name + b"{" + label + (b"" if rest.startswith(b"}") else b",") + rest
    name, _, rest = line.partition(b" ")
    return name + b"{" + label + b"} " + rest
