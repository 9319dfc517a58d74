"""Match a raw path to a template: literals win over `*`, `*` over `**`, and nothing is decoded too early.

The path must be the one the client sent (ASGI `raw_path`): decoded first, "a%2Fb" and "a/b"
could not be told apart. A colon in the last segment begins a verb only when some template
has that verb; "%3A" never does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import unquote

from trinity_core.errors import Reason, TrinityError
from trinity_http.template import Template, TemplateError, Variable, Wild

T = TypeVar("T")

ANY_METHOD: Final = "*"


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A template and method that match."""

    target: T
    values: tuple[str, ...]
    """Decoded value of each of the template's variables, in their order."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Nothing matches."""

    allow: tuple[str, ...]
    """Methods that the path does have, sorted; empty where no template matches the path at all."""


class _Node(Generic[T]):
    __slots__ = ("ends", "literals", "one", "rests")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.one: _Node[T] | None = None
        self.ends: dict[str, _Methods[T]] = {}
        """By verb: what ends here."""
        self.rests: dict[str, _Methods[T]] = {}
        """By verb: what goes on with `**` from here."""


class _Methods(dict[str, tuple[Template, T]]):
    """Of one template shape: what each HTTP method leads to."""


class Router(Generic[T]):
    """All templates of one gateway."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._verbs: set[str] = set()
        self._literal: dict[tuple[str, bytes], Found[T]] = {}
        self._sources: list[str] = []

    def add(self, template: Template, method: str, target: T) -> None:
        """Add a template for an HTTP method ("*" for any).

        Raises TemplateError when another template of the same shape has that method.
        """
        node = self._root
        segments = template.segments
        rest = segments[-1] is Wild.REST
        for segment in segments[:-1] if rest else segments:
            if isinstance(segment, Wild):
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.literals.setdefault(segment, _Node())
        methods = (node.rests if rest else node.ends).setdefault(template.verb, _Methods())
        if method in methods:
            raise TemplateError(f"{method} {template.source} and {methods[method][0].source} match the same paths")
        methods[method] = (template, target)
        self._verbs.add(template.verb)
        self._sources.append(template.source)
        if _PLAIN.fullmatch(template.source):
            self._literal[method, template.source.encode("ascii")] = Found(target, ())

    def find(self, method: str, raw_path: bytes) -> Found[T] | Missed:
        """What an HTTP method and a raw path lead to; HEAD leads where GET does unless it has its own.

        Raises TrinityError INVALID_REQUEST (400) for a path whose escapes are broken.
        """
        found = self._literal.get((method, raw_path))
        if found is not None:
            return found
        path = _text(raw_path)
        if path[:1] != "/":
            return Missed(())
        wanted = (method, "GET", ANY_METHOD) if method == "HEAD" else (method, ANY_METHOD)
        missed: list[_Methods[T]] = []
        for methods, segments in self._candidates(path):
            for name in wanted:
                if name in methods:
                    template, target = methods[name]
                    return Found(target, tuple(_value(variable, segments) for variable in template.variables))
            missed.append(methods)
        return Missed(_allowed(missed))

    def allowed(self, raw_path: bytes) -> tuple[str, ...]:
        """Every method that a path takes, sorted; empty where no template matches it. Raises as `find` does."""
        path = _text(raw_path)
        return _allowed([methods for methods, _ in self._candidates(path)]) if path[:1] == "/" else ()

    def nearest(self, raw_path: bytes) -> str | None:
        """The template that looks most like a path that matches none."""
        wanted = raw_path[:_NEAREST_LENGTH_MAX].decode("latin-1")
        near = difflib.get_close_matches(wanted, self._sources, n=1, cutoff=_NEAREST_CUTOFF)
        return near[0] if near else None

    def _candidates(self, path: str) -> Iterator[tuple[_Methods[T], list[str]]]:
        """Every template shape that matches, best first, with the raw segments it matched."""
        segments = path[1:].split("/")
        stem, _, verb = segments[-1].rpartition(":")
        if verb and (decoded := unquote(verb)) in self._verbs:
            cut = [*segments[:-1], stem]
            for methods in _walk(self._root, [_decoded(segment) for segment in cut], 0, decoded):
                yield methods, cut
        for methods in _walk(self._root, [_decoded(segment) for segment in segments], 0, ""):
            yield methods, segments


def _walk(node: _Node[T], segments: list[str], at: int, verb: str) -> Iterator[_Methods[T]]:
    if at == len(segments):
        if verb in node.ends:
            yield node.ends[verb]
    else:
        segment = segments[at]
        literal = node.literals.get(segment)
        if literal is not None:
            yield from _walk(literal, segments, at + 1, verb)
        if node.one is not None and segment:
            yield from _walk(node.one, segments, at + 1, verb)
    if verb in node.rests:
        yield node.rests[verb]


def _allowed(shapes: list[_Methods[T]]) -> tuple[str, ...]:
    names = {name for methods in shapes for name in methods}
    if ANY_METHOD in names:
        names = (names - {ANY_METHOD}) | {"GET", "POST", "PUT", "PATCH", "DELETE"}
    if "GET" in names:
        names.add("HEAD")
    if names:
        names.add("OPTIONS")
    return tuple(sorted(names))


def missed_error(missed: Missed, router: Router[T], method: str, raw_path: bytes) -> TrinityError:
    """The error for what no template matches: METHOD_NOT_ALLOWED or UNKNOWN_PATH with the nearest."""
    path = raw_path[:_NEAREST_LENGTH_MAX].decode("ascii", "backslashreplace")
    if missed.allow:
        allow = ", ".join(missed.allow)
        return TrinityError(
            Reason.METHOD_NOT_ALLOWED, f"{path} does not take {method[:16]}; it takes {allow}", {"allow": allow}
        )
    near = router.nearest(raw_path)
    if near is None:
        return TrinityError(Reason.UNKNOWN_PATH, f"there is nothing at {path}; GET /openapi.json lists what there is")
    return TrinityError(
        Reason.UNKNOWN_PATH, f"there is nothing at {path}; did you mean {near}?", metadata={"nearest": near}
    )


def _text(raw_path: bytes) -> str:
    try:
        path = raw_path.decode("utf-8")
        if "%" in path:
            broken = _BROKEN_ESCAPE.search(path)
            if broken is not None:
                raise _bad_path(f"{path[broken.start() : broken.start() + 3]!a} is not an escape")
            unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise _bad_path("it is not UTF-8") from None
    return path


def _bad_path(what: str) -> TrinityError:
    return TrinityError(Reason.INVALID_REQUEST, f"the path cannot be read: {what}")


def _decoded(segment: str) -> str:
    return unquote(segment) if "%" in segment else segment


def _value(variable: Variable, segments: list[str]) -> str:
    last = len(segments) if variable.rest else variable.end
    raw = "/".join(segments[variable.start : last])
    if "%" not in raw:
        return raw
    if not variable.multi:
        return unquote(raw)
    return "".join(part if part in _SLASHES else unquote(part) for part in _SLASH.split(raw))


_NEAREST_LENGTH_MAX: Final = 128
_NEAREST_CUTOFF: Final = 0.6
_SLASHES: Final = frozenset({"%2F", "%2f"})
_SLASH: Final = re.compile("(%2[Ff])")
_BROKEN_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_PLAIN: Final = re.compile(r"/[A-Za-z0-9\-._~/]+(?::[A-Za-z0-9\-._~]+)?")
"""Templates without variables or escapes: their paths are found in one step."""
