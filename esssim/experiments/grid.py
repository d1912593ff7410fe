"""`Grid`: the cells of a sweep, from lists, ranges, zips and conditions over the keys of an experiment."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import IntArray
from esssim.experiments.errors import ConfigurationError, unknown

SECTIONS = ("problem", "data", "start", "sampling", "dynamics", "method", "records")
RESERVED = ("zip", "where")
RANGE_KEYS = ("from", "to", "step", "num", "log", "integer")
# A value of an axis is one thing to choose; more of them than this are a mistake in a range.
MOST_VALUES = 1_000_000
MOST_CELLS = 100_000_000

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Axis:
    """Keys that change together, and the values they take: values[k] has one entry per key."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def name(self) -> str:
        """The dimension of the Dataset."""
        return self.keys[0]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Condition:
    """`left` compared with `right`; `right` is another key or a value."""

    left: str
    sign: str
    right: Any


@dataclass(frozen=True)
class Grid:
    """The product of the axes, without the cells that fail a condition.

    given: a list or a range for each key, such as {"sampling.batch_size": [1, 2, 4], "dynamics.step_size":
    {"from": 0.1, "to": 2, "log": 20}}. A range has `from`, `to` (included) and one of `step` (1 for integers without
    any), `num` (equally spaced) and `log` (equal ratios); `integer = true` rounds it. "zip": lists of keys that change
    together. "where": comparisons [key, sign, key or value] that every cell must meet. A key is dotted
    ("data.n_samples") or a whole section ("data"). Raises `ConfigurationError` for anything else.
    """

    axes: tuple[Axis, ...]
    where: tuple[Condition, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Grid:
        """The grid of plain values, as TOML has them."""
        if not isinstance(given, Mapping):
            raise ConfigurationError(("grid",), f"must be a table of keys, got {_validate.shown(given)}")
        listed = {key: _values(key, values) for key, values in given.items() if key not in RESERVED}
        if not listed:
            raise ConfigurationError(("grid",), "must have at least one key of an experiment, got none")
        axes = _zipped(listed, given.get("zip", ()))
        if math.prod(map(len, axes)) > MOST_CELLS:
            words = f"must have at most {MOST_CELLS:,} cells, got {math.prod(map(len, axes)):,}"
            raise ConfigurationError(("grid",), words)
        return cls(axes, _conditions(given.get("where", ())))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(len, self.axes))

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for axis in self.axes for key in axis.keys)

    def changes(self, index: int) -> dict[str, Any]:
        """The keys of one cell and their values; index counts all cells of the product, the last axis fastest."""
        places = np.unravel_index(index, self.shape)
        return {
            key: value
            for axis, place in zip(self.axes, places, strict=True)
            for key, value in zip(axis.keys, axis.values[place], strict=True)
        }

    def sections(self, base: Mapping[str, Any], index: int) -> dict[str, Any]:
        """The sections of one cell: those of `base` with the keys of the cell set."""
        return with_changes(base, self.changes(index))

    def cells(self, base: Mapping[str, Any]) -> IntArray:
        """The indices of the cells that meet every condition. base: values of keys that no axis changes."""
        kept: npt.NDArray[np.bool_] = np.ones((), dtype=bool)
        for place, condition in enumerate(self.where):
            left, right = self._column(condition.left, base), self._column(condition.right, base, True)
            try:
                met = np.frompyfunc(COMPARISONS[condition.sign], 2, 1)(left, right)
            except TypeError:
                words = f"must compare values of one kind, got {[condition.left, condition.sign, condition.right]}"
                raise ConfigurationError(("grid", "where", place), words) from None
            kept = kept & np.asarray(met).astype(bool)
        return np.flatnonzero(np.broadcast_to(kept, self.shape))

    def _column(self, key: Any, base: Mapping[str, Any], may_be_a_value: bool = False) -> npt.NDArray[Any]:
        """The values of a key over the grid, in a shape that broadcasts; of a value, itself."""
        for place, axis in enumerate(self.axes):
            if key in axis.keys:
                which = axis.keys.index(key)
                column = np.empty(len(axis), dtype=object)
                column[:] = [values[which] for values in axis.values]
                return column.reshape([-1 if k == place else 1 for k in range(len(self.axes))])
        inside: Any = base if isinstance(key, str) else None
        for part in str(key).split("."):
            inside = inside.get(part) if isinstance(inside, Mapping) else None
        if inside is None and may_be_a_value:
            inside = key
        if inside is None:
            raise ConfigurationError(("grid", "where"), f"names the key {key!r}, which neither grid nor sections have")
        column = np.empty((1,) * len(self.axes), dtype=object)
        column.flat[0] = inside
        return column

    @cached_property
    def plain(self) -> dict[str, Any]:
        """What `of` takes to give this grid again."""
        listed = {
            key: [values[which] for values in axis.values] for axis in self.axes for which, key in enumerate(axis.keys)
        }
        zips = [list(axis.keys) for axis in self.axes if len(axis.keys) > 1]
        where = [[each.left, each.sign, each.right] for each in self.where]
        return listed | ({"zip": zips} if zips else {}) | ({"where": where} if where else {})


