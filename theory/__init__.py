"""Derivations: one result a module, each readable from top to bottom and checked step by step.

Convention, by which modules are found without a list:

* the module docstring is the statement, its first line the title;
* ``derive()`` returns the results as named sympy expressions (or the module has them as ``RESULT``: one, or a dict);
* ``COMPUTED_BY`` names the objects of esssim that compute the result;
* ``check()`` asserts every step of the derivation, symbolically or in exact rational arithmetic;
* the name does not start with an underscore.

``python -m theory`` runs every check and typesets the results.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any


def names() -> list[str]:
    """The results, by module name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def module(name: str) -> ModuleType:
    """The module of a result. Raises ValueError for an unknown name, and for a module that breaks the convention."""
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}, got {name!r}")
    found = import_module(f"{__name__}.{name}")
    if not found.__doc__ or not hasattr(found, "check") or not (hasattr(found, "derive") or hasattr(found, "RESULT")):
        raise ValueError(f"theory/{name}.py must have a docstring, check() and derive() or RESULT")
    return found


def results(name: str) -> dict[str, Any]:
    """The named final expressions of a result."""
    found = module(name)
    derived = found.derive() if hasattr(found, "derive") else found.RESULT
    return dict(derived) if isinstance(derived, dict) else {name: derived}


def title(name: str) -> str:
    """The first line of the statement."""
    return (module(name).__doc__ or "").strip().partition("\n")[0].rstrip(".")


def computed_by(name: str) -> tuple[str, ...]:
    """Full names of what computes the result in esssim."""
    return tuple(module(name).COMPUTED_BY)
