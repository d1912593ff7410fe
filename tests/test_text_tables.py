"""Text tables as people have them: read right, or refused with the option that decides."""

from __future__ import annotations

import csv
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esssim import data
from esssim.data.dataset import constant_up_to_rounding, standardised
from esssim.measure import load_table, measure_table

PLAIN = [[1.5, 20.25, -3.0], [1234.5, 0.125, 7.0], [-2.75, 1e3, 0.5]]
NAMES = ("größe", "b c", "y")


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def table(separator: str = ",", decimal: str = ".", names: tuple[str, ...] = NAMES) -> str:
    rows = [[repr(value).replace(".", decimal) for value in row] for row in PLAIN]
    return "".join(separator.join(cells) + "\n" for cells in ([list(names)] if names else []) + rows)


def assert_read(path: Path, said: str | None, **options: Any) -> None:
    found = data.read_table(path, "y", standardize=False, **options)
    np.testing.assert_array_equal(np.column_stack([found.inputs, found.targets]), PLAIN)
    assert found.feature_names == NAMES[:2]
    if said is None:
        assert not found.notes
    else:
        assert said in " ".join(found.notes)


class TestRead:
    @pytest.mark.parametrize(
        ("separator", "decimal", "said"),
        [(",", ".", None), (";", ".", "semicolon"), (";", ",", "decimal comma"), ("\t", ".", "tab"), ("\t", ",", "decimal comma"),
         ("|", ".", "bar"), ("|", ",", "decimal comma")],
    )  # fmt: skip
    @pytest.mark.parametrize("file", ["t.csv", "t.tsv", "t.txt"])
    def test_separators_and_decimal_signs(
        self, file: str, separator: str, decimal: str, said: str | None, tmp_path: Path
    ) -> None:
        assert_read(write(tmp_path / file, table(separator, decimal)), said)

    @pytest.mark.parametrize(
        ("encoding", "said"), [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-16-le", None),
                               ("utf-16-be", None), ("latin-1", "Windows-1252"), ("cp1252", "Windows-1252")],
    )  # fmt: skip
    def test_encodings(self, encoding: str, said: str | None, tmp_path: Path) -> None:
        assert_read(write(tmp_path / "t.csv", table(), encoding), said)

    def test_an_encoding_that_is_given_is_not_remarked(self, tmp_path: Path) -> None:
        assert_read(write(tmp_path / "t.csv", table(), "latin-1"), None, encoding="latin-1")

    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    def test_line_ends_blank_lines_and_a_missing_last_one(self, ends: str, tmp_path: Path) -> None:
        text = "\n" + table().rstrip("\n").replace("\n", "\n\n")
        assert_read(write(tmp_path / "t.csv", text.replace("\n", ends)), None)

    def test_comments_before_the_table(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", "# measured in May, by hand\n#\n" + table())
        assert_read(path, "2 lines that begin with #")

    def test_the_separator_that_a_spreadsheet_declares(self, tmp_path: Path) -> None:
        assert_read(write(tmp_path / "t.csv", "sep=;\n" + table(";", ",")), "semicolon")

    def test_quoted_decimal_commas_between_commas(self, tmp_path: Path) -> None:
        with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([NAMES, *([repr(v).replace(".", ",") for v in row] for row in PLAIN)])
        assert_read(tmp_path / "t.csv", "decimal comma")

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("a;y\n1.234,5;1\n12.000,0;2\n", {}),
            ("a;y\n1,234.5;1\n12,000.0;2\n", {}),
            ('a,y\n"1,234.5",1\n"12,000.0",2\n', {}),
            ("a;y\n1234,5;1\n12000;2\n", {}),
            ('a,y\n"1,234.50",1\n"12,000",2\n', {}),
            ("a;y\n1 234,5;1\n12 000;2\n", {"thousands": "space", "decimal": ","}),
            ("a;y\n1.234,5;1\n12.000;2\n", {"thousands": ".", "decimal": ","}),
            ("a;y\n1 234,5;1\n12 000;2\n", {"thousands": "space"}),
            ("a;y\n1\xa0234,5;1\n12\u202f000;2\n", {"thousands": "space"}),
            ("a;y\n1\xa0234,5;1\n12\xa0000;2\n", {"thousands": "\xa0"}),
            ("a;y\n1’234.5;1\n12’000;2\n", {"thousands": "'"}),
            ("a;y\n1'234.5;1\n12'000;2\n", {"thousands": "'"}),
        ],
    )
    def test_signs_between_thousands(self, text: str, options: dict[str, str], tmp_path: Path) -> None:
        found = data.read_table(write(tmp_path / "t.csv", text), "y", standardize=False, **options)
        np.testing.assert_array_equal(found.inputs[:, 0], [1234.5, 12000.0])

    def test_without_names(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", table(names=()))
        found = data.read_table(path, "x2", standardize=False, header=False)
        np.testing.assert_array_equal(np.column_stack([found.inputs, found.targets]), PLAIN)
        assert found.feature_names == ("x0", "x1")
        assert "x0 to x2" in found.notes[0]

    def test_numbers_as_names_where_the_caller_says_so(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", "2001,2002\n1,2\n3,4\n")
        found = data.read_table(path, "2002", standardize=False, header=True)
        np.testing.assert_array_equal(found.targets, [2, 4])

    @given(
        st.lists(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=2), min_size=1, max_size=8),
        st.sampled_from([(";", ","), ("\t", ","), ("|", ","), (",", "."), (";", "."), ("\t", ".")]),
    )
    def test_every_double_comes_back(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], signs: tuple[str, str]
    ) -> None:
        separator, decimal = signs
        lines = [separator.join(repr(value).replace(".", decimal) for value in row) for row in rows]
        path = write(tmp_path_factory.mktemp("t") / "t.csv", "\n".join([f"x{separator}y", *lines]))
        found = data.read_table(path, "y", standardize=False, separator=separator, decimal=decimal)
        np.testing.assert_array_equal(np.column_stack([found.inputs, found.targets]), rows)


