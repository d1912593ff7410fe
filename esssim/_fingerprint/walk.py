"""The walk through a thing and all that it holds, in an order that depends on nothing else."""

from __future__ import annotations

import functools
import hashlib
import importlib
import struct
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from copyreg import dispatch_table
from typing import Any

import numpy as np

from esssim._fingerprint.library import is_found_by_name, version_of


class Unfingerprintable(ValueError):
    """Something that decides numbers, or may, and cannot be looked into; `path` is where it lies."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} {reason}, so that checkpoints and caches cannot distinguish it from another one: "
            "put a plain value in its place, or do without them"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class Walk:
    """A running SHA-256. Handlers `write` what a thing is and go `into` its parts; cycles end at what was seen."""

    def __init__(self, arguments: Iterable[Any] = (), seen: Mapping[int, int] | None = None) -> None:
        self.hash = hashlib.sha256()
        # What is kept alive keeps its id.
        self.alive: list[Any] = list(arguments)
        self.arguments = {id(argument): k for k, argument in enumerate(self.alive)}
        self.seen = dict(seen or {})
        self.path: list[str] = []
        self.values: dict[int, bytes] = {}

    def digest(self) -> str:
        return self.hash.hexdigest()

    def write(self, *words: str | bytes) -> None:
        """Words, each with its length: different lists of words differ."""
        for word in words:
            raw = word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word
            self.hash.update(struct.pack("<q", len(raw)) + raw)

    def into(self, step: str, thing: Any) -> None:
        """Go on with a part; `step` is how source code would reach it."""
        self.path.append(step)
        try:
            atom = ATOMS.get(type(thing))
            if atom is not None:
                self.write(type(thing).__name__, atom(thing))
            elif id(thing) in self.arguments:
                self.write("argument", str(self.arguments[id(thing)]), str(getattr(thing, "shape", "")))
            elif id(thing) in self.seen:
                self.write("again", str(self.seen[id(thing)]))
            else:
                self._describe(thing)
        finally:
            self.path.pop()

    def _describe(self, thing: Any) -> None:
        _know_torch()
        self.alive.append(thing)
        if not isinstance(thing, tuple(BY_VALUE)):
            self.seen[id(thing)] = len(self.seen)
        try:
            describe(thing, self)
        except (Unfingerprintable, RecursionError):
            raise
        except Exception as error:
            raise self.refuse(f"cannot be looked into ({' '.join(str(error).split())})") from error

    def named(self, parts: Mapping[str, Any], step: str = ".{}") -> None:
        """Named parts whose order means nothing."""
        self.write("named", str(len(parts)))
        for name in sorted(parts):
            self.write(name)
            self.into(step.format(name), parts[name])

    def listed(self, parts: Iterable[Any], step: str = "[{}]") -> None:
        """Parts in their order."""
        every = list(parts)
        self.write("listed", str(len(every)))
        for k, part in enumerate(every):
            self.into(step.format(k), part)

    def unordered(self, parts: Iterable[Any]) -> None:
        """Parts in the order of their own fingerprints: that of a set is another one in each process."""
        found = []
        for part in parts:
            own = Walk(seen=self.seen)
            own.arguments, own.path, own.alive, own.values = self.arguments, list(self.path), self.alive, self.values
            own.into("{…}", part)
            found.append(own.digest())
        self.write("unordered", str(len(found)), *sorted(found))

    def value(self, thing: Any, raw: Any) -> None:
        """The bytes of a large value, hashed once however often it is met."""
        if id(thing) not in self.values:
            self.values[id(thing)] = hashlib.sha256(raw(thing)).digest()
        self.write(self.values[id(thing)])

    def refuse(self, reason: str) -> Unfingerprintable:
        """The error that names where the walk stands; to be raised."""
        return Unfingerprintable("".join(self.path), reason)


# Kinds whose values count and not which object holds them: two equal ones are one.
BY_VALUE: list[type] = [tuple, frozenset, np.ndarray, np.generic, types.CodeType]
ATOMS: dict[type, Any] = {
    int: hex,
    bool: str,
    str: lambda word: word,
    bytes: lambda raw: raw,
    float: lambda x: struct.pack("<d", x),
    complex: lambda z: struct.pack("<dd", z.real, z.imag),
    type(None): str,
    type(Ellipsis): str,
    type(NotImplemented): str,
}


@functools.singledispatch
def describe(thing: Any, walk: Walk) -> None:
    """An instance of any class: the class, the attributes, and what it says to pickle, where hidden state shows."""
    kind = type(thing)
    if is_found_by_name(thing):  # a function that Cython compiled, and the like
        walk.write("library", thing.__module__, thing.__qualname__, version_of(thing.__module__))
        return
    walk.write("instance")
    walk.into(".__class__", kind)
    if kind.__module__.partition(".")[0] in ("ctypes", "_ctypes"):
        raise walk.refuse(f"is a {kind.__qualname__} of ctypes")
    if kind.__module__.startswith("numba.") and hasattr(thing, "py_func"):  # the rest is an id
        walk.named({"py_func": thing.py_func, "targetoptions": thing.targetoptions})
        return
    own = not version_of(kind.__module__)
    known = attributes(thing) if own else {}
    walk.named(known)
    if isinstance(thing, (set, frozenset)):
        walk.unordered(thing)
        return
    reduced = _reduced(thing, walk)
    if isinstance(reduced, str):
        _found_by_name(thing, reduced, walk)
        return
    function, arguments, state, items, pairs = [*reduced, None, None, None][:5]
    walk.into(".__reduce__()", function)
    walk.listed(arguments, ".__reduce__()[{}]")
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # of a class with __slots__
        state = {**(state[0] or {}), **state[1]}
    state = {} if state is None else state
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        done = getattr(thing, "__dict__", {}) if own else recomputed(thing)
        walk.named({name: part for name, part in state.items() if name not in done and name not in known})
    else:
        walk.into(".__getstate__()", state)
    walk.listed(items or ())
    walk.listed(part for pair in pairs or () for part in pair)


def _reduced(thing: Any, walk: Walk) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = dispatch_table.get(type(thing))
            return known(thing) if known else thing.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception as error:
        name = f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
        raise walk.refuse(f"is opaque (a {name}: {' '.join(str(error).split())})") from error


def _found_by_name(thing: Any, name: str, walk: Walk) -> None:
    """A thing that pickle knows by its name, such as a ufunc of numpy or scipy.special."""
    for module in (getattr(thing, "__module__", None), type(thing).__module__, "numpy", "scipy.special"):
        found: Any = sys.modules.get(module) if isinstance(module, str) else None
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is thing:
            walk.write("name", str(module), name, version_of(str(module)))
            return
    raise walk.refuse(f"is a {type(thing).__qualname__} that no module has under its name {name!r}")


def attributes(thing: Any) -> dict[str, Any]:
    """`__dict__` and `__slots__`, without what would be computed again."""
    found = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = [name for name, value in vars(kind).items() if isinstance(value, types.MemberDescriptorType)]
        found |= {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
    return {name: found[name] for name in found.keys() - recomputed(thing)}


def recomputed(thing: Any) -> set[str]:
    """Attributes that a cached_property has filled: a problem is the same before and after."""
    found = set()
    for name, part in getattr(thing, "__dict__", {}).items():
        rule = next((vars(kind)[name] for kind in type(thing).__mro__ if name in vars(kind)), None)
        if isinstance(rule, functools.cached_property) and _same(part, rule, thing):
            found.add(name)
    return found


def _same(part: Any, rule: functools.cached_property[Any], thing: Any) -> bool:
    """Whether the rule gives this value; one that was assigned decides for itself."""
    ours, fresh = Walk(), Walk()
    try:
        ours.into("", part)
        fresh.into("", rule.func(thing))
    except Exception:
        return False
    return ours.digest() == fresh.digest()


instance = describe.dispatch(object)


@functools.cache
def _handlers_of_torch() -> None:
    importlib.import_module("esssim.bridge.fingerprints")


def _know_torch() -> None:
    """Tensors and modules have handlers of their own, which are loaded where torch is."""
    if "torch.nn" in sys.modules:
        _handlers_of_torch()
