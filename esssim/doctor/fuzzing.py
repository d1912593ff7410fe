"""(n) Mutated configurations, tables and stores: an answer or a documented error, and nothing written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import esssim as es
from esssim._rows import Row
from esssim.doctor.bad_input import CONFIGURATION
from esssim.doctor.check import Finding, Unavailable, at_least, at_most, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments import from_toml, sweeps
from esssim.experiments import open as open_sweep
from esssim.experiments.folder.reading import PARTS, PLAN
from esssim.store import read_verified, write_verified

QUICK, FULL, CHUNK = 100, 100_000, 100
# Seconds after which an answer counts as a hang.
PATIENCE = 10.0
TABLE = b"a,b,y\n1,2.5,3\n-4,5e3,6\n7,8,nan\n\n10,11,12\n"
PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b",", b";", b"\t", b'"', b"'", b"=", b"[", b"]", b"{", b"}",
    b".",
    b"-1", b"0", b"1e999", b"nan", b"inf", b"999999999999999999999", b"true", b'"../../x"', b'"/etc/passwd"', b"[grid]",
    b"__class__", b"\xc3\xa9",
)  # fmt: skip
# Where a piece goes, how many bytes it takes the place of, and the piece.
Edit = tuple[int, int, bytes]


@dataclass(frozen=True)
class Reader:
    """A reader under test. content: what is mutated; laid: puts it into a folder and returns what `read` takes."""

    name: str
    content: bytes
    laid: Callable[[Path, bytes], Path]
    read: Callable[[Path], object]


@dataclass
class Seen:
    inputs: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


@check(key="n", title="Readers withstand any bytes", seconds=(40.0, 10_000.0))
def fuzzing(quick: bool) -> Finding:
    """Configurations of experiments and sweeps, tables as CSV, Parquet and NPZ, saved traces, and plans and parts of a
    sweep's folder, mutated by hypothesis: up to six pieces of bytes put in or in the place of others, the checksums of
    plans and parts made right again. Each input has to be read or refused by a documented error within ten seconds,
    with no file opened for writing and none left behind. Readers take turns: `python docs/reliability.py n` that is
    interrupted gives what it has.
    """
    if find_spec("hypothesis") is None:
        raise Unavailable("not installed: pip install hypothesis")
    count = QUICK if quick else FULL
    rows, failures = list[Row](), list[str]()
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name, contextlib.chdir(name):
        readers = _readers(Path(name) / "samples")
        jobs = [(reader, seed) for seed in range(count // CHUNK) for reader in readers]
        seen = {reader.name: Seen() for reader in readers}
        folder = Path(name) / "folder"
        with contextlib.suppress(KeyboardInterrupt):
            for reader, seed in steps(jobs):
                fuzz(reader, folder, seen[reader.name], seed)
    for reader_name, each in seen.items():
        rows.append({"reader": reader_name, "inputs": each.inputs, "accepted": each.accepted,
                     "failures": len(each.failures), "slowest_seconds": each.slowest})  # fmt: skip
        failures += [f"{reader_name}: {words}" for words in sorted(set(each.failures))]
    figure = {
        "least_inputs_of_a_reader": min(each.inputs for each in seen.values()),
        "inputs": sum(each.inputs for each in seen.values()),
        "failures": sum(len(each.failures) for each in seen.values()),
        "slowest_seconds": max(each.slowest for each in seen.values()),
    }
    wanted = {"failures": exactly(0), "slowest_seconds": at_most(PATIENCE), "least_inputs_of_a_reader": at_least(count)}
    return Finding(figure, wanted, rows, failures)


def fuzz(reader: Reader, folder: Path, seen: Seen, seed: int) -> None:
    """A hundred mutations."""
    import hypothesis
    from hypothesis import strategies as st

    edit = st.tuples(st.integers(0, len(reader.content)), st.integers(0, 12),
                     st.sampled_from(PIECES) | st.binary(max_size=8))  # fmt: skip

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=CHUNK, database=None, deadline=None, phases=[hypothesis.Phase.generate],
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.given(st.lists(edit, min_size=1, max_size=6))
    def tried(edits: list[Edit]) -> None:
        one(reader, folder, mutated(reader.content, edits), seen)

    tried()


def mutated(content: bytes, edits: list[Edit]) -> bytes:
    for at, taken, piece in edits:
        content = content[:at] + piece + content[at + taken :]
    return content


def one(reader: Reader, folder: Path, content: bytes, seen: Seen) -> None:
    """Read one input, and note what is wrong about that."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = reader.laid(folder, content)
    before, started = _files(folder), time.perf_counter()
    seen.inputs += 1
    with watched() as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(path)
            seen.accepted += 1
        except ValueError:
            pass
        except Exception as error:
            seen.failures.append(f"{type(error).__name__}: {str(error)[:100]}")
    seen.slowest = max(seen.slowest, time.perf_counter() - started)
    if written:
        seen.failures.append(f"opened for writing: {Path(written[0]).name}")
    if _files(folder) != before:
        seen.failures.append("left files behind")


