"""Random requests on which the two must agree, drawn from what their contract allows and no rule excepts.

Left out, as the table has them: empty segments, colons and dots in paths, scalars given twice, fields that
the path sets, numbers and booleans that only one of them reads, streams that fail.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from differential.rows import JSON, Row
from differential.wire import Ask

LETTERS = "abcXYZ019-._~ +&=?#%/\\\"'<>[]{}|^`é東😁\x7f\t"
ENUM = ("TERRAIN_UNSPECIFIED", "TERRAIN_LAND", "TERRAIN_SEA")
Draw = Callable[[random.Random], str]


def requests(count: int, seed: int) -> list[Row]:
    """So many requests, the same for the same seed."""
    rng = random.Random(seed)
    forms = (_path, _path, _query, _query, _query_beside_path, _body, _body, _body_field, _stream)
    return [Row(f"random request {number} of seed {seed}", rng.choice(forms)(rng)) for number in range(count)]


def _text(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(0, 8)))


def _integer(low: int, high: int) -> Draw:
    def draw(rng: random.Random) -> str:
        return str(rng.choice((low, high, max(0, low), rng.randint(low, high), rng.randint(0, 100))))

    return draw


def _real(rng: random.Random) -> str:
    return rng.choice(
        ("0", "-1.5", "NaN", "Infinity", "-Infinity", repr(rng.uniform(-1e9, 1e9)), f"{rng.random():.3e}")
    )


def _single(rng: random.Random) -> str:
    return str(rng.randint(-1_000, 1_000) / 8)


def _bytes(rng: random.Random) -> str:
    data = rng.randbytes(rng.randint(0, 9))
    encode = rng.choice((base64.b64encode, base64.urlsafe_b64encode))
    text = encode(data).decode()
    return text if rng.random() < 0.5 else text.rstrip("=")


def _time(rng: random.Random) -> str:
    day = f"{rng.randint(1, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    fraction = rng.choice(("", ".5", ".120", ".000001", ".123456789"))
    return f"{day}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{fraction}Z"


def _duration(rng: random.Random) -> str:
    return f"{rng.choice(('', '-'))}{rng.randint(0, 315_576_000_000)}{rng.choice(('', '.5', '.000001', '.123456789'))}s"


SCALARS: dict[str, Draw] = {
    "text": _text,
    "data": _bytes,
    "flag": lambda rng: rng.choice(("true", "false")),
    "small": _integer(-(2**31), 2**31 - 1),
    "big": _integer(-(2**63), 2**63 - 1),
    "usmall": _integer(0, 2**32 - 1),
    "ubig": _integer(0, 2**64 - 1),
    "zigzag": _integer(-(2**31), 2**31 - 1),
    "big_zigzag": _integer(-(2**63), 2**63 - 1),
    "fixed_small": _integer(0, 2**32 - 1),
    "fixed_big": _integer(0, 2**64 - 1),
    "signed_small": _integer(-(2**31), 2**31 - 1),
    "signed_big": _integer(-(2**63), 2**63 - 1),
    "single": _single,
    "real": _real,
    "terrain": lambda rng: rng.choice((*ENUM, "0", "1", "2")),
    "when": _time,
    "wait": _duration,
    "mask": lambda rng: rng.choice(("", "text", "text,inner.bigOrNone", "spot")),
    "small_or_none": _integer(-(2**31), 2**31 - 1),
    "big_or_none": _integer(-(2**63), 2**63 - 1),
    "ubig_or_none": _integer(0, 2**64 - 1),
    "flag_or_none": lambda rng: rng.choice(("true", "false")),
    "text_or_none": _text,
    "data_or_none": _bytes,
    "real_or_none": _real,
    "maybe": _integer(-(2**31), 2**31 - 1),
    "oddly_named": _text,
    "spot.label": _text,
    "spot.height": _integer(-(2**31), 2**31 - 1),
}
REPEATED: dict[str, Draw] = {
    "numbers": _integer(-(2**31), 2**31 - 1),
    "texts": _text,
    "terrains": lambda rng: rng.choice(ENUM),
    "reals": _real,
}
BARE = frozenset({"flag", "flag_or_none"})
"""Fields whose JSON is the text itself, without quotes."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _escaped(rng: random.Random, text: str, *, plus: bool) -> str:
    found = []
    for character in text:
        if plus and character == " " and rng.random() < 0.5:
            found.append("+")
        elif character.isascii() and character.isalnum() and rng.random() < 0.2:
            found.append(f"%{ord(character):02{rng.choice('xX')}}")
        else:
            found.append(quote(character, safe=""))
    return "".join(found)


