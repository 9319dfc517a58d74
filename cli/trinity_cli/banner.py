"""What is said once a mesh serves: where, and a line to try it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trinity_cli.edge import edge_lines


def banner(facts: Mapping[str, Any], seconds: float) -> str:
    """The text for the facts of a ready file."""
    lines = [f"trinity: ready in {seconds:.1f} s", ""]
    if facts["sandbox"]:
        lines += ["  SIMULATED PRICES: every answer says so; --venues live uses the real exchanges", ""]
    key = facts.get("key", "$KEY")
    tries = []
    if "http" in facts:
        lines.append(f"  prices    HTTP http://{facts['http']}  UDP {facts['udp']}  (http://{facts['http']}/docs)")
        tries.append(f"  curl -H 'Authorization: Bearer {key}' 'http://{facts['http']}/price?asset=BTC'")
    if "reports" in facts:
        lines.append(f"  reports   HTTP http://{facts['reports']}  UDP {facts['udp_reports']}")
        tries.append(f"  curl -H 'Authorization: Bearer {key}' 'http://{facts['reports']}/reports/summary'")
    for name, address in facts["grpc"].items():
        lines.append(f"  gRPC      {name:<8} {address}")
    if "grpc_public" in facts:
        lines.append(f"  gRPC      with a key, prices: {facts['grpc_public']}")
    if facts.get("metrics"):
        lines.append(f"  metrics   http://{facts['metrics']}/metrics  (`trinity top` shows them)")
    if "edge" in facts:
        where, more = edge_lines(facts["edge"], key)
        lines += where
        tries += more
    if tries:
        lines += ["", *tries]
        if "key" not in facts:
            lines += ["", "  `trinity key create --associate ID` makes a key."]
    return "\n".join([*lines, "", "  Ctrl-C stops everything."])