def _files(folder: Path) -> dict[str, int]:
    """All files of the folder and of the working folder about it, with their sizes."""
    places = [*folder.rglob("*"), *folder.parent.iterdir()]
    return {str(path): path.stat().st_size for path in places if path.is_file()}


_written: list[str] | None = None
_hooked = False


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """The paths that Python opens for writing, makes, renames or removes meanwhile."""
    global _written, _hooked
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    found = list[str]()
    _written = found
    try:
        yield found
    finally:
        _written = None


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is None:
        return
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0] != os.devnull:
            _written.append(str(arguments[0]))
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link"):
        _written.append(str(arguments[0]))


def _readers(samples: Path) -> list[Reader]:
    samples.mkdir()
    (samples / "t.csv").write_bytes(TABLE)
    columns = {"a": np.arange(5.0), "b": np.ones((5, 2)), "y": np.arange(5.0)}
    np.savez(samples / "t.npz", **columns)  # type: ignore[arg-type]
    import pandas

    pandas.DataFrame({"a": [1.0, 2.0], "y": [3.0, 4.0]}).to_parquet(samples / "t.parquet")
    trace = es.simulate(es.LinearRegression([[1.0]], [1.0]), [0.0], step_size=0.1, sampling=es.WithReplacement(1),
                        n_steps=5, n_records=3, seed=0)  # fmt: skip
    es.save(trace, samples / "trace.nc")
    swept = small_sweep(5, 20, ("levels",), step_size="0.01")
    sweeps.run(sweeps.from_toml(swept), samples / "sweep", 1)
    plan, (part,) = samples / "sweep" / PLAN, (samples / "sweep" / PARTS).iterdir()

    def with_part(folder: Path, content: bytes) -> Path:
        (folder / PARTS).mkdir()
        shutil.copy(plan, folder)
        (folder / PARTS / f"{hashlib.sha256(content).hexdigest()}.parquet").write_bytes(content)
        return folder

    def as_file(name: str) -> Callable[[Path, bytes], Path]:
        def laid(folder: Path, content: bytes) -> Path:
            (folder / name).write_bytes(content)
            return folder / name

        return laid

    return [
        Reader("configuration", CONFIGURATION.encode(), as_file("c.toml"), from_toml),
        Reader("sweep", swept.encode(), as_file("s.toml"), sweeps.from_toml),
        *[
            Reader(
                f"table, {kind}",
                (samples / f"t.{kind}").read_bytes(),
                as_file(f"t.{kind}"),
                lambda path: es.data.read_table(path, "y"),
            )
            for kind in ("csv", "npz", "parquet")
        ],
        Reader("trace", (samples / "trace.nc").read_bytes(), as_file("trace.nc"), es.load),
        Reader("plan", read_verified(plan, 10**6), with_plan, _opened),
        Reader("part", part.read_bytes(), with_part, _opened),
    ]


def with_plan(folder: Path, content: bytes) -> Path:
    write_verified(folder / PLAN, content)
    return folder


def _opened(folder: Path) -> object:
    return open_sweep(folder).load()