def with_changes(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the sections in `base` with dotted keys set; whole sections first, so that their keys can change
    too.
    """
    sections: dict[str, Any] = dict(base)
    for key, value in sorted(changes.items(), key=lambda item: item[0].count(".")):
        *path, last = key.split(".")
        inside = sections
        for part in path:
            below = inside.get(part, {})
            if not isinstance(below, Mapping):
                raise ConfigurationError(("grid", key), f"cannot be set: {part} has no keys")
            inside[part] = dict(below)
            inside = inside[part]
        inside[last] = value
    return sections


def text_of(value: Any) -> Any:
    """A value of an axis as a label: tables and lists as JSON."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return value


def _values(key: str, given: Any) -> tuple[Any, ...]:
    """The values that a key takes."""
    section = str(key).split(".")[0]
    if section not in SECTIONS:
        raise ConfigurationError(("grid", key), unknown(section, (*SECTIONS, *RESERVED)))
    if isinstance(given, Mapping):
        return _range(key, given)
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, list | tuple | range):
        words = f"must be a list or a range such as {{ from = 1, to = 8 }}, got {_validate.shown(given)}"
        raise ConfigurationError(("grid", key), words)
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in given)
    if not values:
        raise ConfigurationError(("grid", key), "must have at least one value, got none")
    _check_number_of_values(key, len(values))
    return values


def _check_number_of_values(key: str, count: float) -> None:
    if count > MOST_VALUES:
        raise ConfigurationError(("grid", key), f"must have at most {MOST_VALUES:,} values, got {count:,.0f}")


