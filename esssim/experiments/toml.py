"""Configurations as TOML: read with the line of every key, and written so that a person can edit them."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from esssim.experiments.errors import ConfigurationError, dotted
from esssim.experiments.errors import Path as Keys

# An array on one line is shorter than this.
WIDTH = 100


@dataclass(frozen=True)
class Source:
    """A configuration as it was given: its keys, the text, what to call it, its folder, and the keys set beside it."""

    given: dict[str, Any]
    text: str
    name: str
    folder: Path
    changed: tuple[Keys, ...] = ()

    def error(self, error: ConfigurationError) -> ConfigurationError:
        """The same error with where its key stands."""
        for keys in self.changed:
            if error.path[: len(keys)] == keys or (error.path and keys[: len(error.path)] == error.path):
                return ConfigurationError(error.path, error.words, f"--set {dotted(keys)}")
        line = line_of(self.text, error.path)
        return ConfigurationError(error.path, error.words, f"{self.name}, line {line}" if line else self.name)


def read(path_or_text: str | os.PathLike[str], changes: Sequence[str] = ()) -> Source:
    """The keys of a TOML file, or of TOML itself: text with a "=" that is not the name of a .toml file.

    changes: "dynamics.step_size=0.1" each, the value as in TOML, or as text. Raises ValueError for a missing file, for
    what is not TOML, and for a change without a "=".
    """
    text_itself = isinstance(path_or_text, str) and not path_or_text.endswith(".toml") and "=" in path_or_text
    if isinstance(path_or_text, str) and (text_itself or "\n" in path_or_text):
        text, name, folder = path_or_text, "the configuration", Path()
    else:
        path = Path(path_or_text)
        try:
            text, name, folder = path.read_text(encoding="utf-8"), path.name, path.parent
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"configuration must be a readable TOML file, got {str(path)!r}: {reason}") from None
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} must be TOML: {error}") from None
    return Source(given, text, name, folder, tuple(_change(given, each) for each in changes))


def _change(given: dict[str, Any], assignment: str) -> Keys:
    """Set one key; its path."""
    key, equals, value = assignment.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise ValueError(f"--set must be KEY=VALUE, such as dynamics.step_size=0.1, got {assignment!r}")
    inside = given
    for part in keys[:-1]:
        inside = inside.setdefault(part, {})
        if not isinstance(inside, dict):
            raise ConfigurationError(keys, f"cannot be set: {part} has no keys", f"--set {key}")
    try:
        inside[keys[-1]] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        inside[keys[-1]] = value.strip()
    return keys


def line_of(text: str, keys: Keys) -> int | None:
    """The line of a key, or of the nearest thing that holds it: the first by which the text so far has it."""
    for length in range(len(keys), 0, -1):
        found = _line_of(text.splitlines(), keys[:length])
        if found:
            return found
    return None


def _line_of(lines: Sequence[str], keys: Keys) -> int | None:
    whole = 0  # so many lines are TOML; a value of several lines begins behind them
    for count in range(1, len(lines) + 1):
        try:
            inside: Any = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for key in keys:
            if not isinstance(inside, Mapping) or key not in inside:
                break
            inside = inside[key]
        else:
            return whole + 1
        whole = count
    return None


def written(content: Mapping[str, Any]) -> str:
    """TOML of plain values: what is in tables comes last, tables in tables on one line."""
    alone = [f"{key} = {_value(value)}" for key, value in content.items() if not isinstance(value, Mapping)]
    tables = [
        "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None)])
        for name, table in content.items()
        if isinstance(table, Mapping)
    ]
    return "\n\n".join(["\n".join(alone)] * bool(alone) + tables) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(part)}" for key, part in value.items() if part is not None) + " }"
    if isinstance(value, list | tuple):
        parts = [_value(part) for part in value]
        short = "[" + ", ".join(parts) + "]"
        if len(short) <= WIDTH:
            return short
        numbers = all(isinstance(part, int | float) for part in value)
        lines = wrap(", ".join(parts), WIDTH) if numbers else parts
        return "[\n" + "".join(f"    {line.removesuffix(',')},\n" for line in lines) + "]"
    # Strings of JSON are strings of TOML, but for one control character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
