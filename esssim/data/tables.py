"""Real tables: scikit-learn's bundled ones, and a person's own CSV, Parquet or NPZ file."""

from __future__ import annotations

import csv
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.data.dataset import Data, constant_up_to_rounding, standardised
from esssim.data.text import LARGEST_EXACT_INTEGER, TextFormat, read_text

# Bytes of a table, unpacked: more would not fit beside what is computed from it.
LARGEST_TABLE = 2 * 10**9
# What damaged archives raise beside ValueError and OSError.
OF_ARCHIVES = (
    zipfile.BadZipFile, zlib.error, EOFError, AttributeError, KeyError, NotImplementedError, OverflowError,
    RuntimeError,
    TypeError, MemoryError, SyntaxError,
)  # fmt: skip
BUNDLED = ("diabetes", "breast_cancer", "wine", "digits")
_SHOWN_COLUMNS = 12
# Values of a text column that are encoded at most.
MOST_VALUES = 50


class TooLarge(ValueError):
    """A table that would not fit into memory."""


def load(name: str, *, standardize: bool = True) -> Data:
    """One of scikit-learn's bundled tables.

    name: "diabetes" (442, 10), "breast_cancer" (569, 30), "wine" (178, 13) or "digits" (1797, 64).
    standardize: inputs and targets to mean 0 and variance (1/n) Σ = 1, column by column; a constant column (digits
    has three) becomes zeros and is kept. Otherwise the numbers as measured; class labels are the numbers 0, 1, ….
    Raises ValueError for an unknown name.
    """
    choice = _validate.choice("name", name, BUNDLED)
    from sklearn import datasets

    # The diabetes table comes rescaled unless asked otherwise.
    options = {"scaled": False} if choice == "diabetes" else {}
    table = getattr(datasets, f"load_{choice}")(**options)
    inputs = np.asarray(table.data, dtype=np.float64)
    targets = np.asarray(table.target, dtype=np.float64)
    return _dataset(choice, inputs, targets, tuple(map(str, table.feature_names)), standardize)


def read_table(
    path: str | os.PathLike[str],
    target: str,
    *,
    standardize: bool = True,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
    encode: str | None = None,
) -> Data:
    """A table of numbers with a named target column; every other column is an input, in the order of the file.

    path: .csv, .tsv or .txt with a first line of names; .parquet; or .npz, where each 1-D array is a column and a 2-D
    array `a` gives the columns a_0, a_1, …. True and False count as 1 and 0. standardize: as in `load`. separator,
    decimal, thousands, encoding, header: how a text table is written, where the file does not show it. columns: the
    inputs to take, all by default. drop_missing: leave out rows with a missing entry. encode="one-hot": an input column
    of text becomes a column of 0 and 1 for each of its values. `Data.notes` says what was found, left out and encoded.

    Raises FileNotFoundError; ValueError for a file that cannot be read, an unknown target, unnamed or duplicate
    columns, no row or input column, and entries that are no finite numbers, with column, row and line.
    """
    form = TextFormat(separator, decimal, thousands, encoding, header)
    file = _validate.path("path", path)
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise ValueError(f"path must end in {', '.join(_READERS)}, got {str(file)!r}")
    if not file.is_file():
        raise FileNotFoundError(f"path must be an existing file, got {str(file)!r}")
    form.only_for_text(file.name, read is _read_text)
    _check_size(file, file.stat().st_size)
    table = read(file, form)
    names = table.names
    _check_names(file, names)
    if target not in names:
        raise ValueError(_unknown_target(file, names, target))
    if encode is not None:
        _validate.choice("encode", encode, ("one-hot",))
    if columns is not None:
        table = _with_columns(file, table, target, columns)
    if _validate.flag("drop_missing", drop_missing):
        table = _without_missing(file, table)
    if encode is not None:
        table = _encoded(file, table, target)
    names = table.names
    if len(names) == 1:
        raise ValueError(f"{file.name} must have an input column beside the target {target!r}, got no other")
    if len(table.columns[0]) == 0:
        raise ValueError(f"{file.name} must have at least one row, got only the names of its columns")
    values = {
        name: _numbers(file, name, column, table.place) for name, column in zip(names, table.columns, strict=True)
    }
    targets = values.pop(target)
    inputs = np.column_stack(list(values.values()))
    return _dataset(file.stem, inputs, targets, tuple(values), standardize, target, table.notes)