def _parameters(rng: random.Random, taken: tuple[str, ...] = ()) -> str:
    pairs = []
    for name in rng.sample([name for name in SCALARS if name not in taken], k=rng.randint(0, 5)):
        pairs.append((name, SCALARS[name](rng)))
    for name in rng.sample(list(REPEATED), k=rng.randint(0, 2)):
        pairs += [(name, REPEATED[name](rng)) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        pairs.append((f"inner.inner.{rng.choice(('text', 'small'))}", str(rng.randint(0, 9))))
    if rng.random() < 0.1:
        pairs.append((rng.choice(("nobody", "inner.nobody", "small.x", "Text")), "1"))
    rng.shuffle(pairs)
    words = []
    for name, value in pairs:
        spelt = ".".join(_camel(step) for step in name.split(".")) if rng.random() < 0.5 else name
        words.append(f"{name if name == 'oddly_named' else spelt}={_escaped(rng, value, plus=True)}")
    return "&".join(words)


def _segment(rng: random.Random) -> str:
    text = ""
    while not text.strip("."):
        text = _text(rng)
    return _escaped(rng, text, plus=False)


def _path(rng: random.Random) -> Ask:
    one, two, three = _segment(rng), _segment(rng), _segment(rng)
    paths = (
        f"/v1/regions/{one}/places/{two}",
        f"/v1/regions/{one}/places/{two}:look",
        f"/v1/places/{one}x",
        f"/v1/places/{one}/star",
        f"/v1/any/{one}/{two}/{three}",
        f"/v1/mixed/a/{one}/b/{two}/{three}",
        f"/v1/trees/{one}/{two}:look",
        f"/v1/bare/{one}/end",
        f"/v1/nested/{one}/{rng.randint(-5, 5)}",
        f"/v1/typed/data/{quote(_bytes(rng), safe='') or 'AQID'}",
        f"/v1/typed/when/{_time(rng)}",
    )
    return Ask("GET", rng.choice(paths).encode())


def _query(rng: random.Random) -> Ask:
    return Ask("GET", f"/v1/echo?{_parameters(rng)}".encode())


def _query_beside_path(rng: random.Random) -> Ask:
    return Ask("GET", f"/v1/typed/none/{_segment(rng)}?{_parameters(rng, taken=('text_or_none',))}".encode())


def _scalar_json(rng: random.Random, name: str, draw: Draw) -> Any:
    text = draw(rng)
    if name in BARE:
        return text == "true"
    if name == "terrain" and text.isdigit():
        return int(text)
    if (
        rng.random() < 0.5
        and text.lstrip("-").isdigit()
        and name not in ("text", "label", "oddly_named", "text_or_none")
    ):
        return int(text) if name not in ("data", "data_or_none") else text
    return text


def _sheet(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in rng.sample(sorted(name for name in SCALARS if "." not in name), k=rng.randint(0, 6)):
        key = "@odd" if name == "oddly_named" else name if rng.random() < 0.3 else _camel(name)
        found[key] = None if rng.random() < 0.1 else _scalar_json(rng, name, SCALARS[name])
    for name in rng.sample(sorted(REPEATED), k=rng.randint(0, 2)):
        found[name] = [_scalar_json(rng, name, REPEATED[name]) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.3:
        found["labels"] = {_text(rng): _text(rng) for _ in range(rng.randint(0, 3))}
    if rng.random() < 0.3:
        found["flags"] = {str(rng.randint(-9, 9)): True for _ in range(rng.randint(0, 3))}
    if rng.random() < 0.3:
        found["spots"] = [{"label": _text(rng)} for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.2:
        found["places"] = {_text(rng): {"height": rng.randint(-5, 5)}}
    if rng.random() < 0.2:
        found[rng.choice(("choiceText", "choice_text"))] = _text(rng)
    if rng.random() < 0.2:
        found["object"] = {_text(rng): rng.choice((None, True, 1.5, _text(rng), [1, {"a": []}], {}))}
    if rng.random() < 0.2:
        found["value"] = rng.choice((None, False, -2.5, _text(rng), [None], {"a": {"b": 1}}))
    if depth < 3 and rng.random() < 0.4:
        found["inner"] = _sheet(rng, depth + 1)
    return found


def _written(rng: random.Random, value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1))).encode()


def _body(rng: random.Random) -> Ask:
    return Ask("POST", b"/v1/echo", _written(rng, _sheet(rng)), JSON, rng.random() < 0.2)


def _body_field(rng: random.Random) -> Ask:
    target = f"/v1/echo/{_segment(rng)}?{_parameters(rng, taken=('text',))}"
    if "inner" in target:
        target = target.partition("?")[0]
    return Ask("POST", target.encode(), _written(rng, _sheet(rng)), JSON)


def _stream(rng: random.Random) -> Ask:
    items = [{"value": rng.randint(0, 9), "unit": _text(rng)} for _ in range(rng.randint(0, 4))]
    return Ask("POST", rng.choice((b"/v1/sum", b"/v1/sum:running")), _written(rng, items), JSON)
