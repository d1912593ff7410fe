"""Functions, classes and modules: the bytecode and everything that it reads."""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import importlib
import itertools
import sys
import types
from functools import cache
from typing import Any

from esssim._fingerprint.library import is_found_by_name, version_of
from esssim._fingerprint.walk import Walk, describe

# Through these a function reads what its code does not name; the second are attributes of modules.
DYNAMIC = {"eval", "exec", "globals", "__import__"}
DYNAMIC_ATTRIBUTES = {"import_module", "_getframe", "currentframe"}
GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
# What Python, dataclasses, enumerations and torch put into a class: it follows from the rest, or says nothing of
# numbers.
UNSAID = {
    "_abc_impl", "_backward_cls", "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__",
    "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__", "__doc__", "__firstlineno__",
    "__match_args__", "__module__", "__non_callable_proto_members__", "__orig_bases__", "__parameters__",
    "__protocol_attrs__", "__qualname__", "__slotnames__", "__slots__", "__static_attributes__", "__type_params__",
}  # fmt: skip
OF_A_CLASS = (types.FunctionType, property, staticmethod, classmethod)
# The flag of classes that are made while a program runs.
HEAP = 1 << 9

Chain = tuple[str, ...]


@cache
def reads(code: types.CodeType) -> tuple[tuple[Chain, ...], tuple[tuple[str, int, Chain], ...], set[str]]:
    """The globals that code reads, each with the attributes taken at once, ("np", "linalg", "norm"); imports; names."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "PUSH_NULL", "EXTENDED_ARG")]
    chains: set[Chain] = set()
    imports: set[tuple[str, int, Chain]] = set()
    names = set(code.co_names)
    for k, here in enumerate(instructions):
        if here.opname in GLOBAL:
            chains.add((here.argval, *_attributes_at_once(instructions[k + 1 :])))
        elif here.opname == "IMPORT_NAME":
            level, taken = instructions[k - 2].argval, instructions[k - 1].argval
            imports.add((here.argval, level or 0, tuple(taken or ())))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = reads(constant)
            chains.update(inner[0])
            imports.update(inner[1])
            names.update(inner[2])
    return tuple(sorted(chains)), tuple(sorted(imports)), names


def _attributes_at_once(instructions: list[dis.Instruction]) -> Chain:
    return tuple(here.argval for here in itertools.takewhile(lambda here: here.opname in ATTRIBUTE, instructions))


@describe.register
def _(thing: types.FunctionType, walk: Walk) -> None:
    if is_found_by_name(thing):
        walk.write("library function", thing.__module__, thing.__qualname__, version_of(thing.__module__))
        return
    walk.write("function")
    walk.into(".__code__", thing.__code__)
    walk.into(".__defaults__", thing.__defaults__)
    walk.named(thing.__kwdefaults__ or {}, ".__kwdefaults__[{!r}]")
    cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
    walk.named({name: _content(cell) for name, cell in cells}, ".__closure__[{!r}]")
    walk.named(thing.__dict__)
    home = version_of(thing.__globals__.get("__name__") or "")
    walk.write(home)
    if not home:  # a package's own globals go with its version
        _globals(thing, walk)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return NotImplemented


def _globals(function: types.FunctionType, walk: Walk) -> None:
    chains, imports, names = reads(function.__code__)
    for name in sorted(names & DYNAMIC_ATTRIBUTES):
        raise walk.refuse(f"calls {name}(), which reads what its code does not name")
    for name, *attributes in chains:
        step = f".__globals__[{name!r}]"
        walk.write(name, *attributes)
        if name in function.__globals__:
            _chain(step, function.__globals__[name], attributes, walk)
        elif hasattr(builtins, name):
            if name in DYNAMIC:
                raise walk.refuse(f"calls {name}(), which reads what its code does not name")
            walk.into(step, getattr(builtins, name))
    for name, level, taken in imports:
        package = function.__globals__.get("__package__")
        try:
            module = importlib.import_module("." * level + name, package)
        except ImportError as error:
            raise walk.refuse(f"imports {name}, which fails ({error})") from error
        walk.write("import", name, *taken)
        step = f".import({name})"
        for attribute in taken:
            _chain(step, module, [attribute], walk)
        if not taken:
            walk.into(step, module)
            walk.into(step, sys.modules[name.partition(".")[0]])


def _chain(step: str, thing: Any, attributes: list[str], walk: Walk) -> None:
    """What `thing.a.b` gives, as far as these are modules: of a module only what is read of it counts."""
    while isinstance(thing, types.ModuleType) and attributes:
        walk.write("module", thing.__name__, version_of(thing.__name__))
        name, *attributes = attributes
        step += f".{name}"
        if not hasattr(thing, name) or (thing is sys and name in ("stdout", "stderr")):  # what is printed is no number
            return
        thing = getattr(thing, name)
    walk.into(step, thing)


@describe.register
def _(thing: types.CodeType, walk: Walk) -> None:
    walk.write("code", thing.co_code, thing.co_exceptiontable, str(thing.co_flags))
    walk.write(f"{thing.co_argcount} {thing.co_posonlyargcount} {thing.co_kwonlyargcount}")
    walk.listed((thing.co_names, thing.co_varnames, thing.co_freevars, thing.co_cellvars))
    walk.listed(thing.co_consts, ".co_consts[{}]")


@describe.register
def _(thing: types.ModuleType, walk: Walk) -> None:
    version = version_of(thing.__name__)
    walk.write("module", thing.__name__ if version else "", version)
    if not version:  # passed on whole: anything in it may be read
        walk.named({name: value for name, value in vars(thing).items() if not name.startswith("__")})


@describe.register
def _(thing: type, walk: Walk) -> None:
    static = not thing.__flags__ & HEAP and version_of(thing.__module__)
    if static or is_found_by_name(thing):
        walk.write("library class", thing.__module__, thing.__qualname__, version_of(thing.__module__))
        walk.named(_foreign(thing))
        return
    walk.write("class", thing.__qualname__)
    walk.listed(thing.__bases__, ".__bases__[{}]")
    if issubclass(thing, enum.Enum):
        walk.listed([(member.name, member.value) for member in thing])
        walk.named({name: value for name, value in vars(thing).items() if isinstance(value, OF_A_CLASS)})
        return
    walk.into(".__class__", type(thing))
    walk.named({name: value for name, value in vars(thing).items() if _is_said(name, value)})


def _is_said(name: str, value: Any) -> bool:
    return name not in UNSAID and not isinstance(value, (types.GetSetDescriptorType, types.MemberDescriptorType))


def _foreign(kind: type) -> dict[str, Any]:
    """Methods of a package's class that are not the package's: somebody has put them there."""
    return {
        f"{base.__qualname__}.{name}": value
        for base in kind.__mro__
        for name, value in vars(base).items()
        if isinstance(value, types.FunctionType) and not version_of(value.__globals__.get("__name__") or "builtins")
    }


@describe.register
def _(thing: types.MethodType, walk: Walk) -> None:
    walk.write("method")
    walk.into(".__self__", thing.__self__)
    walk.into(".__func__", thing.__func__)


@describe.register
def _(thing: types.MethodWrapperType, walk: Walk) -> None:
    walk.write("method of a type", thing.__name__)
    walk.into(".__self__", thing.__self__)


@describe.register
def _(thing: types.BuiltinFunctionType, walk: Walk) -> None:
    home = thing.__self__
    found = getattr(sys.modules.get(thing.__module__ or ""), thing.__name__, None)
    if home is None or isinstance(home, types.ModuleType) or found is thing:
        walk.write("built in", thing.__name__, *_package(thing.__module__ or getattr(home, "__name__", ""), walk))
    else:
        walk.write("built in", thing.__name__)
        walk.into(".__self__", home)


@describe.register(types.WrapperDescriptorType)
@describe.register(types.MethodDescriptorType)
@describe.register(types.ClassMethodDescriptorType)
@describe.register(types.GetSetDescriptorType)
@describe.register(types.MemberDescriptorType)
def _(thing: Any, walk: Walk) -> None:
    home = thing.__objclass__
    if not isinstance(thing, types.MemberDescriptorType):
        walk.write(*_package(home.__module__, walk))
    walk.write("descriptor", home.__qualname__, thing.__name__)


def _package(module: str, walk: Walk) -> tuple[str, str]:
    """The module of compiled code and its version, which stands for what cannot be read."""
    version = version_of(module)
    if not version:
        raise walk.refuse("is compiled code of no installed package")
    return module, version


@describe.register
def _(thing: property, walk: Walk) -> None:
    walk.write("property")
    walk.into(".__class__", type(thing))
    walk.listed((thing.fget, thing.fset, thing.fdel), ".f{}")


@describe.register(staticmethod)
@describe.register(classmethod)
def _(thing: Any, walk: Walk) -> None:
    walk.write(type(thing).__name__)
    walk.into(".__func__", thing.__func__)


@describe.register
def _(thing: functools.cached_property, walk: Walk) -> None:  # type: ignore[type-arg]
    walk.write("cached property")
    walk.into(".func", thing.func)


@describe.register
def _(thing: functools._lru_cache_wrapper, walk: Walk) -> None:  # type: ignore[type-arg]
    walk.write("cached function")
    walk.into(".__wrapped__", thing.__wrapped__)


@describe.register
def _(thing: functools.partial, walk: Walk) -> None:  # type: ignore[type-arg]
    walk.write("partial")
    walk.into(".__class__", type(thing))
    walk.into(".func", thing.func)
    walk.listed(thing.args, ".args[{}]")
    walk.named(thing.keywords, ".keywords[{!r}]")
    walk.named(thing.__dict__)
