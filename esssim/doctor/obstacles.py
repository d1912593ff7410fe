"""(i) What machines put in the way: a full disk, folders and installations that nobody can write to, no home."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from esssim._rows import Row
from esssim.doctor.check import Finding, Unavailable, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments.folder import rescue
from esssim.experiments.sweeps import from_toml, run

# Before the command line: files may only be so large, as on a disk with so much room.
SMALL_FILES = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
"""
COMMAND = """
import sys
from esssim import cli
sys.exit(cli.run(sys.argv[1:]))
"""

# A command that meets an obstacle: exit code, what it said, and the folder of the sweep afterwards.
Tried = tuple[int, str, Path]


@check(key="i", title="Full disk, read-only folder and installation, no home", seconds=(40.0, 100.0))
def obstacles(quick: bool) -> Finding:
    """`esssim sweep`, in a process of its own where the obstacle is one of processes: where the disk is full it has to
    end with one line that says so, keep what was finished, and go on once there is room; where a folder cannot be
    written to, one line names it; without a home, or where nothing can be written beside the code, it gives the bits
    that it gives otherwise.
    """
    if os.name != "posix":
        raise Unavailable("needs a system with limits of processes and users")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        root = Path(name)
        os.chmod(root, 0o755)
        config = root / "sweep.toml"
        config.write_text(small_sweep(40, 100), encoding="utf-8")
        run(from_toml(config), root / "expected", 1)
        expected = rescue.verify(root / "expected").digest
        tries: dict[str, Callable[[Path, Path, str], str]] = {
            "full disk": _full_disk, "read-only folder": _read_only_folder, "no home": _no_home,
            "read-only installation": _read_only_installation,
        }  # fmt: skip
        if quick:  # in the others all loops are compiled anew
            tries = {name: tries[name] for name in ("full disk", "read-only folder")}
        for obstacle, tried in steps(list(tries.items())):
            rows.append({"obstacle": obstacle, "wrong": tried(root, config, expected)})
    failures = [f"{row['obstacle']}: {row['wrong']}" for row in rows if row["wrong"]]
    return Finding({"obstacles": len(rows), "met_badly": len(failures)}, {"met_badly": exactly(0)}, rows, failures)


def _arguments(folder: Path, config: Path) -> list[str]:
    return ["sweep", str(config), "--out", str(folder), "--workers", "1", "--json"]


def _sweep(folder: Path, config: Path) -> Tried:
    from esssim import cli

    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = cli.run(_arguments(folder, config))
    return code, said.getvalue(), folder


def _sweep_apart(folder: Path, config: Path, before: str = "", **environment: str) -> Tried:
    done = subprocess.run(
        [sys.executable, "-c", before + COMMAND, *_arguments(folder, config)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, folder


def _full_disk(root: Path, config: Path, expected: str) -> str:
    """Room for the plan and the first rows; for all rows there is none."""
    folder = root / "full"
    code, said, _ = _sweep_apart(folder, config, SMALL_FILES.format(room=20_000))
    if code != 2 or "Traceback" in said:
        return f"exit code {code}: {said[-300:]}"
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    if len(errors) != 1 or "cannot be written" not in errors[0]:
        return f"it said {errors}"
    if not rescue.verify(folder).intact:
        return "the folder is not intact"
    code, said, _ = _sweep(folder, config)
    return "" if code == 0 and rescue.verify(folder).digest == expected else f"it did not go on: {said[-300:]}"


def _read_only_folder(root: Path, config: Path, expected: str) -> str:
    """A folder without permissions; for the superuser, whom they do not stop, one of the system's own."""
    folder = root / "closed"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:
        folder = Path("/proc")
    code, said, _ = _sweep(folder, config)
    named = [line for line in said.splitlines() if line.startswith("error:") and str(folder) in line]
    return "" if code == 2 and len(named) == 1 else f"exit code {code}: {said[-300:]}"


def _no_home(root: Path, config: Path, expected: str) -> str:
    code, said, folder = _sweep_apart(
        root / "homeless", config, HOME="/dev/null/home", XDG_CACHE_HOME="/dev/null/cache"
    )
    if code != 0:
        return f"exit code {code}: {said[-300:]}"
    return "" if rescue.verify(folder).digest == expected else "other numbers"


def _read_only_installation(root: Path, config: Path, expected: str) -> str:
    """A copy of the code beside which no file can be made: where Python and numba want a folder there is a file, which
    stops the superuser too.
    """
    copy = root / "installed" / "esssim"
    shutil.copytree(Path(__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        (folder / "__pycache__").touch()
        folder.chmod(0o555)
    before = sorted(copy.rglob("*"))
    place = str(copy.parent)
    taken = f"import sys; sys.path.insert(0, {place!r}); import esssim; assert {place!r} in esssim.__file__\n"
    code, said, folder = _sweep_apart(root / "elsewhere", config, taken, XDG_CACHE_HOME=str(root / "caches"))
    for changed in copy.rglob("*"):  # so that it can be removed
        if changed.is_dir():
            changed.chmod(0o755)
    copy.chmod(0o755)
    if code != 0:
        return f"exit code {code}: {said[-300:]}"
    if sorted(copy.rglob("*")) != before:
        return "a file was written beside the code"
    return "" if rescue.verify(folder).digest == expected else "other numbers"
