"""Compile a path template of google.api.http: "/v1/{name=messages/*}:publish".

The grammar is the one in google/api/http.proto:

    Template  = "/" Segments [ Verb ] ;
    Segments  = Segment { "/" Segment } ;
    Segment   = "*" | "**" | LITERAL | Variable ;
    Variable  = "{" FieldPath [ "=" Segments ] "}" ;
    FieldPath = IDENT { "." IDENT } ;
    Verb      = ":" LITERAL ;
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote


class Wild(Enum):
    """A segment that is no literal."""

    ONE = "*"
    """Matches exactly one segment that is not empty."""
    REST = "**"
    """Matches zero or more segments; only the last may be it."""


class TemplateError(ValueError):
    """A path template breaks the grammar; the text says where."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One `{field=pattern}` of a template."""

    field_path: str
    """As in "message.name"."""
    start: int
    """Index of its first segment in the template."""
    end: int
    """Index after its last segment."""
    multi: bool
    """It spans several segments or holds `**`: "%2F" in it stays as it is."""
    rest: bool
    """It ends in `**`: it takes all that is left of the path."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template."""

    source: str
    segments: tuple[str | Wild, ...]
    """Literals, percent-decoded, and wildcards."""
    verb: str
    """Custom verb without its colon; "" for none."""
    variables: tuple[Variable, ...]

    @property
    def shape(self) -> tuple[tuple[str | Wild, ...], str]:
        """What it matches; two templates of one shape match the same paths."""
        return self.segments, self.verb


def compile_template(source: str) -> Template:
    """Compile a template. Raises TemplateError that says at which character it breaks the grammar."""
    return _Parser(source).template()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.segments: list[str | Wild] = []
        self.variables: list[Variable] = []

    def template(self) -> Template:
        self._take("/")
        self._segments(inside=False)
        verb = ""
        if self._peek() == ":":
            self.at += 1
            verb = self._literal("a verb after ':'")
        if self.at != len(self.source):
            raise self._error("the template should end here")
        if Wild.REST in self.segments[:-1]:
            raise self._error("'**' can only be the last segment")
        names = [variable.field_path for variable in self.variables]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise self._error(f"the variable {twice} stands in it twice")
        return Template(self.source, tuple(self.segments), verb, tuple(self.variables))

    def _segments(self, *, inside: bool) -> None:
        while True:
            if self._peek() == "{":
                if inside:
                    raise self._error("a variable cannot hold another one")
                self._variable()
            elif self._peek() == "*":
                self.at += 1
                if self._peek() == "*":
                    self.at += 1
                    self.segments.append(Wild.REST)
                else:
                    self.segments.append(Wild.ONE)
            else:
                self.segments.append(self._literal("a segment"))
            if self._peek() != "/":
                return
            self.at += 1

    def _variable(self) -> None:
        self._take("{")
        found = _FIELD_PATH.match(self.source, self.at)
        if found is None:
            raise self._error("the name of a field is expected")
        self.at = found.end()
        start = len(self.segments)
        if self._peek() == "=":
            self.at += 1
            self._segments(inside=True)
        else:
            self.segments.append(Wild.ONE)
        self._take("}")
        own = self.segments[start:]
        rest = own[-1] is Wild.REST
        self.variables.append(Variable(found[0], start, len(self.segments), len(own) > 1 or rest, rest))

    def _literal(self, what: str) -> str:
        found = _LITERAL.match(self.source, self.at)
        if found is None:
            raise self._error(f"{what} is expected")
        self.at = found.end()
        try:
            return unquote(found[0], errors="strict")
        except UnicodeDecodeError:
            raise self._error("the escapes before this are not UTF-8") from None

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise self._error(f"{character!r} is expected")
        self.at += 1

    def _peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def _error(self, what: str) -> TemplateError:
        return TemplateError(f"path template {self.source!r}, character {self.at + 1}: {what}")


_FIELD_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;=@]|[^\x00-\x7f]|%[0-9A-Fa-f]{2})+")
"""RFC 3986 pchar, or more than ASCII, without ":" and "*", which mean something here."""
