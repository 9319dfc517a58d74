"""JSON text to Python values, strictly by RFC 8259, for any bytes a stranger may send.

The standard library's C scanner does the work; this module takes away what it allows
beyond the RFC: NaN and Infinity, keys given twice, unpaired surrogates, other encodings
than UTF-8, nesting until the stack ends. Numbers that are not small plain integers stay
text (`Number`), so that a field of 64 bits loses no digit to a double on the way.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from trinity_core.errors import Reason, TrinityError


class Number(str):
    """A JSON number as it was written: with a fraction, an exponent, many digits, or minus zero."""

    __slots__ = ()


_INTEGER_DIGITS: Final = 18
"""Integers up to this many characters fit 64 bits whatever their digits are."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""One escape at a time: a surrogate pair, a surrogate alone (group 1), any other."""


def parse_json(data: bytes) -> Any:
    """The value that the text stands for: dict, list, str, int, Number, bool or None.

    Raises TrinityError INVALID_JSON, naming line and column, for anything that is not one
    JSON value in UTF-8.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid_json(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise invalid_json(f"{_lowered(error.msg)} at line {error.lineno}, column {error.colno}") from None
    except _NotAllowedError as error:
        raise invalid_json(str(error)) from None
    except RecursionError:
        raise invalid_json("nested too deeply") from None
    if b"\\u" in data and any(found[1] for found in _ESCAPE.finditer(data)):
        raise invalid_json("an escape is half of a surrogate pair without the other half")
    return value


def invalid_json(what: str) -> TrinityError:
    """INVALID_ARGUMENT for a body that is no JSON at all."""
    return TrinityError(Reason.INVALID_JSON, f"the body is not valid JSON: {what}")


def misfit(what: str) -> TrinityError:
    """INVALID_ARGUMENT for a body that is JSON of the wrong kind, or nested without end."""
    return TrinityError(Reason.INVALID_JSON, f"the body does not fit this call: {what}")


class _NotAllowedError(Exception):
    """Something that the scanner takes and the RFC does not."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotAllowedError(f"the name {twice[:64]!a} stands twice in one object")
    return found


def _integer(text: str) -> int | Number:
    return Number(text) if len(text) > _INTEGER_DIGITS or text == "-0" else int(text)


def _constant(text: str) -> Any:
    raise _NotAllowedError(f"{text} is not a JSON value; write it as a string where a field takes it")


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=Number, parse_constant=_constant
)