REFUSED = [
    ("1,2\n3,4\n", {}, r"t.csv must be a readable csv table: line 1 must hold the names of its columns, got numbers alone \(1, 2\): .*--no-header.*"),
    ("# a note\n5.1;3,5\n4,9;3.0\n", {}, ".* line 2 must hold the names .*--no-header.*"),
    ("a;y\n1,234;1\n2,345;2\n", {}, r".* '1,234' in line 2 may be 1234 or 1.234: thousands=',' \(--thousands ,\) or decimal=',' .*"),
    ('a,y\n"1,234",1\n', {}, ".*--thousands.*"),
    ("a;y\n1,5;1\n2.5;2\n", {}, ".* line 2 has '1,5' in a table with decimal points too: .*--decimal.*"),
    ("a,y;z\n1,2;3\n", {}, "target must be a column of t.csv: 'a,y', 'z'; got 'y'.*"),
    ("a b y\n1 2 3\n", {}, "target must be a column of t.csv: 'a b y'; got 'y'.*--sep.*"),
    ("a,y\n1,2\n# half time\n3,4\n", {}, r"column 'a' of t.csv must hold numbers, got '# half time' in row 2 \(line 3\)"),
    ("a,y\n1 234,2\n", {}, r"column 'a' of t.csv must hold numbers, got '1 234' in row 1 \(line 2\); thousands=' ' \(--thousands space\) .*"),
    ("a;y\n1.500;2,5\n2.000;3,5\n", {"decimal": ","}, r".* line 2 has '1.500' in a table with decimal commas: .*--thousands \.\).*"),
    ("a;y\n1.5;1\n2.25;3\n", {"thousands": "."}, r".* line 2 has '1.5', where '.' is not between groups of three digits: .*--decimal.*"),
    ("a;y\n1,234;1\n2,25;3\n", {"thousands": ","}, ".* line 3 has '2,25', where ',' is not .*"),
    ("a;y\n1.23.4;1\n", {"thousands": "."}, ".* line 2 has '1.23.4', .*"),
    ("a;y\n1'234,5;2\n", {}, r"column 'a' of t.csv must hold numbers, got \"1'234,5\" in row 1 \(line 2\); thousands=\"'\" \(--thousands .*"),
    ("a;y\n1;2\n3;4;5\n", {}, ".* line 3 has 3 cells, the first line has 2"),
    ("a,y\n1,22\n", {"encoding": "utf-16"}, ".* it is not encoded in utf-16 .*--encoding.*"),
    ("a,y\n1,2\n", {"encoding": "klingon"}, "encoding must be one that Python knows, got 'klingon'"),
    ("a,y\n1,2\n", {"separator": "ab"}, "separator must be one character, or 'tab', got 'ab'"),
    ("a,y\n1,2\n", {"decimal": "'"}, "decimal must be one of '.', ',', got .*"),
    ("a,y\n1,2\n", {"thousands": ".", "decimal": "."}, "decimal and thousands must differ, got '.' for both"),
    ("a,y\n1,2\n", {"header": "no"}, "header must be True or False, got 'no'"),
    ("a,y\n9007199254740993,2\n", {}, r"column 'a' of t.csv must hold integers that doubles hold exactly, got 9007199254740993 in row 1 \(line 2\), which would become 9007199254740992; subtract .*"),
    ("a;y\n1.234,5;1\n0.5;2\n", {}, ".* line 3 has '0.5', where '.' is not between groups of three digits: .*"),
    ('a,y\n"1,234.5",1\n"1,5",2\n', {}, ".* line 3 has '1,5', where ',' is not between groups of three digits: .*"),
    ("a;y\n1.234;1\n2.5;2\n", {"thousands": "."}, ".* line 3 has '2.5', where .*--thousands.*"),
    ("a;y\n1.234,5;1.2.2020\n2,5;2.2.2020\n", {}, ".* line 2 has '1.2.2020', where .*"),
    ("a;y\n1,5;1\n9007199254740993;2\n", {}, "column 'a' .*, got 9007199254740993 in row 2 .*"),
    ("a,y\n9007199254740993,1\n1e3,2\n", {}, "column 'a' .*, got 9007199254740993 in row 1 .*"),
    ("a;y\n9,007,199,254,740,993;1\n1,234.5;2\n", {}, "column 'a' .*, got 9007199254740993 in row 1 .*"),
    ("a,y\n1,123456789012345678901234567891\n", {}, "column 'y' .* must hold integers that doubles hold exactly, got 123456789012345678901234567891 .*"),
]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(("text", "options", "message"), REFUSED)
    def test_with_the_line_and_the_option(
        self, text: str, options: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=f"^{message}$"):
            data.read_table(write(tmp_path / "t.csv", text), "y", **options)

    @pytest.mark.parametrize("values", [
        np.arange(2**53 + 1, 2**53 + 7), np.arange(2**63, 2**63 + 6, dtype=np.uint64), -np.arange(2**53 + 1, 2**53 + 7),
    ])  # fmt: skip
    def test_integers_that_no_double_holds(self, values: Any, tmp_path: Path) -> None:
        frame = pd.DataFrame({"a": values, "y": np.arange(6.0)})
        frame.to_csv(tmp_path / "t.csv", index=False)
        frame.to_parquet(tmp_path / "t.parquet")
        np.savez(tmp_path / "t.npz", a=values, y=np.arange(6.0))
        for name in ("t.csv", "t.parquet", "t.npz"):
            with pytest.raises(ValueError, match="must hold integers that doubles hold exactly, got"):
                data.read_table(tmp_path / name, "y")

    def test_decimals_of_a_database(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"a": [Decimal(2**53 + 1), Decimal(1)], "y": [Decimal("0.1"), Decimal("0.3")]})
        frame.to_parquet(tmp_path / "t.parquet")
        with pytest.raises(ValueError, match="got 9007199254740993 in row 1, which"):
            data.read_table(tmp_path / "t.parquet", "y")
        frame.iloc[0, 0] = Decimal(2**53)
        frame.to_parquet(tmp_path / "t.parquet")
        np.testing.assert_array_equal(
            data.read_table(tmp_path / "t.parquet", "y", standardize=False).targets, [0.1, 0.3]
        )

    def test_large_integers_that_doubles_hold(self, tmp_path: Path) -> None:
        values = 2**53 + 2 * np.arange(6)
        pd.DataFrame({"a": values, "y": np.arange(6.0)}).to_csv(tmp_path / "t.csv", index=False)
        found = data.read_table(tmp_path / "t.csv", "y", standardize=False)
        assert [int(value) for value in found.inputs[:, 0]] == values.tolist()

    @pytest.mark.parametrize(
        "text", ["a;y\n1e300;1\n9007199254740994;2\n", "a;y\n1e300;1\n9.007.199.254.740.994,0;2\n"]
    )
    def test_large_numbers_of_both_kinds(self, text: str, tmp_path: Path) -> None:
        found = data.read_table(write(tmp_path / "t.csv", text), "y", standardize=False)
        assert found.inputs[:, 0].tolist() == [1e300, 2.0**53 + 2]


