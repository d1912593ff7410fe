"""Where the figure scripts are: inside the installed wheel as esssim.figures, beside esssim in the repository."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "esssim.figures"


def scripts() -> ModuleType:
    """The package of the figure scripts, under one name wherever it lies. Raises RuntimeError where there is none."""
    if NAME in sys.modules or find_spec(NAME) is not None:
        return import_module(NAME)
    folder = Path(__file__).parents[1] / "figures"
    spec = spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
        raise RuntimeError(f"the figure scripts are missing: neither {NAME} nor {folder} is there")
    package = module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    return package
