"""The house: imports run one way, and pictures know nothing of claims."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What is imported stands before what imports it.
ORDER = (
    "curvature", "problems", "data", "spectra", "statistics", "gap", "stability", "simulation", "moments", "settling",
    "flow", "experiments", "claims", "plots", "report", "explorer", "cli",
)  # fmt: skip
# The map of stability draws itself where it is asked to.
EXCEPT = {("esssim/stability/map.py", "plots")}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(path: Path) -> set[str]:
    """The packages of esssim that a file imports."""
    return {parts[1] for name in imported(path) if (parts := name.split("."))[0] == "esssim" and len(parts) > 1}


def files_of(room: str) -> list[Path]:
    place = ROOT / "esssim" / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def test_imports_run_one_way() -> None:
    wrong = [
        (str(path.relative_to(ROOT)), other)
        for rank, room in enumerate(ORDER)
        for path in files_of(room)
        for other in rooms(path) & set(ORDER[rank + 1 :])
    ]
    assert set(wrong) == EXCEPT


def test_pictures_know_nothing_of_claims() -> None:
    paths = [*sorted((ROOT / "figures").glob("*.py")), *files_of("plots")]
    assert len(paths) > 25
    for path in paths:
        assert "claims" not in rooms(path), path
        assert "registry" not in path.read_text(encoding="utf-8"), path
