"""What comes from an installed package, and is therefore known by its name and the package's version."""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

INSTALLED = {"site-packages", "dist-packages"}


@cache
def version_of(module: str) -> str:
    """The package of a module and its version, such as "numpy 2.4.0"; "" for code of the user's own."""
    top = module.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return ""
    if top == "esssim":
        return f"esssim {sys.modules[top].__version__}"
    file = _file(top)
    if file is None:
        known = top in sys.builtin_module_names or top in sys.stdlib_module_names
        return _python() if known else ""
    if INSTALLED & set(file.parts):
        return f"{top} {_version(top)}"
    # A file of the user's own may have the name of a module of Python.
    homes = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    return _python() if any(home in file.parents for home in homes) else ""


def is_found_by_name(thing: Any) -> bool:
    """Whether `module.qualname` of an installed package is this very thing: not one that a function there has made."""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or not version_of(module):
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        # What a class inherits or binds is not looked up by attribute access, which makes new objects.
        found = vars(found).get(name) if isinstance(found, type) else getattr(found, name, None)
    return getattr(found, "__func__", found) is thing


def _file(top: str) -> Path | None:
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    found = next((place for place in places if isinstance(place, str)), None)
    return None if found is None else Path(found)


def _version(top: str) -> str:
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        owners = importlib.metadata.packages_distributions().get(top, ())
        own = getattr(sys.modules.get(top), "__version__", "")
        return " ".join(map(importlib.metadata.version, sorted(set(owners)))) or str(own)


def _python() -> str:
    return f"python {sys.version_info.major}.{sys.version_info.minor}"
