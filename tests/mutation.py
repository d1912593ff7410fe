"""Mutation testing: does the suite notice when a formula is wrong?

    python -m tests.mutation [spectra] [statistics] [sampling] [stability] [--sample N] [--seed S] [--list]

Each mutant is one small error in one place: a constant doubled (0→1, 1→2, 2→3), n for n−1, + for −, × for ÷, a power for a
product, a sign dropped, a comparison turned or moved by its boundary, min for max, `and` for `or`, a condition negated, or
the coefficients of one sampling scheme given to another. It is written into a copy of the package, where the tests of that
module then run. A mutant that some test fails on is killed; so is one that hangs. Exit code 1 under 90 %.

`EQUIVALENT` lists the places where an error of this kind is none, each with its reason: they are not counted.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = 0.9
WORKERS = 2
TIMEOUT = 120.0


@dataclass(frozen=True)
class Module:
    """Source files (globs below esssim/) and the test files that answer for them, quickest first."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


MODULES = {
    "spectra": Module(("spectra/*.py", "_kernels/secular.py"), ("tests/test_spectra.py",)),
    "statistics": Module(("statistics/*.py",), ("tests/test_statistics.py",)),
    "sampling": Module(("sampling.py", "_kernels/sampling.py"), ("tests/test_sampling.py",)),
    "stability": Module(("stability/*.py",), ("tests/test_published.py", "tests/test_stability.py")),
    "moments": Module(("moments/*.py",), ("tests/test_moments.py",)),
}

