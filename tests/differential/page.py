"""The list of differences as a page: docs/envoy-differences.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from differential.compare import EVERYWHERE, HEADERS, Pair, Seen
from differential.rules import EVERYWHERE as EVERYWHERE_REASONS
from differential.rules import RULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "envoy-differences.md"
CELL = 72
ERROR = 400


def page(pairs: Sequence[Pair], version: str) -> str:
    """The whole page."""
    found = {pair.row.sentence: pair for pair in pairs}
    own = sum(bool(pair.differences - EVERYWHERE) for pair in pairs)
    parts = [
        "# Where the bridge differs from Envoy\n\n"
        "Made by `scripts/envoy_page.py`; do not edit.\n\n"
        "`tests/http/test_bridge_envoy.py` asks the bridge and the `grpc_json_transcoder` of "
        f"Envoy {version}, in front of one service, the same {len(pairs)} requests. It compares status, JSON, "
        f"media type, {', '.join(f'`{name}`' for name in HEADERS)}, whether the body is whole, and what the service "
        "was asked. Envoy is as strict as it can be set (`request_validation_options`, `convert_grpc_status`).\n\n"
        f"{own} of them differ for a reason below. Nothing else does: the test fails for a difference that is not "
        "here, and for one that no longer is. Random requests, drawn from what the contract allows and no reason "
        "below excepts, do not differ at all.\n\n"
        "## In every error\n\n",
    ]
    for facet, reason in EVERYWHERE_REASONS.items():
        count = sum(facet in pair.differences for pair in pairs)
        parts.append(f"- **{facet[0].upper()}{facet[1:]}** ({count} requests). {reason}\n")
    for rule in RULES:
        parts.append(f"\n## {rule.title}\n\n{rule.reason}\n\n| | request | Envoy | ours |\n|---|---|---|---|\n")
        parts.extend(_line(found[sentence]) for sentence in rule.sentences)
    return "".join(parts)


def faults(pairs: Sequence[Pair]) -> list[str]:
    """What the list says wrongly: differences that it does not have, and those that no longer are."""
    found = {pair.row.sentence: pair for pair in pairs}
    listed = [sentence for rule in RULES for sentence in rule.sentences]
    wrong = [f"is in two rules: {one}" for one in sorted(set(listed)) if listed.count(one) > 1]
    wrong += [f"is no row: {one}" for one in listed if one not in found]
    for sentence, pair in found.items():
        differences = pair.differences - EVERYWHERE
        if differences and sentence not in listed:
            wrong.append(f"differs in {', '.join(sorted(differences))}, and no rule says why: {shown(pair)}")
        if not differences and sentence in listed:
            wrong.append(f"differs no more: {sentence}")
    for facet in EVERYWHERE:
        if not any(facet in pair.differences for pair in pairs):
            wrong.append(f"is nowhere to be seen: {facet}")
    return wrong


def shown(pair: Pair) -> str:
    """Both answers in full."""
    return f"{pair.row.sentence}\n  {pair.row.ask}\n  Envoy {pair.envoy}\n  ours  {pair.ours}"


def _line(pair: Pair) -> str:
    ask = pair.row.ask
    request = f"{ask.method} {ask.target.decode('utf-8', 'backslashreplace')}"
    headers = [
        f"{name}: {value}" for name, value in ask.headers if (name, value) != ("content-type", "application/json")
    ]
    cells = [_code(request), *(_code(one) for one in headers)]
    if ask.body:
        cells.append(_code(ask.body.decode("utf-8", "backslashreplace")))
    envoy, ours = _outcome(pair.envoy, pair.ours), _outcome(pair.ours, pair.envoy)
    return f"| {pair.row.sentence} | {' '.join(cells)} | {envoy} | {ours} |\n"


def _outcome(seen: Seen, other: Seen) -> str:
    return "; ".join(_facts(seen, other))


def _facts(seen: Seen, other: Seen) -> Iterator[str]:
    yield str(seen.status)
    if seen.received != other.received:
        yield ", ".join(_code(one) for one in seen.received) or "the service is not asked"
    if seen.status >= ERROR or seen.status != other.status:
        for name, value in seen.headers.items():
            if other.headers.get(name) != value:
                yield _code(f"{name}: {value}")
        return
    if seen.media != other.media:
        yield _code(seen.media)
    if seen.body != other.body and seen.received == other.received:
        yield _code(_part(seen.body, other.body))
    if seen.whole != other.whole:
        yield "complete" if seen.whole else "breaks off"


def _part(body: Any, other: Any) -> str:
    """What of a body differs."""
    if isinstance(body, bytes):
        return body.decode("utf-8", "backslashreplace") or "nothing"
    if isinstance(body, dict) and isinstance(other, dict):
        return str({name: body[name] for name in body if name not in other or other[name] != body[name]})
    return str(body)


def _code(text: str) -> str:
    cut = text if len(text) <= CELL else f"{text[:CELL]}…"
    escaped = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)
    return "`` " + escaped.replace("|", "\\|") + " ``" if "`" in escaped else f"`{escaped.replace('|', chr(92) + '|')}`"