def load_table(
    table: str,
    target: str | None,
    *,
    standardize: bool = True,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
    encode: str | None = None,
    **text: Any,
) -> Data:
    """A bundled table by name, or a .csv, .tsv, .txt, .parquet or .npz file.

    target: the column to predict; a bundled table has its own, and may be asked to predict a feature instead. columns,
    drop_missing, encode and text, how a text table is written: of a file, as in `read_table`.
    Raises ValueError or FileNotFoundError as `load` and `read_table` do.
    """
    if table not in BUNDLED:
        path = _validate.path("table", table)
        if not path.suffix and not path.is_file():
            try:
                _validate.choice("table", table, BUNDLED)
            except ValueError as error:
                raise ValueError(f"{error} (or give a .csv, .tsv, .txt, .parquet or .npz file)") from None
        if target is None:
            raise ValueError(f"target must name a column of {path.name}, got none (--target COLUMN)")
        return read_table(
            path, target, standardize=standardize, columns=columns, drop_missing=drop_missing, encode=encode, **text
        )
    TextFormat(**text).only_for_text(table, False)
    given = {"columns": columns is not None, "drop_missing": drop_missing, "encode": encode is not None}
    if any(given.values()):
        raise ValueError(f"{next(name for name in given if given[name])} is for files, got the bundled table {table!r}")
    loaded = load(table, standardize=standardize)
    if target in (None, "target"):
        return loaded
    column = loaded.feature_names.index(_validate.choice("target", target, ("target", *loaded.feature_names)))
    inputs = np.column_stack([np.delete(loaded.inputs, column, axis=1), loaded.targets])
    names = (*loaded.feature_names[:column], *loaded.feature_names[column + 1 :], "target")
    return Data(inputs, loaded.inputs[:, column], loaded.name, names, loaded.notes)


@dataclass(frozen=True)
class _Table:
    """What every format gives: names, one pandas Series a column, notes, and row ↦ where it stands in the file."""

    names: list[str]
    columns: list[Any]
    notes: tuple[str, ...] = ()
    line_of: Callable[[int], int] | None = None
    rows: IntArray | None = None

    def place(self, row: int) -> str:
        """Row number `row` (the first is 0) as an error names it, `rows` being those of the file that are left."""
        row = row if self.rows is None else int(self.rows[row])
        return f"row {row + 1}" + ("" if self.line_of is None else f" (line {self.line_of(row)})")


def _with_columns(file: Path, table: _Table, target: str, columns: Sequence[str]) -> _Table:
    """The named input columns and the target, in the order of the file."""
    if isinstance(columns, str) or not columns:
        raise ValueError(f"columns must be names of input columns, got {_validate.shown(columns)}")
    for name in columns:
        if name == target:
            raise ValueError(f"columns must be input columns, got the target {target!r} among them")
        if name not in table.names:
            raise ValueError(_unknown_target(file, table.names, name).replace("target", "columns", 1))
    kept = [k for k, name in enumerate(table.names) if name in {*columns, target}]
    return replace(table, names=[table.names[k] for k in kept], columns=[table.columns[k] for k in kept])


def _without_missing(file: Path, table: _Table) -> _Table:
    """The rows in which no cell is missing."""
    missing = np.any([np.asarray(column.isna(), dtype=bool) for column in table.columns], axis=0)
    if not missing.any():
        return table
    if missing.all():
        raise ValueError(f"{file.name} must have a row without a missing entry, all {len(missing)} have one")
    rows = np.flatnonzero(~missing)
    note = f"{file.name}: {int(missing.sum())} of {len(missing)} rows have a missing entry and are left out."
    columns = [column.iloc[rows].reset_index(drop=True) for column in table.columns]
    return replace(table, columns=columns, notes=(*table.notes, note), rows=rows)


