"""Equal problems have equal fingerprints everywhere; whatever decides a number changes them; the opaque is refused."""

from __future__ import annotations

import collections
import contextvars
import ctypes
import dataclasses
import datetime
import enum
import functools
import itertools
import operator
import pickle
import subprocess
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import pytest
import xarray

import esssim as es
from esssim import store
from esssim._fingerprint import Unfingerprintable, fingerprint, fingerprint_or_reason
from esssim.problems import Problem

# What workers get functions through.
cloudpickle = pytest.importorskip("cloudpickle")

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((8, 3)), rng.standard_normal(8)
SCALE = 1.0
TABLE = {"delta": 1.0}
CURVED = np.tanh


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Options:
    delta: float = 1.0
    names: tuple[str, ...] = ()


class Point(typing.NamedTuple):
    x: float
    y: float


class Slotted:
    __slots__ = ("scale",)

    def __init__(self, scale: float) -> None:
        self.scale = scale


class Scaled:
    factor = 1.0

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @property
    def doubled(self) -> float:
        return 2 * self.scale

    @functools.cached_property
    def squared(self) -> float:
        return self.scale**2

    def times(self, x: float) -> float:
        return self.scale * x


class Listed(list):  # type: ignore[type-arg]
    pass


def reads_a_global(x: float) -> float:
    return SCALE * x


def calls_another(x: float) -> float:
    return reads_a_global(x) + 1


def reads_a_table(x: float) -> float:
    return TABLE["delta"] * x


def reads_a_function(x: float) -> Any:
    return CURVED(x)


def reads_inside(x: float) -> float:
    def inner() -> float:
        return (lambda: SCALE * x)()

    return inner()


class OfAGlobal(Problem):
    """½(SCALE·θ − yᵢ)²: a user's problem whose methods read a global."""

    def __init__(self, targets: Any) -> None:
        super().__init__(len(targets), 1)
        self.targets = np.asarray(targets, dtype=float)

    def sample_losses(self, theta: Any, indices: Any) -> Any:
        return (SCALE * theta[..., :1] - self.targets[indices]) ** 2 / 2

    def sample_gradients(self, theta: Any, indices: Any) -> Any:
        return (SCALE * (SCALE * theta[..., :1] - self.targets[indices]))[..., None]

    def sample_hessians(self, theta: Any, indices: Any) -> Any:
        return np.full((*np.shape(indices), 1, 1), SCALE**2)


def made(scale: float) -> Callable[[float], float]:
    return lambda x: scale * x


def nested(scale: float) -> Callable[[float], float]:
    inner = made(scale)

    def outer(x: float) -> float:
        return inner(x)

    return outer


def of(code: str, **namespace: Any) -> Any:
    """`f` of the source of a module of its own."""
    exec(code, namespace)
    return namespace["f"]


def module(code: str) -> types.ModuleType:
    found = types.ModuleType("mine")
    exec(code, found.__dict__)
    return found


def monkeypatched() -> Scaled:
    changed = Scaled(1.0)
    changed.times = lambda x: 3 * x  # type: ignore[method-assign]
    return changed


def with_attribute(value: float) -> Callable[[float], float]:
    function = of("def f(x): return f.scale * x")
    function.scale = value
    return function


@functools.wraps(made)
def wrapped(x: float) -> float:
    return x


@numba.njit
def compiled(x: float) -> float:
    return x


@numba.njit(fastmath=True)
def compiled_fast(x: float) -> float:
    return x


KIND = """
import enum
class Kind(enum.Enum):
    A = 1
    @property
    def weight(self):
        return {}
f = Kind.A
"""


