"""No home, and an installation that nobody can write to: slower, and otherwise the same."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim._kernels import keeping, sampling

PACKAGE = Path(es.__file__).parent
NUMBERS = """
import esssim as es, numpy as np
from esssim._kernels import sampling
rows = np.random.default_rng(0).standard_normal((8, 3))
problem = es.LinearRegression(rows, rows[:, 0])
trace = es.simulate(problem, np.zeros(3), step_size=0.1, sampling=es.WithoutReplacement(2), n_steps=20, seed=1)
print(float(es.minibatch_sharpness(problem, np.zeros(3), es.WithoutReplacement(2))), float(trace["loss"][0, -1]))
print(getattr(sampling.partial_shuffle._cache, "cache_path", None))
"""
ONE_LOOP = """
import numpy as np
from esssim._kernels import sampling
sampling.partial_shuffle(np.random.default_rng(0), np.arange(4), 2)
print(sampling.partial_shuffle._cache.cache_path)
"""


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package where each folder of caches is a file: not even root can write there."""
    folder = tmp_path_factory.mktemp("installation")
    shutil.copytree(PACKAGE, folder / "esssim", ignore=shutil.ignore_patterns("__pycache__", "figures"))
    for path in [folder / "esssim", *(folder / "esssim").rglob("*/")]:
        if path.is_dir():
            (path / "__pycache__").write_text("")
    return folder


def run(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NUMBA_"))}
    clean |= {"PYTHONPATH": str(folder), "HOME": "/dev/null/home", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300, check=False, cwd="/")


@pytest.fixture(scope="module")
def expected() -> str:
    return run(PACKAGE.parent, NUMBERS).stdout.splitlines()[0]


def test_loops_are_kept_in_a_private_temporary_folder(read_only: Path, expected: str, tmp_path: Path) -> None:
    done = run(read_only, NUMBERS, TMPDIR=str(tmp_path))
    assert done.stderr == ""
    numbers, place = done.stdout.splitlines()
    assert numbers == expected
    assert Path(place).parent.parent == tmp_path
    assert stat.S_IMODE(Path(place).parent.stat().st_mode) == 0o700
    assert list(Path(place).glob("*.nbc"))


def test_without_any_folder_nothing_is_kept(read_only: Path, expected: str) -> None:
    done = run(read_only, "import tempfile; tempfile.tempdir = '/dev/null/none'\n" + NUMBERS)
    assert (done.stdout.splitlines(), done.stderr) == ([expected, "None"], "")


def test_a_folder_of_the_user_comes_first(read_only: Path, tmp_path: Path) -> None:
    done = run(read_only, ONE_LOOP, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert Path(done.stdout.strip()).parent == tmp_path / "mine"
    done = run(read_only, ONE_LOOP, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "cache")


def test_the_command_line_works(read_only: Path) -> None:
    code = "import sys; from esssim.cli import run; sys.exit(run(['measure', 'wine', '--batch-size', '178']))"
    done = run(read_only, "import tempfile; tempfile.tempdir = '/dev/null/none'\n" + code)
    assert done.returncode == 0, done.stderr
    assert "critical step size" in done.stdout
    assert len(done.stderr.splitlines()) == 2  # what is being done, and how far it is


def test_figures_of_a_user_without_a_home_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from figures import cache

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ESSSIM_CACHE", raising=False)
    with pytest.raises(OSError, match="Not a directory"):
        cache.folder().mkdir(parents=True)
    with cache._runs_are_kept():
        assert "ESSSIM_CACHE" not in os.environ


class TestPlace:
    def test_a_folder_that_others_can_write_to_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        folder = keeping.temporary_folder()
        assert folder.parent == tmp_path
        folder.chmod(0o777)
        with pytest.raises(PermissionError, match="private"):
            keeping.temporary_folder()
        folder.rmdir()
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(PermissionError, match="private"):
            keeping.temporary_folder()

    def test_a_damaged_or_full_disk_costs_time_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import numba

        monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

        def compile_again() -> object:
            return keeping.kept(numba.njit(sampling.partial_shuffle.py_func))

        compile_again()(np.random.default_rng(0), np.arange(4), 2)
        (index,) = tmp_path.rglob("*.nbi")
        for content in (b"", b"damaged", index.read_bytes()[:-20]):
            index.write_bytes(content)
            compile_again()(np.random.default_rng(0), np.arange(4), 2)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        index.unlink()
        monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
        compile_again()(np.random.default_rng(0), np.arange(4), 2)