def _encoded(file: Path, table: _Table, target: str) -> _Table:
    """Each input column that holds text as a column of 0 and 1 for each of its values, named column=value."""
    import pandas as pd

    names: list[str] = []
    columns: list[Any] = []
    encoded = []
    for name, column in zip(table.names, table.columns, strict=True):
        numbers = (
            pd.api.types.is_numeric_dtype(column.dtype)
            or not np.isnan([_number(cell) for cell in column[~column.isna()]]).any()
        )
        if name == target or numbers:
            names.append(name)
            columns.append(column)
            continue
        if column.isna().any():
            _numbers(file, name, column.where(column.isna(), 0.0), table.place)
        values = sorted(map(str, set(column)))
        if len(values) > MOST_VALUES:
            raise ValueError(
                f"column {name!r} of {file.name} must have at most {MOST_VALUES} values to be encoded, got "
                f"{len(values)}: "
                "leave it out (--columns names those to take)"
            )
        names += [f"{name}={value}" for value in values]
        columns += [(column.astype(str) == value).astype(np.float64) for value in values]
        encoded.append(f"{name!r} ({len(values)} values)")
    if not encoded:
        return table
    _check_names(file, names)
    note = f"{file.name}: one column of 0 and 1 for each value of {', '.join(encoded)}."
    return replace(table, names=names, columns=columns, notes=(*table.notes, note))


def _dataset(
    name: str, inputs: FloatArray, targets: FloatArray, names: tuple[str, ...], standardize: bool,
    target: str = "target", notes: tuple[str, ...] = (),
) -> Data:  # fmt: skip
    if standardize:
        columns = (*zip(names, inputs.T, strict=True), (target, targets))
        rounded = [each for each, column in columns if np.ptp(column) > 0 and bool(constant_up_to_rounding(column))]
        if rounded:
            listed = ", ".join(map(repr, rounded[:_SHOWN_COLUMNS])) + (", …" if len(rounded) > _SHOWN_COLUMNS else "")
            notes += (f"Constant up to rounding, and set to zero by standardisation: {listed}.",)
        inputs, targets = standardised(inputs), standardised(targets)
    return Data(inputs, targets, name, names, notes)


def _read_text(file: Path, form: TextFormat) -> _Table:
    try:
        text = read_text(file, form)
    except (ValueError, csv.Error, OSError) as error:
        raise _unreadable(file, error) from error
    return _Table(text.names, text.columns, text.notes, text.line_of)


def _read_parquet(file: Path, form: TextFormat) -> _Table:
    import pyarrow
    from pyarrow import parquet

    try:
        # Not read_table: it takes a folder named a=1 on the way to the file for a column.
        with parquet.ParquetFile(file) as table:
            _check_size(file, 8 * table.metadata.num_rows * table.metadata.num_columns)
            frame = table.read().to_pandas()
    except TooLarge:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise _unreadable(file, error) from error
    return _Table([str(name) for name in frame.columns], [frame.iloc[:, k] for k in range(frame.shape[1])])


def _read_npz(file: Path, form: TextFormat) -> _Table:
    import pandas as pd

    try:
        with np.load(file, allow_pickle=False) as archive:
            _check_size(file, sum(member.file_size for member in archive.zip.infolist()))
            arrays = {name: archive[name] for name in archive.files}
    except TooLarge:
        raise
    except (OSError, ValueError, *OF_ARCHIVES) as error:
        raise _unreadable(file, error) from error
    names: list[str] = []
    columns: list[Any] = []
    for name, array in arrays.items():
        if array.ndim not in (1, 2):
            raise ValueError(f"array {name!r} of {file.name} must have 1 or 2 dimensions, got shape {array.shape}")
        table = array[:, None] if array.ndim == 1 else array
        # A column vector (n, 1) is a column like any other: its name needs no number.
        names += [name] if table.shape[1] == 1 else [f"{name}_{column}" for column in range(table.shape[1])]
        columns += [pd.Series(table[:, column]) for column in range(table.shape[1])]
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the arrays of {file.name} must have the same number of rows, got {listed}")
    return _Table(names, columns)


