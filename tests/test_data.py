"""Data: the ensembles have the covariance they promise, and a table that cannot be used says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from esssim import data
from esssim.data import tables, text
from esssim.data.dataset import standardised

ENSEMBLES = [data.gaussian, data.spiked, data.orthogonal, data.two_clusters, data.power_law]
Ensemble = Callable[..., data.Data]


def covariance(sample: data.Data) -> np.ndarray:
    return sample.inputs.T @ sample.inputs / sample.n_samples


@pytest.mark.parametrize("ensemble", ENSEMBLES)
class TestEveryEnsemble:
    def test_same_seed_same_numbers_other_seed_others(self, ensemble: Ensemble) -> None:
        first, again, other = (ensemble(6, 9, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.inputs, again.inputs)
        np.testing.assert_array_equal(first.targets, again.targets)
        assert not np.isclose(first.inputs, other.inputs).any()
        assert first.inputs.shape == (6, 9)
        assert first.targets.shape == (6,)
        assert first.name == ensemble.__name__
        assert first.feature_names[-1] == "x8"

    def test_noise_moves_the_targets_only_and_in_proportion(self, ensemble: Ensemble) -> None:
        clean, noisy, twice = (ensemble(6, 9, seed=3, noise=noise) for noise in (0.0, 0.5, 1.0))
        np.testing.assert_array_equal(clean.inputs, noisy.inputs)
        np.testing.assert_allclose(twice.targets - clean.targets, 2 * (noisy.targets - clean.targets))
        assert (noisy.targets != clean.targets).all()

    def test_targets_without_noise_are_linear_in_the_inputs(self, ensemble: Ensemble) -> None:
        sample = ensemble(4, 4, seed=0)
        np.testing.assert_allclose(data.interpolating_targets(sample.inputs, sample.targets), sample.targets)


class TestCovariance:
    def test_gaussian_is_white(self) -> None:
        np.testing.assert_allclose(covariance(data.gaussian(40_000, 3, seed=0)), np.eye(3), atol=0.03)

    def test_weights_and_noise_have_variance_one(self) -> None:
        weights = [data.gaussian(1, 1, seed=seed) for seed in range(2000)]
        assert np.std([sample.targets[0] / sample.inputs[0, 0] for sample in weights]) == pytest.approx(1, abs=0.07)
        clean, noisy = (data.gaussian(10_000, 2, seed=0, noise=noise).targets for noise in (0.0, 2.0))
        assert np.std(noisy - clean) == pytest.approx(2, abs=0.07)

    @pytest.mark.parametrize("spike", [-0.75, 0.0, 8.0])
    def test_spike_adds_to_one_eigenvalue(self, spike: float) -> None:
        eigenvalues = np.linalg.eigvalsh(covariance(data.spiked(40_000, 4, seed=1, spike=spike)))
        np.testing.assert_allclose(eigenvalues, np.sort([1, 1, 1, 1 + spike]), rtol=0.04)

    def test_orthogonal_rows_are_orthogonal_and_differ_in_length(self) -> None:
        sample = data.orthogonal(7, 9, seed=2)
        gram = sample.inputs @ sample.inputs.T
        np.testing.assert_allclose(gram, np.diag(np.diagonal(gram)), atol=1e-13)
        lengths = np.sqrt(np.diagonal(gram) / 9)
        assert ((lengths >= 0.5) & (lengths <= 1.5)).all()
        assert np.ptp(lengths) > 0.1

    def test_clusters_take_turns_around_opposite_centres(self) -> None:
        sample = data.two_clusters(40_000, 3, seed=3, separation=6.0)
        even, odd = sample.inputs[::2], sample.inputs[1::2]
        np.testing.assert_allclose(even.mean(axis=0), -odd.mean(axis=0), atol=0.04)
        assert np.linalg.norm(even.mean(axis=0) - odd.mean(axis=0)) == pytest.approx(6, rel=0.01)
        np.testing.assert_allclose(np.cov(even.T), np.eye(3), atol=0.04)

    def test_power_law_eigenvalues(self) -> None:
        eigenvalues = np.linalg.eigvalsh(covariance(data.power_law(40_000, 4, seed=4, exponent=1.5)))
        np.testing.assert_allclose(eigenvalues[::-1], np.arange(1, 5) ** -1.5, rtol=0.04)


class TestData:
    def test_sizes(self) -> None:
        sample = data.Data(np.ones((3, 2)), np.ones(3))
        assert (sample.n_samples, sample.n_features, sample.feature_names) == (3, 2, ("x0", "x1"))


class TestStandardised:
    @given(
        st.lists(st.floats(-1, 1), min_size=1, max_size=20),
        st.sampled_from([1e-300, 1e-150, 1.0, 1e150, 1.7e308]),
    )
    def test_is_zero_or_has_mean_zero_and_variance_one_at_any_scale(self, numbers: list[float], scale: float) -> None:
        column = np.array(numbers) * scale
        result = standardised(column)
        if np.ptp(column / scale) == 0:
            np.testing.assert_array_equal(result, 0)
        elif np.ptp(column / scale) > 1e-6 * np.abs(column / scale).max():
            assert result.mean() == pytest.approx(0, abs=1e-8)
            assert (result**2).mean() == pytest.approx(1)

    def test_a_constant_that_rounds_is_still_constant(self) -> None:
        np.testing.assert_array_equal(standardised(np.full((7, 2), 0.1)), 0)


class TestInterpolatingTargets:
    def test_is_the_orthogonal_projection(self) -> None:
        sample = data.gaussian(20, 4, seed=0, noise=1.0)
        fit = data.interpolating_targets(sample.inputs, sample.targets)
        np.testing.assert_allclose(sample.inputs.T @ (sample.targets - fit), 0, atol=1e-12)
        np.testing.assert_allclose(data.interpolating_targets(sample.inputs, fit), fit)

    def test_does_not_depend_on_the_units_of_a_column_nor_on_a_column_of_zeros(self) -> None:
        sample = data.gaussian(20, 3, seed=0, noise=1.0)
        fit = data.interpolating_targets(sample.inputs, sample.targets)
        units = np.column_stack([sample.inputs * [1e-150, 1, 1e150], np.zeros(20)])
        np.testing.assert_allclose(data.interpolating_targets(units, sample.targets), fit)

    def test_leaves_targets_that_can_be_fitted(self) -> None:
        sample = data.gaussian(5, 8, seed=0, noise=1.0)
        np.testing.assert_allclose(data.interpolating_targets(sample.inputs, sample.targets), sample.targets)


class TestBundledTables:
    @pytest.mark.parametrize(
        ("name", "shape", "constant"),
        [
            ("diabetes", (442, 10), 0),
            ("breast_cancer", (569, 30), 0),
            ("wine", (178, 13), 0),
            ("digits", (1797, 64), 3),
        ],
    )
    def test_standardised_or_as_measured(self, name: str, shape: tuple[int, int], constant: int) -> None:
        table, raw = data.load(name), data.load(name, standardize=False)
        assert table.inputs.shape == raw.inputs.shape == shape
        assert table.name == name
        assert len(table.feature_names) == shape[1]
        varying = np.ptp(raw.inputs, axis=0) > 0
        assert np.count_nonzero(~varying) == constant
        np.testing.assert_array_equal(table.inputs[:, ~varying], 0)
        for columns in (table.inputs[:, varying], table.targets):
            np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-12)
            np.testing.assert_allclose(columns.std(axis=0), 1)

    def test_the_raw_diabetes_table_is_in_its_units(self) -> None:
        raw = data.load("diabetes", standardize=False)
        assert raw.inputs[0, raw.feature_names.index("age")] == 59
        assert raw.targets[0] == 151


FRAME = pd.DataFrame({"a": [1.0, 2.0, 4.0], "y": [0.1, 1e-300, -3.0], "b": [True, False, True], "k": [7, 8, 9]})


def write(path: Path, frame: pd.DataFrame = FRAME) -> Path:
    if path.suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix.lower() == ".parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, **{name: frame[name].to_numpy() for name in frame})
    return path


class TestReadTable:
    @pytest.mark.parametrize("file", ["table.csv", "table.parquet", "table.npz", "TABLE.CSV"])
    def test_every_format_gives_the_same_numbers_in_the_order_of_the_file(self, file: str, tmp_path: Path) -> None:
        table = data.read_table(write(tmp_path / file), "y", standardize=False)
        assert table.feature_names == ("a", "b", "k")
        np.testing.assert_array_equal(table.inputs, [[1, 1, 7], [2, 0, 8], [4, 1, 9]])
        np.testing.assert_array_equal(table.targets, FRAME["y"])
        assert table.name.lower() == "table"

    def test_standardises_inputs_and_targets(self, tmp_path: Path) -> None:
        table = data.read_table(write(tmp_path / "t.csv"), "y")
        for columns in (table.inputs, table.targets):
            np.testing.assert_allclose(columns.std(axis=0), 1)

    def test_constant_target_becomes_zeros(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", pd.DataFrame({"a": [1, 2], "y": [3, 3]}))
        np.testing.assert_array_equal(data.read_table(path, "y").targets, 0)
        np.testing.assert_array_equal(data.read_table(path, "y", standardize=False).targets, 3)

    def test_npz_matrix_gives_numbered_columns_and_a_column_vector_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "t.npz"
        np.savez(path, inputs=np.arange(6.0).reshape(3, 2), y=np.ones((3, 1)))
        table = data.read_table(path, "y", standardize=False)
        assert table.feature_names == ("inputs_0", "inputs_1")
        np.testing.assert_array_equal(table.inputs, np.arange(6.0).reshape(3, 2))
        np.testing.assert_array_equal(table.targets, 1)

    def test_parquet_index_is_no_input(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.parquet", FRAME.set_index("k"))
        assert data.read_table(path, "y").feature_names == ("a", "b")

    def test_folder_that_looks_like_a_partition_adds_no_input(self, tmp_path: Path) -> None:
        (tmp_path / "year=2026").mkdir()
        path = write(tmp_path / "year=2026" / "t.parquet")
        assert data.read_table(path, "y").feature_names == ("a", "b", "k")

    def test_csv_with_byte_order_mark_and_blanks(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_text('\ufeffa, "y y"\n1, 2\n3, 4\n', encoding="utf-8")
        table = data.read_table(str(path), "y y", standardize=False)
        np.testing.assert_array_equal(table.inputs, [[1], [3]])
        np.testing.assert_array_equal(table.targets, [2, 4])


LEFT_OUT = re.escape("; drop_missing=True (--drop-missing) leaves such rows out")
ONE_HOT = re.escape("; encode='one-hot' (--encode one-hot) makes a column of each value")
BAD_CSV = [
    ("a,y\n1,2\nten,3\n", "column 'a' of bad.csv must hold numbers, got 'ten' in row 2 \\(line 3\\)" + ONE_HOT),
    ("a,y\n1,2\n1_000,3\n", "column 'a' of bad.csv must hold numbers, got '1_000' in row 2 \\(line 3\\)"),
    ("a,y\n1,2\n3,high\n", "column 'y' of bad.csv must hold numbers, got 'high' in row 2 \\(line 3\\)" + ONE_HOT),
    ("a,y\n1,2\n,3\n", "column 'a' of bad.csv must have no missing entry, got one in row 2 \\(line 3\\)" + LEFT_OUT),
    ("a,y\nNaN,2\n1,3\n", "column 'a' of bad.csv must have no missing entry, got one in row 1 \\(line 2\\)" + LEFT_OUT),
    ("a,y\n1,2\n1,-inf\n", "column 'y' of bad.csv must be finite, got an infinite entry in row 2 \\(line 3\\)"),
    ("a,y\n1,2\n3\n", "column 'y' of bad.csv must have no missing entry, got one in row 2 \\(line 3\\)" + LEFT_OUT),
    ("a,y\n1,2\n3,4,5\n", "bad.csv must be a readable csv table: line 3 has 3 cells, the first line has 2"),
    ("a,y\n1,2,3\n4,5,6\n", "bad.csv must be a readable csv table: line 2 has 3 cells, the first line has 2"),
    ("a,y\n", "bad.csv must have at least one row, got only the names of its columns"),
    ("", "bad.csv must be a readable csv table: it has no first line of names"),
    ("y\n1\n2\n", "bad.csv must have an input column beside the target 'y', got no other"),
    ("a,y,a\n1,2,3\n", "columns of bad.csv must have different names, got more than one 'a'"),
    (",a,y\n0,1,2\n", r"every column of bad.csv must have a name, got none for column 1 \(an index\?\)"),
    ("a,yy\n1,2\n", r"target must be a column of bad.csv: 'a', 'yy'; got 'y'; did you mean 'yy'\?"),
    (",".join(f"c{k}" for k in range(50)) + "\n", r"target must be .*'c11', … \(50 columns\); got 'y'"),
]


def with_bad_pickle(path: Path) -> None:
    np.savez(path, y=np.array([{}], dtype=object))


def with_two_lengths(path: Path) -> None:
    np.savez(path, x=np.ones((3, 2)), y=np.ones(2))


def with_three_dimensions(path: Path) -> None:
    np.savez(path, x=np.ones((2, 2, 2)), y=np.ones(2))


def with_a_name_twice(path: Path) -> None:
    np.savez(path, x=np.ones((2, 2)), x_1=np.ones(2), y=np.ones(2))


def with_text(path: Path) -> None:
    np.savez(path, x=np.array(["1", "one"]), y=np.ones(2))


def with_complex(path: Path) -> None:
    np.savez(path, x=np.ones(2, dtype=complex), y=np.ones(2))


def with_nothing(path: Path) -> None:
    np.savez(path)


def with_nonsense(path: Path) -> None:
    path.write_bytes(b"nonsense")


def empty(path: Path) -> None:
    path.touch()


def with_no_rows(path: Path) -> None:
    np.savez(path, x=np.ones(0), y=np.ones(0))


def with_two_of_a_name(path: Path) -> None:
    parquet.write_table(pa.table([[1.0], [2.0], [3.0]], names=["x", "x", "y"]), path)


def with_dates(path: Path) -> None:
    pd.DataFrame({"when": pd.to_datetime(["2026-01-01"]), "y": [1.0]}).to_parquet(path)


def with_lists(path: Path) -> None:
    pd.DataFrame({"x": [[1.0, 2.0]], "y": [1.0]}).to_parquet(path)


def with_categories(path: Path) -> None:
    pd.DataFrame({"x": pd.Categorical(["red"]), "y": [1.0]}).to_parquet(path)


def with_missing_integer(path: Path) -> None:
    pd.DataFrame({"x": pd.array([1, None], dtype="Int64"), "y": [1.0, 2.0]}).to_parquet(path)


BAD_FILES = [
    ("t.npz", with_bad_pickle, "t.npz must be a readable npz table: Object arrays .*"),
    ("t.npz", with_two_lengths, "the arrays of t.npz must have the same number of rows, got x 3, y 2"),
    ("t.npz", with_three_dimensions, r"array 'x' of t.npz must have 1 or 2 dimensions, got shape \(2, 2, 2\)"),
    ("t.npz", with_a_name_twice, "columns of t.npz must have different names, got more than one 'x_1'"),
    ("t.npz", with_text, "column 'x' of t.npz must hold numbers, got 'one' in row 2" + ONE_HOT),
    ("t.npz", with_complex, "column 'x' of t.npz must hold real numbers, got complex ones"),
    ("t.npz", with_nothing, "t.npz must have columns, got none"),
    ("t.npz", with_no_rows, "t.npz must have at least one row, got only the names of its columns"),
    ("t.npz", with_nonsense, "t.npz must be a readable npz table: .*"),
    ("t.npz", empty, "t.npz must be a readable npz table: .*"),
    ("t.parquet", with_nonsense, "t.parquet must be a readable parquet table: .*"),
    ("t.parquet", empty, "t.parquet must be a readable parquet table: .*"),
    ("t.parquet", with_two_of_a_name, "columns of t.parquet must have different names, got more than one 'x'"),
    ("t.parquet", with_dates, "column 'when' of t.parquet must hold numbers, got .*2026-01-01.* in row 1"),
    ("t.parquet", with_lists, "column 'x' of t.parquet must hold numbers, got .* in row 1"),
    ("t.parquet", with_categories, "column 'x' of t.parquet must hold numbers, got 'red' in row 1" + ONE_HOT),
    (
        "t.parquet",
        with_missing_integer,
        "column 'x' of t.parquet must have no missing entry, got one in row 2" + LEFT_OUT,
    ),
    (
        "t.csv",
        lambda path: path.write_bytes(b"a,y\n\xff,1\n"),
        "column 'a' of t.csv must hold numbers, got 'ÿ' in row 1 \\(line 2\\)" + ONE_HOT,
    ),
    ("t.json", empty, r"path must end in .csv, .tsv, .txt, .parquet, .npz, got '.*t.json'"),
]


class TestBadTables:
    @pytest.mark.parametrize(("text", "message"), BAD_CSV, ids=[message[:60] for _, message in BAD_CSV])
    def test_csv(self, text: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "bad.csv"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=f"^{message}$"):
            data.read_table(path, "y")

    @pytest.mark.parametrize(("file", "make", "message"), BAD_FILES)
    def test_file(self, file: str, make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
        make(tmp_path / file)
        with pytest.raises(ValueError, match=f"^{message}$") as caught:
            data.read_table(tmp_path / file, "y")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["ab", 7, None])
def test_feature_names_that_are_no_sequence_are_refused(names: Any) -> None:
    with pytest.raises(ValueError, match="feature_names must be a sequence of names"):
        data.Data([[1.0, 2.0]], [1.0], feature_names=names)


@pytest.mark.parametrize("make", [data.gaussian, data.orthogonal, data.two_clusters, data.power_law])
def test_targets_have_no_noise_by_default(make: Callable[..., data.Data]) -> None:
    found = make(4, 4, seed=3) if make is data.orthogonal else make(20, 4, seed=3)
    weights, *_ = np.linalg.lstsq(found.inputs, found.targets, rcond=None)
    assert np.abs(found.inputs @ weights - found.targets).max() < 1e-12


@pytest.mark.parametrize(("n_cells", "shown"), [(3, "(1, 2, 3)"), (40, ", …)")])
def test_a_line_of_numbers_that_should_be_names_is_shown(n_cells: int, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    line = ",".join(str(k + 1) for k in range(n_cells))
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match="got numbers alone") as error:
        data.read_table(path, target="x0")
    assert shown in str(error.value)
    assert (", …)" in str(error.value)) == (n_cells > text.CELLS_SHOWN)


def test_as_many_cells_as_are_shown_leave_nothing_out(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    line = ",".join(str(k + 1) for k in range(text.CELLS_SHOWN))
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match="got numbers alone") as error:
        data.read_table(path, target="x0")
    assert ", …)" not in str(error.value)


@pytest.mark.parametrize("position", [0, 3, 9])
def test_a_feature_of_a_bundled_table_as_target_leaves_the_others_and_the_old_target(position: int) -> None:
    """The columns in their order, the table's own target last."""
    whole = data.load("diabetes", standardize=False)
    feature = whole.feature_names[position]
    found = tables.load_table("diabetes", feature, standardize=False)
    others = [name for name in whole.feature_names if name != feature]
    assert found.feature_names == (*others, "target")
    np.testing.assert_allclose(found.inputs[:, :-1], np.delete(whole.inputs, position, axis=1))