# (file, pattern in "line of source # change", reason): where an error is none. Nothing else is left out.
ROUTES = "speed only: either route gives the same eigenvalue, which the tests check separately"
TOLERANCE = "a numerical tolerance or cap: another value of this size is as right"
SCALE = "a power of two for range only: LAPACK scales by itself, or any neighbouring power serves"
BOUNDARY = "the two sides of this boundary agree, or no double lies on it"
EQUIVALENT: tuple[tuple[str, str, str], ...] = (
    ("_kernels/sampling.py", r"RESHUFFLED = .*# 2 → 3", "a name for a scheme: any third integer"),
    (
        "_kernels/sampling.py",
        r"^swaps = batches\[0\]\.copy\(\) .* # (0 → 1|1 → 2)",
        "only the shape of the row is used, its content is overwritten",
    ),
    (
        "esssim/sampling.py",
        r"\.reshape\(-1, batch_size\) # 1 → 2",
        "numpy reads any negative length as the unknown one",
    ),
    ("_kernels/secular.py", r"^(MAX_ITERATIONS|UNSEEN) = ", TOLERANCE),
    ("_kernels/secular.py", r"norms\[k\] > UNSEEN → norms\[k\] >= |norms\[k\] <= UNSEEN → norms\[k\] < ", BOUNDARY),
    (
        "_kernels/secular.py",
        r"top_seen == -np\.inf: # -np\.inf → np\.inf",
        "the dense fallback then finds the same value",
    ),
    ("_kernels/secular.py", r"# (step > .* → step >= |4\.0 \* EPS \* tau → 4\.0 \* EPS / tau|4\.0 → 8\.0)", TOLERANCE),
    ("_kernels/secular.py", r"<= 1e-8 # (1e-08 → |abs\(mu - 1\.0\) <= 1e-08 → abs\(mu - 1\.0\) < )", TOLERANCE),
    ("spectra/batches.py", r"^if batches\.shape\[1\] == 1 and .* # (1 → 2|len)", ROUTES),
    ("spectra/dense.py", r"^last = .* # 0 → 1", "the matrix is square"),
    (
        "spectra/dense.py",
        r"# np\.abs\(matrix\)\.max → |np\.frexp\(largest\).* # (largest > 0 → |0 → 1|np|1 → 2|1\.0 → 2)",
        SCALE,
    ),
    (
        "spectra/gram.py",
        r"# 600 → 1200",
        "the cap keeps the exponent small: weights below 2⁻⁶⁰⁰ count for nothing",
    ),
    ("spectra/gram.py", r"# b > |^elif _gram_pays|^return shape\[0\] \*\* 2 .* # (?!1 → 2)", ROUTES),
    ("spectra/gram.py", r"matrices\.shape\[-1\] == 2: # (-1 → 1|1 → 2)", "the matrices are square"),
    ("spectra/lanczos.py", r"seed: int = 0, # 0 → 1", "any seed"),
    (
        "spectra/lanczos.py",
        r"→ np\.linalg\.norm\(image_\w+\) / np",
        "one of two terms of a tolerance, of the same size",
    ),
    ("spectra/lanczos.py", r"1e-9 \* scale: # 1e-09 → ", TOLERANCE),
    ("spectra/lanczos.py", r"size <= 3: .*# (size <= 3 → size < 3|3 → 6)", ROUTES),
    (
        "spectra/lanczos.py",
        r"ncv=min\(size, 40\)\) # (min|40) ",
        "speed only: the number of Lanczos vectors, which scipy limits to the size",
    ),
    ("spectra/lanczos.py", r"residual <= .* → residual < ", BOUNDARY),
    (
        "spectra/secular.py",
        r"^exponents = .* # (_exponents|1 → 2|2 → 3)|^return np\.where.* # (0\.0 → 1|1000 → 2000)",
        SCALE,
    ),
    ("statistics/estimate.py", r"^ENUMERATION_LIMIT = ", "a budget of seconds, not a formula"),
    ("statistics/mean_square.py", r"^RANK_TOLERANCE = |# RANK_TOLERANCE \* top → |→ eigenvalues >= ", TOLERANCE),
    ("moments/stationary.py", r"^(DENSE_RANK|SINGULAR|RESIDUAL|REFINEMENTS) = ", TOLERANCE),
    (
        "statistics/mean_square.py",
        r"→ np\.trace\(matrix\) <= 0",
        "a unit positive semidefinite matrix has no trace of 0",
    ),
    (
        "statistics/mean_square.py",
        r"^for floor in ",
        "a ladder of floors: any positive one gives a valid bound, the best is kept",
    ),
    ("statistics/mean_square.py", r"floor \* values\[-1\] → floor / ", "the same ladder, in other units"),
    ("statistics/mean_square.py", r"^slack = 8 .* # 8 → 16", "a margin for rounding: a larger one is as valid"),
    ("statistics/pointwise.py", r"^DENSE_LIMIT = ", "speed only: where Lanczos takes over"),
    ("statistics/pointwise.py", r"curvature\.diagonals is None and n < p: # (n < p → n <= p|curvature)", ROUTES),
    (
        "statistics/pointwise.py",
        r"or 1\.0\) # 1\.0 → 2",
        "reached only where every gradient is zero, whatever it is divided by",
    ),
)


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    change: str
    source_line: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.change}    in: {self.source_line.strip()}"


ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
EXTREMES = {"min": "max", "minimum": "maximum", "argmin": "argmax"}
EXTREMES |= {new: old for old, new in EXTREMES.items()}


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Every wrong version of one node."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant({0: 1, 1: 2, 2: 3}.get(node.value, 2 * node.value))
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        if isinstance(node.op, (ast.Add, ast.Sub)) and isinstance(node.right, ast.Constant) and node.right.value == 1:
            yield node.left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for turned in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [turned()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Name) and node.id in EXTREMES:
        yield ast.Name(EXTREMES[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in EXTREMES:
        yield ast.Attribute(node.value, EXTREMES[node.attr], node.ctx)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(
        node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)
    ):
        wrong = copy.copy(node)
        wrong.test = ast.UnaryOp(ast.Not(), node.test)
        yield wrong


# Types, decorators and the wording of error messages hold no formula.
IGNORED_FIELDS = {"annotation", "returns", "decorator_list", "type_params"}


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, index) of every node that may be mutated."""
    for field, value in ast.iter_fields(node):
        if field in IGNORED_FIELDS or isinstance(node, (ast.Raise, ast.JoinedStr)):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not is_overload(child):
                yield node, field, index
                yield from places(child)


def is_overload(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in decorators)


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a source file, in its order."""
    source = path.read_text(encoding="utf-8")
    tree, lines, name = ast.parse(source), source.splitlines(), path.relative_to(ROOT).as_posix()
    found = []
    for parent, field, index in list(places(tree)):
        container = getattr(parent, field)
        original = container if index is None else container[index]
        for wrong in list(replacements(original)):
            _put(parent, field, index, wrong)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, index, original)
            change = f"{_shown(original)} → {_shown(wrong)}"
            found.append(Mutant(name, original.lineno, change, lines[original.lineno - 1], text))
    found += swapped_methods(tree, name)
    return found


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _shown(node: ast.AST) -> str:
    shown = ast.unparse(node.test if isinstance(node, (ast.If, ast.While)) else node)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def swapped_methods(tree: ast.Module, name: str) -> list[Mutant]:
    """The coefficients of one sampling scheme in the place of another's, and c in the place of c₃."""
    methods = {
        (owner.name, method.name): method
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, ast.FunctionDef) and method.name.endswith("_coefficient")
    }
    found = []
    for (owner, method), node in methods.items():
        for (other_owner, other_method), other in methods.items():
            if node is other or "Sampling" in (owner, other_owner) or (owner != other_owner and method != other_method):
                continue
            original, node.body = node.body, other.body
            change = f"{owner}.{method} → {other_owner}.{other_method}"
            found.append(Mutant(name, node.lineno, change, f"def {method}", ast.unparse(tree)))
            node.body = original
    return found