def _range(key: str, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """From, to, and how many between them."""
    for word in given:
        if word not in RANGE_KEYS:
            raise ConfigurationError(("grid", key, word), unknown(str(word), RANGE_KEYS))
    first, last = (_number(key, word, given) for word in ("from", "to"))
    if last < first:
        raise ConfigurationError(("grid", key, "to"), f"must be at least from = {first:g}, got {last:g}")
    spacings = [word for word in ("step", "num", "log") if word in given]
    if len(spacings) > 1:
        raise ConfigurationError(("grid", key), f"must have one of step, num and log, got {' and '.join(spacings)}")
    whole = isinstance(first, int) and isinstance(last, int)
    if "num" in given or "log" in given:
        values = _spaced(key, first, last, spacings[0], given)
    else:
        if not spacings and not whole:
            raise ConfigurationError(("grid", key), "must have step, num or log: only integers count by one")
        values = _stepped(key, first, last, given)
    rounded = given.get("integer", False)
    if not isinstance(rounded, bool):
        words = f"must be true or false, got {_validate.shown(rounded)}"
        raise ConfigurationError(("grid", key, "integer"), words)
    if rounded or (whole and all(abs(value - round(value)) < 1e-9 * max(1.0, abs(value)) for value in values)):
        values = list(dict.fromkeys(round(value) for value in values))
    return tuple(values)


def _stepped(key: str, first: float, last: float, given: Mapping[str, Any]) -> list[Any]:
    """In decimals, as they are written: 0.1, 0.2, 0.3."""
    step = _number(key, "step", given) if "step" in given else 1
    if step <= 0:
        raise ConfigurationError(("grid", key, "step"), f"must be above 0, got {step:g}")
    _check_number_of_values(key, (last - first) / step)
    begin, width = Decimal(repr(first)), Decimal(repr(step))
    count = int((Decimal(repr(last)) - begin) / width) + 1
    kind = int if isinstance(first, int) and isinstance(step, int) else float
    return [kind(begin + k * width) for k in range(count)]


def _spaced(key: str, first: float, last: float, spacing: str, given: Mapping[str, Any]) -> list[float]:
    count = given[spacing]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        words = f"must be an integer of at least 1, got {_validate.shown(count)}"
        raise ConfigurationError(("grid", key, spacing), words)
    _check_number_of_values(key, count)
    if spacing == "num":
        return [float(value) for value in np.linspace(first, last, count)]
    if first <= 0:
        raise ConfigurationError(("grid", key, "from"), f"must be above 0 with equal ratios (log), got {first:g}")
    return [float(value) for value in np.geomspace(first, last, count)]


def _number(key: str, word: str, given: Mapping[str, Any]) -> float:
    value = given.get(word)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        words = "is missing" if value is None else f"must be a finite number, got {_validate.shown(value)}"
        raise ConfigurationError(("grid", key, word), words)
    return value


def _zipped(listed: dict[str, tuple[Any, ...]], zips: Any) -> tuple[Axis, ...]:
    """An axis per key, or per list of keys that change together, in the order of their first keys."""
    if not isinstance(zips, list | tuple) or any(not isinstance(keys, list | tuple) for keys in zips):
        words = f"must be a list of lists of keys, got {_validate.shown(zips)}"
        raise ConfigurationError(("grid", "zip"), words)
    group = {key: (key,) for key in listed}
    for place, given in enumerate(zips):
        keys = tuple(given)
        for key in keys:
            if key not in listed:
                raise ConfigurationError(("grid", "zip", place), f"{key!r} {unknown(str(key), listed)}")
            if group[key] != (key,) or keys.count(key) > 1:
                raise ConfigurationError(("grid", "zip", place), f"must name each key once, got {key!r} twice")
        lengths = {len(listed[key]) for key in keys}
        if len(lengths) > 1:
            counts = ", ".join(f"{key}: {len(listed[key])}" for key in keys)
            raise ConfigurationError(("grid", "zip", place), f"must name keys with as many values each, got {counts}")
        group |= dict.fromkeys(keys, keys)
    return tuple(
        Axis(keys, tuple(zip(*(listed[key] for key in keys), strict=True)))
        for keys in dict.fromkeys(group[key] for key in listed)
    )


def _conditions(given: Any) -> tuple[Condition, ...]:
    if not isinstance(given, list | tuple):
        words = f"must be a list of comparisons, got {_validate.shown(given)}"
        raise ConfigurationError(("grid", "where"), words)
    found = []
    for place, each in enumerate(given):
        if not isinstance(each, list | tuple) or len(each) != 3 or not isinstance(each[0], str):
            example = '["sampling.batch_size", "<=", 8]'
            words = f"must be [key, sign, key or value], such as {example}, got {_validate.shown(each)}"
            raise ConfigurationError(("grid", "where", place), words)
        left, sign, right = each
        try:
            _validate.choice("sign", sign, tuple(COMPARISONS))
        except ValueError as error:
            raise ConfigurationError(("grid", "where", place), str(error)) from None
        found.append(Condition(left, sign, right))
    return tuple(found)


def named_values(axes: Sequence[Axis]) -> dict[str, tuple[str, list[Any]]]:
    """Each key -> (dimension, labels)."""
    return {
        key: (axis.name, [text_of(values[which]) for values in axis.values])
        for axis in axes
        for which, key in enumerate(axis.keys)
    }
