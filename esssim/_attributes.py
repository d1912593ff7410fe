"""Attributes of a Dataset as JSON, so that no reader of NetCDF takes one for an instruction of the file format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

# Where the attributes are kept that NetCDF cannot hold or would interpret.
KEPT = "esssim_attributes"
# Of a variable, only these mean nothing to any decoder; of a Dataset, all but those that NetCDF and HDF5 use
# themselves.
PLAIN_OF_VARIABLES = ("long_name", "standard_name", "description", "comment", "title")
RESERVED = ("coordinates", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", KEPT)


def detached(trace: xarray.Dataset) -> xarray.Dataset:
    """A copy of which other readers see the plain attributes as such, and all others as one JSON text in `KEPT`.

    Encodings, with which a file that was read elsewhere asks for other numbers on disk, are dropped. Raises ValueError
    that names the attribute that JSON cannot hold.
    """
    copy = trace.drop_encoding().copy()
    kept: dict[str, dict[str, Any]] = {}
    for owner, attributes in _owners(copy):
        others = {}
        for name, value in list(attributes.items()):
            where = f"attribute {name!r}" + (f" of {owner!r}" if owner else "")
            if not isinstance(name, str):
                raise ValueError(f"{where} must have a string as its name")
            if not _is_plain(owner, name, value):
                others[name] = _tagged(where, attributes.pop(name))
        if others:
            # The order of all, of which JSON keeps only a part.
            kept[owner] = {"order": [*attributes, *others] if owner else list(trace.attrs), "values": others}
    if kept:
        copy.attrs[KEPT] = json.dumps(kept)
    return copy


def attached(loaded: xarray.Dataset) -> xarray.Dataset:
    """The Dataset whose attributes `detached` took apart, with Python's own numbers for those of the file."""
    kept = json.loads(loaded.attrs.pop(KEPT, "{}"))
    for owner, attributes in _owners(loaded):
        for name, value in attributes.items():
            attributes[name] = value.item() if isinstance(value, np.generic) else value
        others = kept.get(owner, {"order": [], "values": {}})
        whole = {**attributes, **{name: _untagged(value) for name, value in others["values"].items()}}
        attributes.clear()
        attributes.update({name: whole[name] for name in dict.fromkeys([*others["order"], *whole])})
    return loaded


def as_text(trace: xarray.Dataset) -> dict[str, str]:
    """The attributes of the Dataset ("") and of each variable as JSON: equal exactly when the attributes are."""
    return {
        owner: json.dumps({name: _tagged(name, value) for name, value in attributes.items()}, sort_keys=True)
        for owner, attributes in _owners(trace)
    }


def _owners(trace: xarray.Dataset) -> list[tuple[str, dict[Any, Any]]]:
    return [("", trace.attrs), *((str(name), variable.attrs) for name, variable in trace.variables.items())]


def _is_plain(owner: str, name: str, value: Any) -> bool:
    """Whether NetCDF holds the attribute as it is and no reader makes anything of it."""
    harmless = name in PLAIN_OF_VARIABLES if owner else name.isidentifier() and name[0] != "_" and name not in RESERVED
    if isinstance(value, str):
        return harmless and value != "" and "\0" not in value and value.isprintable()
    fits = isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)
    return harmless and fits and type(value) in (int, float)


def _tagged(where: str, value: Any) -> Any:
    """The value in the types of JSON; what has another type as {"type": …, "value": …}."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufUM":
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        plain = value.astype(np.int64).tolist() if value.dtype.kind == "M" else _numbers(value)
        return {"type": kind, "dtype": value.dtype.str, "shape": value.shape, "value": plain}
    if isinstance(value, list):
        return [_tagged(where, each) for each in value]
    if isinstance(value, tuple) and type(value) is tuple:
        return {"type": "tuple", "value": [_tagged(where, each) for each in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"type": "dict", "value": {key: _tagged(where, each) for key, each in value.items()}}
    raise ValueError(
        f"{where} must be text, a number, True, False, None, an array, or a list, tuple or dict of them, "
        f"got a {type(value).__name__}"
    )


def _numbers(value: Any) -> Any:
    """Wider floats than a double as text, which keeps their digits."""
    return value.astype(str).tolist() if value.dtype.itemsize > 8 and value.dtype.kind == "f" else value.tolist()


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(each) for each in value]
    if not isinstance(value, dict):
        return value
    content = value["value"]
    if value["type"] == "dict":
        return {key: _untagged(each) for key, each in content.items()}
    if value["type"] == "tuple":
        return tuple(_untagged(each) for each in content)
    array = np.array(content).astype(np.dtype(value["dtype"])).reshape(value["shape"])
    return array if value["type"] == "array" else array[()]