def reason_to_exclude(mutant: Mutant) -> str | None:
    for path, pattern, reason in EQUIVALENT:
        if mutant.path.endswith(path) and re.search(pattern, f"{mutant.source_line.strip()} # {mutant.change}"):
            return reason
    return None


class Sandbox:
    """A copy of the repository in which one mutant at a time lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("esssim", "tests", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def passes(self, tests: tuple[str, ...]) -> bool:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # Bytecode is found by a time of whole seconds: a mutant written within the same second would be overlooked.
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
        try:
            finished = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return False
        return finished.returncode == 0

    def survives(self, mutant: Mutant, tests: tuple[str, ...]) -> bool:
        path = self.folder / mutant.path
        original = path.read_bytes()
        try:
            path.write_text(mutant.text, encoding="utf-8")
            return self.passes(tests)
        finally:
            path.write_bytes(original)


def run(name: str, sandboxes: list[Sandbox], sample: int | None, seed: int) -> tuple[int, list[Mutant], int]:
    """(number of mutants run, those that survived, number left out as equivalent)."""
    module = MODULES[name]
    sources = sorted(path for pattern in module.sources for path in (ROOT / "esssim").glob(pattern))
    everything = [mutant for path in sources for mutant in mutants_of(path)]
    chosen = [mutant for mutant in everything if reason_to_exclude(mutant) is None]
    left_out = len(everything) - len(chosen)
    if sample is not None and sample < len(chosen):
        # In the order of the files: a compiled loop is compiled again whenever its file changes.
        chosen = [chosen[i] for i in sorted(random.Random(seed).sample(range(len(chosen)), sample))]
    idle: SimpleQueue[Sandbox] = SimpleQueue()
    for sandbox in sandboxes:
        idle.put(sandbox)

    def survives(mutant: Mutant) -> bool:
        sandbox = idle.get()
        try:
            alive = sandbox.survives(mutant, module.tests)
        finally:
            idle.put(sandbox)
        if alive:
            print(f"survived  {mutant}", flush=True)
        return alive

    with ThreadPoolExecutor(len(sandboxes)) as pool:
        alive = list(pool.map(survives, chosen))
    return len(chosen), [mutant for mutant, lives in zip(chosen, alive, strict=True) if lives], left_out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], help="all when left out")
    parser.add_argument("--sample", type=int, help="so many mutants per module, drawn at random; all when left out")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--list", action="store_true", help="show the mutants left out as equivalent, with the reasons")
    options = parser.parse_args()
    names = options.modules or list(MODULES)
    if options.list:
        for name in names:
            for pattern in MODULES[name].sources:
                for path in sorted((ROOT / "esssim").glob(pattern)):
                    for mutant in mutants_of(path):
                        if reason := reason_to_exclude(mutant):
                            print(f"{mutant}\n    {reason}")
        return 0
    rows, killed_of_all, run_of_all = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        sandboxes = [Sandbox(Path(folder) / str(worker)) for worker in range(WORKERS)]
        for name in names:
            start = time.monotonic()
            with ThreadPoolExecutor(WORKERS) as pool:
                if not all(pool.map(lambda sandbox, name=name: sandbox.passes(MODULES[name].tests), sandboxes)):
                    print(f"{name}: the tests fail without any mutant", file=sys.stderr)
                    return 2
            total, alive, left_out = run(name, sandboxes, options.sample, options.seed)
            rows.append((name, total, total - len(alive), len(alive), left_out, time.monotonic() - start))
            killed_of_all, run_of_all = killed_of_all + total - len(alive), run_of_all + total
    print(f"\n{'module':<12}{'mutants':>8}{'killed':>8}{'survived':>10}{'score':>8}{'left out':>10}{'seconds':>9}")
    for name, total, killed, survived, left_out, seconds in rows:
        print(f"{name:<12}{total:>8}{killed:>8}{survived:>10}{killed / total:>8.1%}{left_out:>10}{seconds:>9.0f}")
    score = killed_of_all / run_of_all
    print(f"{'all':<12}{run_of_all:>8}{killed_of_all:>8}{run_of_all - killed_of_all:>10}{score:>8.1%}")
    return 0 if min(row[2] / row[1] for row in rows) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
