"""Real tables: columns to take, rows with missing entries, columns of text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from esssim.data import read_table
from tests.conftest import Run

TABLE = """area;rooms;town;price
50,5;2;Ulm;300
60,0;;Bonn;350
70,5;3;Köln;410
NA;4;Ulm;500
95,5;4;Bonn;610
99,0;5;Ulm;650
"""


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    path.write_bytes(TABLE.encode("latin-1"))
    return path


def test_rows_columns_and_text(houses: Path) -> None:
    found = read_table(houses, "price", standardize=False, drop_missing=True, encode="one-hot")
    frame = pd.read_csv(houses, sep=";", decimal=",", encoding="latin-1").dropna()
    expected = pd.get_dummies(frame.drop(columns="price"), columns=["town"], prefix_sep="=", dtype=float)
    assert found.feature_names == tuple(expected.columns)
    np.testing.assert_array_equal(found.inputs, expected.to_numpy())
    np.testing.assert_array_equal(found.targets, frame["price"])
    assert any("2 of 6 rows have a missing entry" in note for note in found.notes)
    assert any("'town' (3 values)" in note for note in found.notes)
    few = read_table(houses, "price", standardize=False, drop_missing=True, columns=["rooms"])
    assert few.feature_names == ("rooms",)
    assert few.inputs[:, 0].tolist() == [2, 3, 4, 4, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "drop_missing=True"),
        ({"drop_missing": True}, r"'Ulm' in row 1 \(line 2\); encode='one-hot'"),
        ({"columns": ["roms"]}, "did you mean 'rooms'"),
        ({"columns": ["price"]}, "the target 'price' among them"),
        ({"columns": []}, "columns must be names"),
        ({"encode": "ordinal"}, "encode must be one of 'one-hot'"),
        ({"drop_missing": "yes"}, "drop_missing must be True or False"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(houses: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_table(houses, "price", **options)  # type: ignore[arg-type]


def test_lines_are_those_of_the_file_when_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,y\n1,,1\n2,3,1\n3,4,1\n4,x5,2\n")
    with pytest.raises(ValueError, match=r"'x5' in row 4 \(line 5\)"):
        read_table(path, "y", drop_missing=True)
    path.write_text("a,y\n,1\n,2\n")
    with pytest.raises(ValueError, match="all 2 have one"):
        read_table(path, "y", drop_missing=True)
    path.write_text("a,y\n" + "\n".join(f"word {'abc'[k % 3]}{'d' * (k // 3)},{k}" for k in range(60)))
    with pytest.raises(ValueError, match="at most 50 values"):
        read_table(path, "y", encode="one-hot")


def test_command_line(houses: Path, run: Run) -> None:
    arguments = ("measure", houses, "--target", "price", "--drop-missing", "--encode", "one-hot", "--batch-size", "2,4")
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert (content["n_samples"], content["n_features"]) == (4, 5)
    assert [row["batch_size"] for row in content["rows"]] == [2, 4]
    assert any("left out" in note for note in content["notes"])
    assert run(*arguments, "--columns", "area,rooms", "--json")[0] == 0
    code, _, err = run("measure", "wine", "--columns", "alcohol")
    assert code == 2
    assert "columns is for files" in err
