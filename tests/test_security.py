"""Each promise of SECURITY.md."""

from __future__ import annotations

import ast
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim.data import tables
from esssim.experiments import ConfigurationError, Grid, from_toml
from esssim.experiments import open as open_sweep
from esssim.experiments.folder import parts, reading, rescue
from esssim.experiments.sweeps import sweep
from tests import sweep_cases
from tests.sweep_cases import CHEAP, SHORT

PACKAGE = Path(es.__file__).parent
GRID = {"sampling.batch_size": [1, 2, 3]}


class Bomb:
    """What pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("exploded", "w"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sweep(CHEAP, GRID, tmp_path / "s", n_workers=1, measures=(sweep_cases.product,))
    return tmp_path / "s"


def test_no_pickle_is_read_from_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "t.npz", y=np.array([Bomb()], dtype=object), x=np.ones(1))
    with pytest.raises(ValueError, match=r"t\.npz"):
        es.data.read_table(tmp_path / "t.npz", "y")
    (tmp_path / "u.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"u\.npz"):
        es.data.read_table(tmp_path / "u.npz", "y")
    assert not (tmp_path / "exploded").exists()


# Where objects of this process's own making cross to another one, or a network of the user's own to a copy.
PICKLING = {"bridge"}


def test_no_code_evaluates_text_or_reads_pickles() -> None:
    """No call of eval, exec, compile, pickle.load(s) or torch.load without weights_only in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in PICKLING:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("eval", "exec") or name.startswith(("pickle.", "joblib.load", "marshal.", "dill.")):
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}")
                if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: allow_pickle")
    assert found == []


@pytest.mark.parametrize("text", ["__import__('os').mkdir('x')", "1 if open('x', 'w') else 2", "2*3"])
def test_text_is_never_evaluated(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for change in (f'dynamics.step_size="{text}"', f'records.after="{text}"'):
        with pytest.raises(ConfigurationError):
            from_toml(SHORT, [change])
    with pytest.raises(ConfigurationError):
        Grid.of({"dynamics.seed": text})
    with pytest.raises(ConfigurationError):
        Grid.of({"dynamics.seed": [1], "where": [["dynamics.seed", "<", text]]}).cells({})
    with pytest.raises(ConfigurationError):
        Grid.of({"dynamics.seed": {"from": text, "to": 3}})
    assert list(tmp_path.iterdir()) == []


def test_a_null_character_in_a_path_is_refused_by_name() -> None:
    text = SHORT.replace('kind = "gaussian"\nn_samples = 12\nn_features = 5\nseed = 3\ntargets = "interpolating"',
                         'kind = "file"\npath = "table\\u0000.csv"\ntarget = "y"')  # fmt: skip
    with pytest.raises(ConfigurationError, match="must be a path without a null character"):
        from_toml(text)


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "link.csv", "inside/../../secret.csv"])
def test_a_configuration_reads_nothing_outside_its_folder(path: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "inside").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("x,y\n1,2\n3,4\n")
    (home / "link.csv").symlink_to(tmp_path / "secret.csv")
    text = SHORT.replace('kind = "gaussian"\nn_samples = 12\nn_features = 5\nseed = 3\ntargets = "interpolating"',
                         f'kind = "file"\npath = "{path}"\ntarget = "y"')  # fmt: skip
    (home / "c.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="must be inside the folder of the configuration"):
        from_toml(home / "c.toml")


def test_no_link_is_followed_out_of_a_sweep(folder: Path, tmp_path: Path) -> None:
    (part,) = (folder / "parts").iterdir()
    part.rename(tmp_path / part.name)
    part.symlink_to(tmp_path / part.name)
    assert rescue.verify(folder).wrong == {part.name: "it is not an ordinary file"}
    part.unlink()
    (folder / "parts").rmdir()
    (folder / "parts").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"must hold its parts itself, .* is a link"):
        open_sweep(folder)
    (folder / "parts").unlink()
    (folder / "parts").mkdir()
    (folder / "sweep.json").rename(tmp_path / "plan")
    (folder / "sweep.json").symlink_to(tmp_path / "plan")
    with pytest.raises(ValueError, match="it is not an ordinary file"):
        open_sweep(folder)


def test_a_lock_that_is_a_link_is_not_written_through(folder: Path, tmp_path: Path) -> None:
    (folder / "sweep.lock").unlink()
    (folder / "sweep.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((ValueError, OSError)):
        sweep(CHEAP, GRID, folder, n_workers=1, measures=(sweep_cases.product,))
    assert not (tmp_path / "elsewhere").exists()


def test_files_have_limits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LARGEST_FILE", 100)
    assert next(iter(rescue.verify(folder).wrong.values())).endswith("bytes")
    monkeypatch.setattr(reading, "LARGEST_PLAN", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        open_sweep(folder)
    monkeypatch.setattr(tables, "LARGEST_TABLE", 1000)
    (tmp_path / "t.csv").write_text("x,y\n" + "1,2\n" * 400)
    with pytest.raises(ValueError, match=r"t\.csv must have at most 1,000 bytes of numbers, got 1,604"):
        es.data.read_table(tmp_path / "t.csv", "y")


def test_an_archive_is_measured_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that unpacks to a large one."""
    monkeypatch.setattr(tables, "LARGEST_TABLE", 100_000)
    np.savez_compressed(tmp_path / "t.npz", y=np.zeros(100_000), x=np.zeros(100_000))
    assert (tmp_path / "t.npz").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"t\.npz must have at most 100,000 bytes of numbers, got 1,600,"):
        es.data.read_table(tmp_path / "t.npz", "y")
    import pandas

    pandas.DataFrame({"x": np.zeros(100_000), "y": np.zeros(100_000)}).to_parquet(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"t\.parquet must have at most 100,000 bytes of numbers, got 1,600,000"):
        es.data.read_table(tmp_path / "t.parquet", "y")


def test_a_broken_archive_is_one_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }"
        archive.writestr("y.npy", header.ljust(128, b" "))
    with pytest.raises(ValueError, match=r"t\.npz"):
        es.data.read_table(tmp_path / "t.npz", "y")


def test_an_own_cluster_listens_on_this_machine_alone() -> None:
    pytest.importorskip("distributed")
    psutil = pytest.importorskip("psutil")
    from esssim.experiments.workers import pool

    with pool(None, None, "local:1"):
        own = psutil.Process()
        listening = [
            each.laddr.ip
            for process in (own, *own.children(recursive=True))
            for each in process.net_connections("inet")
            if each.status == psutil.CONN_LISTEN
        ]
    assert len(listening) >= 3  # scheduler, nanny, worker
    assert set(listening) == {"127.0.0.1"}


def test_names_of_a_user_are_text_in_a_picture(tmp_path: Path) -> None:
    """A label with markup of matplotlib and of SVG."""
    from esssim import plots
    from esssim.plots.files import rendered

    grid = {"data": [{"kind": "gaussian", "n_samples": 8, "n_features": 2}, {"kind": "wine", "targets": "own"}]}
    found = sweep(CHEAP, grid | GRID, n_workers=1, measures=(sweep_cases.product,))
    found = found.assign_coords(data=["$x$<script>", "b"])
    with plots.style():
        svg = rendered(plots.sweep_figure(found, "data", "sampling.batch_size", "product"))["svg"].decode()
    assert "<script>" not in svg