def subclass(value: float, base: type = object) -> type:
    return type("Made", (base,), {"value": value})


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "number": (1.0, 1.0 + 2**-52),
    "type of a number": (1, 1.0),
    "bool": (1, True),
    "sign of zero": (0.0, -0.0),
    "integer": (10**5000, 10**5000 + 1),
    "text and bytes": ("a", b"a"),
    "split of words": (["ab", "c"], ["a", "bc"]),
    "nesting": ([[1], 2], [[1, 2]]),
    "tuple and list": ((1, 2), [1, 2]),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "key of a dict": ({"a": 1}, {"b": 1}),
    "set": ({1, 2}, {1, 3}),
    "dtype": (np.zeros(2), np.zeros(2, dtype=np.float32)),
    "dtype of a scalar": (np.float64(1), np.float32(1)),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "long array in a list": ([np.zeros(9999)], [np.eye(1, 9999, 5000)[0]]),
    "objects": (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
    "strings of any length": (np.array(["a", "b" * 40], "T"), np.array(["a", "c" * 40], "T")),
    "structured": (np.array([(1, 2.0)], "i8,f8"), np.array([(1, 2.0)], "f8,i8")),
    "mask": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "table": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
    "names of a table": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]})),
    "stream": (np.random.default_rng(1), np.random.default_rng(2)),
    "date": (datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)),
    "member": (Colour.RED, Colour.BLUE),
    "dataclass": (Options(1.0), Options(2.0)),
    "named tuple": (Point(1, 2), Point(1, 3)),
    "slots": (Slotted(1), Slotted(2)),
    "attribute": (Scaled(1), Scaled(2)),
    "method put on an instance": (Scaled(1.0), monkeypatched()),
    "subclass of a list": (Listed([1]), Listed([2])),
    "subclass of a list and a list": (Listed([1]), [1]),
    "ordered dict": (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
    "default": (collections.defaultdict(made(1)), collections.defaultdict(made(2))),
    "body": (lambda x: x + 1, lambda x: x - 1),
    "constant": (lambda x: x + 1, lambda x: x + 2),
    "name of a method": (lambda x: x.sum(), lambda x: x.mean()),
    "default argument": (lambda x, d=1: x * d, lambda x, d=2: x * d),
    "default by keyword": (lambda x, *, d=1: x * d, lambda x, *, d=2: x * d),
    "closure": (made(1), made(2)),
    "nested closure": (nested(1), nested(2)),
    "partial": (functools.partial(made, 1), functools.partial(made, 2)),
    "partial by keyword": (functools.partial(made, scale=1), functools.partial(made, scale=2)),
    "bound method": (Scaled(1).times, Scaled(2).times),
    "built-in of an object": ({"a": 1}.get, {"a": 2}.get),
    "built-in": (abs, round),
    "ufunc": (np.tanh, np.sinh),
    "itemgetter": (operator.itemgetter(0), operator.itemgetter(1)),
    "attribute of a function": (with_attribute(1), with_attribute(2)),
    "what is wrapped": (functools.lru_cache(made(1)), functools.lru_cache(made(2))),
    "options of the compiler": (compiled, compiled_fast),
    "class attribute": (subclass(1), subclass(2)),
    "attribute with underscores": (type("A", (), {"__scale__": 1}), type("A", (), {"__scale__": 2})),
    "property of members": (of(KIND.format(1)), of(KIND.format(2))),
    "attribute of a base": (subclass(0, subclass(1)), subclass(0, subclass(2))),
    "instance of another class": (subclass(1)(), subclass(2)()),
    "constant inside": (of("def f(x):\n def g(): return 1\n return g"), of("def f(x):\n def g(): return 2\n return g")),
    "global": (of("def f(x): return a * x", a=1), of("def f(x): return a * x", a=2)),
    "global of a global": (
        of("def g(x): return a * x\ndef f(x): return g(x)", a=1),
        of("def g(x): return a * x\ndef f(x): return g(x)", a=2),
    ),
    "global of a comprehension": (
        of("def f(x): return [a * y for y in x]", a=1),
        of("def f(x): return [a * y for y in x]", a=2),
    ),
    "read of a module": (
        of("def f(x): return m.a * x", m=module("a = 1")),
        of("def f(x): return m.a * x", m=module("a = 2")),
    ),
    "function of a module": (
        of("def f(x): return m.g(x)", m=module("def g(x): return x")),
        of("def f(x): return m.g(x)", m=module("def g(x): return -x")),
    ),
    "module as a value": (
        of("def f(x): return getattr(m, 'a') * x", m=module("a = 1")),
        of("def f(x): return getattr(m, 'a') * x", m=module("a = 2")),
    ),
    "import inside": (
        of("def f(x):\n from math import sin as g\n return g(x)"),
        of("def f(x):\n from math import cos as g\n return g(x)"),
    ),
    "scheme": (es.WithoutReplacement(2), es.WithReplacement(2)),
    "data": (es.LinearRegression(X, Y), es.LinearRegression(X, Y + 1e-15)),
    "option of a problem": (es.Perceptron(X, Y, 3), es.Perceptron(X, Y, 3, activation="gelu")),
    "weak reference": (weakref.ref(Scaled), weakref.ref(Options)),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_differs(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)
    # Where it is held by something else, too.
    assert fingerprint({"a": [functools.partial(made, one)]}) != fingerprint({"a": [functools.partial(made, other)]})


CANNOT_BE_PICKLED = {
    "weak reference",
    "what is wrapped",
    "read of a module",
    "function of a module",
    "module as a value",
    "property of members",
}


@pytest.mark.parametrize("name", sorted(DIFFERENT.keys() - CANNOT_BE_PICKLED))
def test_is_the_same_after_pickling(name: str) -> None:
    thing = DIFFERENT[name][0]
    assert fingerprint(cloudpickle.loads(cloudpickle.dumps(thing))) == fingerprint(thing)


SAME: dict[str, tuple[Any, Any]] = {
    "sets": (set("abcdefgh"), set("hgfedcba")),
    "sets of sets": ({frozenset("abc"), frozenset("xyz")}, {frozenset("zyx"), frozenset("cba")}),
    "keywords": (functools.partial(made, a=1, b=2), functools.partial(made, b=2, a=1)),
    "equal arrays": ((lambda a: [a, a])(np.ones(3)), [np.ones(3), np.ones(3)]),
    "order in memory": (np.asfortranarray(X), X),
    "lines before": (of("def f(x): return x"), of("\n\n\ndef f(x):\n    # a comment\n    return x")),
    "where it prints": (of("import sys\ndef f(x): print(x, file=sys.stderr)"),) * 2,
    "names that are not read": (of("def f(x): return x", a=1), of("def f(x): return x", a=2)),
    "not read of a module": (
        of("def f(x): return m.a * x", m=module("a = 1; b = open")),
        of("def f(x): return m.a * x", m=module("a = 1")),
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_is_the_same(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize("function", [reads_a_global, calls_another, reads_inside, OfAGlobal([1.0]), OfAGlobal])
def test_a_global_that_changes(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(function)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 2.0)
    assert fingerprint(function) != before
    monkeypatch.undo()
    assert fingerprint(function) == before


def test_globals_that_hold_more(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(reads_a_table), fingerprint(reads_a_function)
    monkeypatch.setitem(TABLE, "delta", 2.0)
    monkeypatch.setattr(sys.modules[__name__], "CURVED", np.sinh)
    assert not set(before) & {fingerprint(reads_a_table), fingerprint(reads_a_function)}


def test_classes_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, thing = es.LinearRegression(X, Y), Scaled(1.0)
    before = problem.fingerprint, fingerprint(thing)
    monkeypatch.setattr(Scaled, "factor", 2.0)
    assert fingerprint(thing) != before[1]
    monkeypatch.undo()
    monkeypatch.setattr(Scaled, "doubled", property(lambda self: 3 * self.scale))
    assert fingerprint(thing) != before[1]
    monkeypatch.undo()
    monkeypatch.setattr(es.LinearRegression, "sample_losses", lambda self, theta, indices: np.zeros(len(indices)))
    assert problem.fingerprint != before[0]
    monkeypatch.undo()
    assert (problem.fingerprint, fingerprint(thing)) == before


def test_what_is_computed_again_does_not_count_and_what_is_assigned_does() -> None:
    thing = Scaled(3.0)
    before = fingerprint(thing)
    assert thing.squared == 9.0
    assert fingerprint(thing) == before
    thing.squared = 8.0  # type: ignore[misc]
    assert fingerprint(thing) != before

    class Empty:
        @functools.cached_property
        def one(self) -> int:
            return 1

    empty = Empty()
    before = fingerprint(empty)
    assert empty.one == 1
    assert fingerprint(empty) == before


def test_a_users_problem_is_the_same_before_and_after_use() -> None:
    problem = OfAGlobal([1.0, 2.0])
    before = problem.fingerprint
    assert es.sharpness(problem, np.ones(1)) == 1.0
    assert problem.fingerprint == before == OfAGlobal([1.0, 2.0]).fingerprint
    assert problem.fingerprint == pickle.loads(pickle.dumps(problem)).fingerprint
    assert problem.fingerprint != OfAGlobal([1.0, 2.5]).fingerprint


def test_cycles_end() -> None:
    def ring(value: float) -> Any:
        found: list[Any] = [value, {}]
        found[1]["again"] = found
        return found

    assert fingerprint(ring(1)) == fingerprint(ring(1)) != fingerprint(ring(2))
    mutual = "def g(n): return n and f(n - 1) + {}\ndef f(n): return n and g(n - 1)"
    assert fingerprint(of(mutual.format(1))) == fingerprint(of(mutual.format(1))) != fingerprint(of(mutual.format(2)))
    members = {ring, subclass}
    members.add(lambda: members)
    assert fingerprint(members) == fingerprint(members)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Unfingerprintable, match="value is nested too deeply"):
        fingerprint(deep)


def counted() -> Iterator[int]:
    yield 1


LIBRARY, LOCK = ctypes.CDLL(None), threading.Lock()
OPAQUE: dict[str, tuple[Callable[[], Any], str]] = {
    "open file": (lambda: sys.__stdout__, "loss is opaque (a _io."),
    "generator": (counted, "loss is opaque (a generator: "),
    "lock": (lambda: {"a": [threading.Lock()]}, "loss['a'][0] is opaque (a _thread.lock: "),
    "closure": (lambda: made(threading.Lock()), "loss.__closure__['scale'] is opaque"),  # type: ignore[arg-type]
    "attribute": (lambda: Scaled(threading.Lock()), "loss.scale is opaque"),  # type: ignore[arg-type]
    "slot": (lambda: Slotted(threading.Lock()), "loss.scale is opaque"),  # type: ignore[arg-type]
    "method": (lambda: Scaled(threading.Lock()).times, "loss.__self__.scale is opaque"),  # type: ignore[arg-type]
    "default": (lambda: lambda x, d=LOCK: x, "loss.__defaults__[0] is opaque"),
    "global": (lambda: of("def f(): return a", a=threading.Lock()), "loss.__globals__['a'] is opaque"),
    "of a module": (
        lambda: of("def f(): return m.a", m=module("import threading\na = threading.Lock()")),
        "loss.__globals__['m'].a is opaque",
    ),
    "partial": (lambda: functools.partial(made, counted()), "loss.args[0] is opaque"),
    "context variable": (lambda: contextvars.ContextVar("a"), "loss is opaque"),
    "library in C": (lambda: LIBRARY, "loss is a CDLL of ctypes"),
    "function in C": (lambda: LIBRARY.abs, "loss is a CDLL.__init__.<locals>._FuncPtr of ctypes"),
    "memory": (lambda: memoryview(b"a"), "loss is opaque"),
    "ufunc of Python": (lambda: np.frompyfunc(made(1), 1, 1), "loss is a ufunc that no module has under its name"),
    "eval": (
        lambda: of("def f(x): return eval('a * x')"),
        "loss calls eval(), which reads what its code does not name",
    ),
    "import by name": (
        lambda: of("import importlib\ndef f(x): return importlib.import_module('m').a"),
        "loss calls import_module(), which reads",
    ),
    "environment": (
        lambda: of("import os\ndef f(x): return os.environ['a']"),
        "loss.__globals__['os'].environ is the env",
    ),
    "tee": (lambda: itertools.tee(counted())[0], "loss"),
}


@pytest.mark.parametrize(("make", "message"), OPAQUE.values(), ids=OPAQUE)
def test_refuses_the_opaque_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(Unfingerprintable) as caught:
        fingerprint(make(), "loss")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("put a plain value in its place, or do without them")


def test_records_say_why_there_is_none() -> None:
    problem = OfAGlobal([1.0, 2.0])
    problem.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^problem\.lock is opaque \(a _thread\.lock"):
        _ = problem.fingerprint
    assert fingerprint_or_reason(problem).startswith("none: problem.lock is opaque")
    trace = es.simulate(problem, np.zeros(1), step_size=0.1, sampling=es.WithoutReplacement(1), n_steps=2, seed=0)
    assert trace.attrs["problem_fingerprint"].startswith("none: problem.lock is opaque")


def test_what_is_kept_is_used_for_the_same_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path))

    def kept(decides: Any, value: float) -> float:
        trace = store.kept("run", decides, lambda: xarray.Dataset({"x": value}))
        return float(trace["x"])

    assert [kept({"f": made(1)}, 1.0), kept({"f": made(2)}, 2.0), kept({"f": made(1)}, 3.0)] == [1.0, 2.0, 1.0]
    assert [kept(np.zeros(9999), 1.0), kept(np.eye(1, 9999, 5000)[0], 2.0)] == [1.0, 2.0]
    with pytest.raises(Unfingerprintable, match=r"^decides\[0\]\['f'\]\.__closure__\['scale'\] is opaque"):
        kept({"f": made(LOCK)}, 1.0)  # type: ignore[arg-type]
    monkeypatch.delenv("ESSSIM_CACHE")
    assert kept({"f": made(LOCK)}, 1.0) == 1.0  # type: ignore[arg-type]


PROGRAM = """
import enum, functools, sys
import numpy as np
import esssim as es
from esssim.problems import Problem

class Kind(enum.Enum):
    A = "a"

HEAVY = {"x": {"p", "q", "r"}, "y": frozenset(range(9))}
def helper(x):
    return [x in HEAVY["x"], x in {"s", "t", "u"}, Kind.A]

class Mine(Problem):
    tags = {"one", "two", "three"}
    def __init__(self):
        super().__init__(2, 1)
        self.options = {"names": {"a", "b", "c"}, "call": functools.partial(helper, x=1), "of": np.linalg.norm}
    def sample_losses(self, theta, indices):
        return helper(theta) and np.exp(theta)
    def sample_gradients(self, theta, indices):
        return super().sample_gradients(theta, indices)
    sample_hessians = sample_gradients

print(Mine().fingerprint, es.LinearRegression(np.ones((3, 2)), np.ones(3)).fingerprint)
"""


def test_is_the_same_in_every_process(tmp_path: Path) -> None:
    found = set()
    for seed, name in (("1", "a.py"), ("2", "b.py"), ("random", "c.py")):
        (tmp_path / name).write_text(PROGRAM, encoding="utf-8")
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        answer = subprocess.run(
            [sys.executable, str(tmp_path / name)], env=environment, check=True, capture_output=True, text=True
        )
        found.add(answer.stdout)
    assert len(found) == 1
