"""Containers, arrays and other values of Python and numpy."""

from __future__ import annotations

import enum
import os
import types
import weakref
from typing import Any

import numpy as np

from esssim._fingerprint.walk import Walk, describe, instance


@describe.register
def _(thing: list, walk: Walk) -> None:  # type: ignore[type-arg]
    if type(thing) is not list:
        return instance(thing, walk)
    walk.write("list")
    walk.listed(thing)


@describe.register
def _(thing: tuple, walk: Walk) -> None:  # type: ignore[type-arg]
    if type(thing) is not tuple:
        return instance(thing, walk)
    walk.write("tuple")
    walk.listed(thing)


@describe.register
def _(thing: dict, walk: Walk) -> None:  # type: ignore[type-arg]
    if type(thing) is not dict:
        return instance(thing, walk)
    walk.write("dict", str(len(thing)))
    for key, value in thing.items():  # in order: a sum over a dict has another last bit in another one
        walk.into("[key]", key)
        walk.into(f"[{key!r}]" if isinstance(key, (str, int)) else "[…]", value)


@describe.register(set)
@describe.register(frozenset)
def _(thing: set | frozenset, walk: Walk) -> None:  # type: ignore[type-arg]
    if type(thing) not in (set, frozenset):
        return instance(thing, walk)
    walk.write(type(thing).__name__)
    walk.unordered(thing)


@describe.register
def _(thing: types.MappingProxyType, walk: Walk) -> None:  # type: ignore[type-arg]
    walk.write("mappingproxy")
    walk.into("", dict(thing))


@describe.register
def _(thing: enum.Enum, walk: Walk) -> None:
    walk.write("member", thing.name or str(thing.value))
    walk.into(".__class__", type(thing))
    walk.into(".value", thing.value)


@describe.register(os._Environ)
def _(thing: Any, walk: Walk) -> None:
    raise walk.refuse("is the environment, which is another one in each session")


@describe.register(weakref.ref)
def _(thing: Any, walk: Walk) -> None:
    walk.write("weakref")
    walk.into("()", thing())


@describe.register
def _(thing: np.ndarray, walk: Walk) -> None:
    if type(thing) not in (np.ndarray, np.memmap):
        return instance(thing, walk)
    kind = thing.dtype
    walk.write("array", str(thing.shape), str(kind.descr) if kind.fields else kind.str)
    if kind.hasobject or kind.kind == "T":  # pointers to objects and to strings of any length
        walk.listed(thing.ravel().tolist())
    else:
        walk.value(thing, lambda array: np.ascontiguousarray(array).tobytes())


@describe.register
def _(thing: np.ma.MaskedArray, walk: Walk) -> None:
    walk.write("masked")
    walk.into(".__class__", type(thing))
    walk.named({"data": thing.data, "mask": np.ma.getmaskarray(thing), "fill_value": thing.fill_value})


@describe.register
def _(thing: np.generic, walk: Walk) -> None:
    walk.write("scalar", str(thing.dtype.descr) if thing.dtype.fields else thing.dtype.str, thing.tobytes())