class TestConstantUpToRounding:
    @pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300, -7.0])
    def test_sums_that_round_differently_are_one_number(self, scale: float) -> None:
        column = scale * np.where(np.arange(50) % 2, 0.3, 0.1 + 0.2)
        np.testing.assert_array_equal(standardised(column), np.zeros(50))

    @pytest.mark.parametrize(
        "column",
        [1e-9 * np.random.default_rng(0).standard_normal(50), 1e-300 * np.arange(50.0), 1 + 1e-12 * np.arange(50.0),
         1.7e9 + np.arange(50.0), np.r_[np.zeros(49), 5e-324]],
    )  # fmt: skip
    def test_small_numbers_survive(self, column: np.ndarray) -> None:
        found = standardised(column)
        assert not constant_up_to_rounding(column)
        # In exact arithmetic.
        exact = [Fraction(float(value)) for value in column]
        mean = sum(exact) / len(exact)
        variance = sum((value - mean) ** 2 for value in exact) / len(exact)
        right = [float(value - mean) if variance == 0 else float((value - mean) ** 2 / variance) for value in exact]
        spread = float(column.max() - column.min()) / float(np.abs(column).max())
        np.testing.assert_allclose(found**2, right, rtol=1e-14 / spread + 1e-12, atol=1e-13 / spread)

    def test_is_said_in_the_table_and_in_its_measurement(self, tmp_path: Path) -> None:
        rounded = np.where(np.arange(50) % 2, 0.3, 0.1 + 0.2)
        frame = pd.DataFrame({"x": rounded, "z": np.arange(50.0), "y": np.arange(50.0) ** 2})
        frame.to_csv(tmp_path / "t.csv", index=False)
        found = load_table(str(tmp_path / "t.csv"), "y")
        assert found.notes == ("Constant up to rounding, and set to zero by standardisation: 'x'.",)
        assert not found.inputs[:, 0].any()
        assert found.notes[0] in measure_table(found, batch_sizes=[1]).notes


@pytest.mark.parametrize("line", ['""', ' ""'])
def test_an_empty_cell_in_quotes_is_a_row(line: str, tmp_path: Path) -> None:
    """And a line of blanks is none: the error names the line of the file."""
    path = tmp_path / "t.csv"
    path.write_text(f"a,b,y\n1,2,3\n{line}\n \n\nx,5,6\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"in row 3 \(line 6\)"):
        data.read_table(path, "y")


def test_a_line_of_control_characters_is_a_row(tmp_path: Path) -> None:
    """pandas leaves out lines of blanks and tabs only; an error names the line of the file."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b,y\n1,2.5=-4,5a\n0,11,12\n\r\x1c")
    with pytest.raises(ValueError, match=r"must hold numbers, got .* in row \d \(line \d\)"):
        data.read_table(path, "y")
