"""`esssim measure`: a person's own table in, numbers that agree with the library out."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim import measure
from esssim.report.measure_page import render_measurement
from tests.conftest import Run


@pytest.fixture(scope="module")
def wine_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's wine table with the alcohol content to predict, as a person would keep it."""
    from sklearn.datasets import load_wine

    table = load_wine()
    path = tmp_path_factory.mktemp("tables") / "wine.csv"
    header = ",".join(name.replace("/", "_") for name in table.feature_names)
    np.savetxt(path, table.data, delimiter=",", header=header, comments="")
    return path


def test_a_torch_network_of_a_table(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "t.csv", rng.standard_normal((20, 3)), delimiter=",", header="a,b,y", comments="")
    arguments = ("measure", tmp_path / "t.csv", "--target", "y", "--model", "mlp", "--batch-size", 20, "--json")
    code, out, _ = run(*arguments)
    assert code == 0
    content = json.loads(out)
    (row,) = content["rows"]
    assert content["model"] == "mlp"
    assert "8 tanh units" in content["theta"]
    assert row["minibatch_sharpness"]["value"] == pytest.approx(row["sharpness"], rel=1e-9)
    assert json.loads(run(*arguments)[1])["rows"] == content["rows"]


class TestMeasure:
    def test_a_bundled_table_agrees_with_the_library(self, run: Run) -> None:
        code, out, _ = run("measure", "diabetes", "--batch-size", 8, "--batch-size", 442, "--json", "--seed", 3)
        assert code == 0
        content = json.loads(out)
        table = es.data.load("diabetes")
        problem = es.LinearRegression(table.inputs, table.targets)
        theta = np.zeros(10)
        assert (content["n_samples"], content["n_features"], content["model"]) == (442, 10, "regression")
        row, full = content["rows"]
        sampling = es.WithoutReplacement(8)
        mini = es.minibatch_sharpness(problem, theta, sampling, n_batches=20_000, seed=1)
        assert row["minibatch_sharpness"]["interval"][0] < mini.value < row["minibatch_sharpness"]["interval"][1]
        assert row["gap"]["value"] == pytest.approx(row["minibatch_sharpness"]["value"] - row["sharpness"])
        assert row["gap"]["standard_error"] == row["minibatch_sharpness"]["standard_error"] > 0
        assert row["sharpness"] == pytest.approx(es.sharpness(problem, theta))
        quadratic = es.mean_square_sharpness(problem, theta, sampling)
        assert row["mean_square_sharpness"] == pytest.approx(quadratic)
        assert row["critical_step_size"] == pytest.approx(2 / quadratic)
        assert row["interaction_aware_sharpness"] == es.interaction_aware_sharpness(problem, theta, sampling)
        assert full["minibatch_sharpness"]["exact"]
        assert full["gap"]["value"] == 0.0
        assert full["mean_square_sharpness"] == pytest.approx(full["sharpness"])

    def test_default_batch_sizes_and_words(self, run: Run) -> None:
        code, out, err = run("measure", "wine", "--batches", 50)
        assert code == 0
        shown = [int(line.split()[0]) for line in out.splitlines() if line.strip()[:1].isdigit()]
        assert shown == 2 * [1, 2, 4, 8, 16, 32, 178]  # in two tables: eight columns do not fit 80
        assert "n = 178, d = 13" in out
        assert "θ = 0" in out
        assert err.splitlines() == ["wine: batch sizes ...", "    7 of 7"]

    @pytest.mark.parametrize("width", [60, 80, 100, 120])
    def test_no_cell_is_broken_over_two_lines(self, run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        lines = run("measure", "diabetes", "--batch-size", "2,8", "--batches", 20)[1].splitlines()
        assert max(map(len, lines[2:])) <= width
        rules = [place for place, line in enumerate(lines) if set(line.strip()) == {"─"}]
        assert rules
        for place in rules:
            assert lines[place - 1].split()[0] == "b"
            assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["2", "8"]
            assert not lines[place + 3].strip()

    def test_own_csv_with_everything_written(self, run: Run, wine_csv: Path, tmp_path: Path) -> None:
        folder = tmp_path / "results"
        arguments = ("measure", wine_csv, "--target", "alcohol", "--batches", 100, "--out", folder, "--json")
        code, out, _ = run(*arguments)
        assert code == 0
        names = ["measure.csv", "measure.html", "measure.json", "measure.png", "measure.svg"]
        assert sorted(path.name for path in folder.iterdir()) == names
        assert json.loads((folder / "measure.json").read_text(encoding="utf-8")) == json.loads(out)
        with (folder / "measure.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert [float(row["critical_step_size"]) for row in rows] == [
            row["critical_step_size"] for row in json.loads(out)["rows"]
        ]
        assert (folder / "measure.png").read_bytes().startswith(b"\x89PNG")
        picture = (folder / "measure.svg").read_bytes()
        assert run(*arguments)[0] == 0
        assert (folder / "measure.svg").read_bytes() == picture

    @pytest.mark.parametrize(("text", "encoding", "options", "said"), [
        ("größe;y\n1,5;2\n2,5;1\n4,0;7\n", "latin-1", ("--target", "y", "--encoding", "latin-1"), "semicolon as separator, decimal comma"),
        ("1.5 2\n2.5 1\n4.0 7\n", "utf-8", ("--target", "x1", "--sep", "space", "--no-header"), "its columns are x0 to x1"),
        ("1;2\n1.500;2\n2.500;1\n4.000;7\n", "utf-16", ("--target", "2", "--sep", ";", "--thousands", ".", "--header"), "'.' between thousands"),
        ("x,y\n1_5,2\n2_5,1\n4_0,7\n".replace("_", "."), "utf-8", ("--target", "y", "--decimal", "."), None),
    ])  # fmt: skip
    def test_text_files_as_people_have_them(
        self, text: str, encoding: str, options: tuple[str, ...], said: str | None, run: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "t.txt").write_text(text, encoding=encoding)
        arguments = ("measure", tmp_path / "t.txt", *options, "--batch-size", 3)
        code, out, _ = run(*arguments, "--no-standardize", "--json")
        assert code == 0
        content = json.loads(out)
        scale = 1000 if "--thousands" in options else 1
        assert content["rows"][0]["sharpness"] == pytest.approx(scale**2 * (1.5**2 + 2.5**2 + 4**2) / 3, rel=1e-14)
        assert said in " ".join(content["notes"]) if said else not content["notes"]
        assert said is None or said in run(*arguments)[1]

    def test_network_is_at_a_minimum_and_says_what_is_undefined(self, run: Run, wine_csv: Path) -> None:
        arguments = (
            "measure",
            wine_csv,
            "--target",
            "alcohol",
            "--model",
            "network",
            "--batch-size",
            4,
            "--batches",
            50,
        )
        row = json.loads(run(*arguments, "--json")[1])["rows"][0]
        assert row["batch_sharpness"] is None
        assert row["interaction_aware_sharpness"] is None
        assert row["critical_step_size"] == pytest.approx(2 / row["mean_square_sharpness"])
        assert row["minibatch_sharpness"]["value"] > row["sharpness"]
        out = run(*arguments)[1]
        assert "—" in out
        assert "0/0" in out
        assert "u = 2, v = 0" in out

    @pytest.mark.parametrize("scale", [1e-3, 1e4])
    def test_network_starts_from_a_scale_that_its_targets_need(self, scale: float) -> None:
        table = es.data.gaussian(30, 4, seed=5)
        scaled = es.data.Data(table.inputs, scale * table.targets)
        measured = measure.measure_table(scaled, batch_sizes=[30], model="network")
        assert measured.rows[0].minibatch_sharpness.value == pytest.approx(measured.rows[0].sharpness)
        assert 0 < measured.rows[0].critical_step_size < math.inf

    def test_numbers_do_not_depend_on_which_batch_sizes_are_asked_for(self) -> None:
        table = es.data.load("wine")
        alone = measure.measure_table(table, batch_sizes=[8], n_batches=50)
        among = measure.measure_table(table, batch_sizes=[16, 8, 8, 4], n_batches=50)
        assert [row.batch_size for row in among.rows] == [4, 8, 16]
        assert among.rows[1] == alone.rows[0]

    def test_a_feature_of_a_bundled_table_as_target(self) -> None:
        whole = es.data.load("diabetes")
        table = measure.load_table("diabetes", "bmi")
        np.testing.assert_array_equal(table.targets, whole.inputs[:, 2])
        np.testing.assert_array_equal(table.inputs[:, -1], whole.targets)
        assert "bmi" not in table.feature_names

    def test_zero_gradients_are_footnoted(self, run: Run) -> None:
        code, out, _ = run("measure", "digits", "--no-standardize", "--batch-size", 1, "--json")
        content = json.loads(out)
        assert code == 0
        assert content["standardized"] is False
        assert content["rows"][0]["batch_sharpness"] is None
        assert "the gradient of batch" in content["notes"][0]

    def test_a_table_of_zeros_has_no_critical_step_size(self) -> None:
        measured = measure.measure_table(es.data.Data(np.zeros((3, 2)), np.ones(3)), batch_sizes=[1])
        assert measured.rows[0].critical_step_size == math.inf
        assert measured.as_dict()["rows"][0]["critical_step_size"] is None  # type: ignore[index]
        assert measure.picture(measured).axes
        assert "below η = ∞" in render_measurement(measured, {}, "esssim measure")
