"""Settings: frozen dataclasses beside their part, filled from defaults, a mapping and the environment.

A setting `flush_ms` of section `feeds` is set by the environment as TRINITY_FEEDS_FLUSH_MS; a
nested dataclass adds its field's name: TRINITY_PRICE_BOOK_FRESH_MS. The environment wins over
the mapping, the mapping over the default. Values are checked by the dataclass itself, in
`__post_init__`, by raising ValueError.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting is wrong; the text names it and says what to do."""


def load(kind: type[T], *, section: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> T:
    """Make the settings of one part.

    Raises ConfigError that names the setting: unknown (with the nearest known name), of
    the wrong type, or out of its bounds.
    """
    merged = _merge(kind, section, values, f"TRINITY_{section.upper()}_", environ)
    try:
        return msgspec.convert(merged, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"settings of {section}: {error}") from error


def _merge(
    kind: type[Any], path: str, values: Mapping[str, Any], prefix: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names)}"
            raise ConfigError(f"settings of {path}: no setting {name!r}{hint}")
    merged: dict[str, Any] = dict(values)
    for name in names:
        hint_type = hints[name]
        variable = f"{prefix}{name.upper()}"
        if dataclasses.is_dataclass(hint_type) and isinstance(hint_type, type):
            inner = _merge(hint_type, f"{path}.{name}", merged.get(name, {}), f"{variable}_", environ)
            if inner:
                merged[name] = inner
        elif variable in environ:
            merged[name] = _from_text(environ[variable], hint_type)
    return merged


def _from_text(text: str, hint: Any) -> Any:
    """Lists and mappings are written as JSON in the environment; everything else as itself."""
    if typing.get_origin(hint) in (tuple, list, dict, frozenset, Mapping) and text[:1] in "[{":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