_READERS: dict[str, Callable[[Path, TextFormat], _Table]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
}


def _check_size(file: Path, size: int) -> None:
    if size > LARGEST_TABLE:
        raise TooLarge(f"{file.name} must have at most {LARGEST_TABLE:,} bytes of numbers, got {size:,}")


def _unreadable(file: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{file.name} must be a readable {file.suffix.lower()[1:]} table: {reason}")


def _check_names(file: Path, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"{file.name} must have columns, got none")
    if "" in names:
        position = names.index("") + 1
        raise ValueError(f"every column of {file.name} must have a name, got none for column {position} (an index?)")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"columns of {file.name} must have different names, got more than one {repeated[0]!r}")


def _unknown_target(file: Path, names: Sequence[str], target: str) -> str:
    listed = ", ".join(map(repr, names[:_SHOWN_COLUMNS]))
    if len(names) > _SHOWN_COLUMNS:
        listed += f", … ({len(names)} columns)"
    nearest = get_close_matches(str(target), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    if len(names) == 1 and _READERS[file.suffix.lower()] is _read_text:
        hint += "; separator (--sep) names what stands between columns"
    return f"target must be a column of {file.name}: {listed}; got {target!r}{hint}"


def _numbers(file: Path, name: str, column: Any, place: Callable[[int], str]) -> FloatArray:
    """The column as float64; a pandas Series in, (n,) out."""
    import pandas as pd

    where = f"column {name!r} of {file.name}"
    missing = np.asarray(column.isna(), dtype=bool)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        if pd.api.types.is_complex_dtype(column.dtype):
            raise ValueError(f"{where} must hold real numbers, got complex ones")
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = np.array([_number(cell) for cell in column], dtype=np.float64)
        text = np.isnan(values) & ~missing
        if text.any():
            row = int(text.argmax())
            raise ValueError(
                f"{where} must hold numbers, got {column.iloc[row]!r} in {place(row)}{_hint(column.iloc[row])}"
            )
    if missing.any():
        raise ValueError(
            f"{where} must have no missing entry, got one in {place(int(missing.argmax()))}; drop_missing=True "
            "(--drop-missing) leaves such rows out"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{where} must be finite, got an infinite entry in {place(int(np.isinf(values).argmax()))}")
    for row in np.flatnonzero(np.abs(values) >= LARGEST_EXACT_INTEGER).tolist():
        exact = _integer(column.iloc[row])
        if exact is not None and exact != int(values[row]):
            raise ValueError(
                f"{where} must hold integers that doubles hold exactly, got {exact} in {place(row)}, which would "
                f"become {int(values[row])}; subtract a constant from the column, or leave it out"
            )
    result: FloatArray = values
    return result


def _hint(cell: Any) -> str:
    """The option that reads digits in groups of three, as in 1 234,5 or 1'234.5."""
    found = re.fullmatch(r"[-+]?\d{1,3}(?:([\s'’])\d{3})+(?:[.,]\d*)?", str(cell))
    if found is None:
        return (
            ""
            if re.search(r"\d|^\s*#", str(cell))
            else "; encode='one-hot' (--encode one-hot) makes a column of each value"
        )
    sign, option = (" ", "space") if found[1].isspace() else (found[1], f'"{found[1]}"')
    return f"; thousands={sign!r} (--thousands {option}) reads groups of three digits"


def _number(cell: Any) -> float:
    """The number that a cell of a mixed column holds; NaN when it is text, a date or missing."""
    if isinstance(cell, str) and "_" in cell:
        # A number in Python's own source, text in a table.
        return float("nan")
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _integer(cell: Any) -> int | None:
    """The integer that a cell holds exactly, None where it holds another number: decimals are rounded, integers not."""
    if isinstance(cell, str):
        return int(cell) if re.fullmatch(r"\s*[-+]?\d+\s*", cell) else None
    # Python's own integers, numpy's, decimal.Decimal and numpy.longdouble all convert without loss.
    return int(cell) if cell == int(cell) else None
