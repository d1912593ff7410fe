"""What is saved is what is loaded: whatever the attributes are called, and whatever the numbers are."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

import esssim as es


@pytest.fixture
def trace() -> xarray.Dataset:
    return xarray.Dataset(
        {"loss": (("replica", "record"), np.array([[1.0, np.nan, -0.0], [np.inf, 5e-324, 1e308]]))},
        {"step": ("record", [0, 5, 10])},
        {"n_samples": 8, "eta": 0.1},
    )


def returned(trace: xarray.Dataset, path: Path) -> xarray.Dataset:
    es.save(trace, path)
    return es.load(path)


# Names that decoders of NetCDF take for instructions, and names that the file formats use themselves.
INSTRUCTIONS = (
    "scale_factor", "add_offset", "_FillValue", "missing_value", "units", "calendar", "dtype", "_Unsigned", "coordinates",
    "bounds", "grid_mapping", "valid_min", "valid_range", "flag_values", "CLASS", "NAME", "DIMENSION_LIST",
    "REFERENCE_LIST", "_NCProperties", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_Encoding", "esssim_attributes",
    "long_name", "title", "name with blanks", "Größe", "", "a/b",
)  # fmt: skip
VALUES = (
    2.0,
    3,
    "days since 2000-01-01",
    "seconds",
    "bool",
    "true",
    "step",
    "",
    True,
    None,
    [1, 2],
    {"a": [None, True]},
)


@pytest.mark.parametrize("name", INSTRUCTIONS)
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_no_attribute_is_an_instruction(trace: xarray.Dataset, name: str, value: Any, tmp_path: Path) -> None:
    marked = trace.assign(loss=trace["loss"].assign_attrs({name: value})).assign_attrs({name: value})
    marked["step"].attrs[name] = value
    loaded = returned(marked, tmp_path / "a.nc")
    np.testing.assert_array_equal(loaded["loss"].values, trace["loss"].values)
    np.testing.assert_array_equal(loaded["step"].values, [0, 5, 10])
    assert loaded["loss"].dtype == np.float64
    assert loaded["step"].dtype == np.int64
    for found in (loaded.attrs, loaded["loss"].attrs, loaded["step"].attrs):
        assert found[name] == value
        assert type(found[name]) is type(value)
    assert list(loaded.attrs) == list(marked.attrs)


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), NESTED, max_size=4))
def test_any_attributes(tmp_path_factory: pytest.TempPathFactory, attributes: dict[str, Any]) -> None:
    bare = xarray.Dataset({"loss": ("record", [1.0, 2.0], attributes)}, attrs=attributes)
    loaded = returned(bare, tmp_path_factory.mktemp("any") / "a.nc")
    # repr, for NaN and for the sign of zero.
    assert {name: repr(value) for name, value in loaded.attrs.items()} == {n: repr(v) for n, v in attributes.items()}
    assert repr(loaded["loss"].attrs) == repr(bare["loss"].attrs) or set(loaded["loss"].attrs) == set(attributes)


@pytest.mark.parametrize(
    "value",
    [np.float64(0.1), np.int32(3), np.bool_(True), np.arange(3), np.zeros((0, 2)), np.array(["a", "bc"]), (1, (2.0, None)),
     np.longdouble(1) / 3, np.array(["2026-11-28"], dtype="M8[D]"), {"t": (1,), "value": 1}],
    ids=str,
)  # fmt: skip
def test_types_come_back(trace: xarray.Dataset, value: Any, tmp_path: Path) -> None:
    found = returned(trace.assign_attrs(a=value), tmp_path / "a.nc").attrs["a"]
    assert type(found) is type(value)
    np.testing.assert_equal(found, value)
    if isinstance(value, np.ndarray | np.generic):
        assert found.dtype == value.dtype


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"when": datetime.date(2026, 11, 28)}, "attribute 'when' must be text, a number, .*, got a date"),
        ({"f": print}, "attribute 'f' must be .*, got a builtin_function_or_method"),
        ({"raw": b"x"}, "attribute 'raw' must be .*, got a bytes"),
        ({"a": {1: 2}}, "attribute 'a' must be .*, got a dict"),
        ({"a": [{2j}]}, "attribute 'a' must be .*, got a set"),
        ({"z": 1j}, "attribute 'z' must be .*, got a complex"),
        ({3: 1}, "attribute 3 must have a string as its name"),
    ],
)
def test_what_cannot_be_saved_is_named(
    trace: xarray.Dataset, attributes: dict[Any, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        es.save(trace.assign_attrs(attributes), tmp_path / "a.nc")
    marked = trace.copy()
    marked["loss"].attrs.update(attributes)
    with pytest.raises(ValueError, match=message.replace(" must", " of 'loss' must")):
        es.save(marked, tmp_path / "a.nc")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "encoding",
    [{"dtype": "int16"}, {"scale_factor": 0.5, "dtype": "int32"}, {"_FillValue": 1.0}, {"zlib": True}, {"dtype": "f4"}],
)
def test_the_encoding_of_a_file_it_came_from_changes_nothing(
    trace: xarray.Dataset, encoding: dict[str, Any], tmp_path: Path
) -> None:
    trace["loss"].encoding.update(encoding)
    xarray.testing.assert_identical(returned(trace, tmp_path / "a.nc"), trace)


@pytest.mark.parametrize(
    "values",
    [np.array([True, False]), np.array([1j, 2]), np.array(["a", "ö"]), np.array([1, 2], dtype=np.int8), np.array([1, 2], dtype=np.uint64),
     np.array([0.1, 1e-45], dtype=np.float32), np.array(["2026-11-28T12:00:00.000000001", "1999-01-01"], dtype="M8[ns]")],
    ids=lambda values: str(values.dtype),
)  # fmt: skip
def test_kinds_of_variables(values: Any, tmp_path: Path) -> None:
    bare = xarray.Dataset({"a": ("record", values)}, {"inner": 3.5})
    loaded = returned(bare, tmp_path / "a.nc")
    np.testing.assert_array_equal(loaded["a"].values, values)
    assert loaded["inner"] == 3.5


@pytest.mark.parametrize(
    "values",
    [np.array([None, 1.0]), np.array(["a", 1.0], dtype=object), np.array([{}, []], dtype=object)],
    ids=["none", "mixed", "objects"],
)
def test_variables_that_netcdf_cannot_hold_are_named(values: Any, tmp_path: Path) -> None:
    bare = xarray.Dataset({"fine": ("record", [1.0, 2.0]), "odd": ("record", values)})
    with pytest.raises(ValueError, match=r"^trace must hold what NetCDF can hold: variable 'odd' \(dtype \w+\)"):
        es.save(bare, tmp_path / "a.nc")
    assert not os.listdir(tmp_path)
