"""The state of an optimiser on disk: enough to go on as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esssim import _validate, store
from esssim._validate import FloatArray

FORMAT = "esssim checkpoint 2"
FINGERPRINT = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Checkpoint:
    """θ (p,), the velocity v (p,), the updates done, the state of numpy's generator, and whatever else a run keeps.

    rng_state: `generator.bit_generator.state`. fingerprint: that of the problem. extra: named arrays of the caller.
    settings: what else decides the run, by name, as JSON takes it; `differences` compares it with that of another.
    """

    theta: FloatArray
    velocity: FloatArray
    step: int
    rng_state: dict[str, Any]
    fingerprint: str = ""
    extra: dict[str, np.ndarray] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def generator(self) -> np.random.Generator:
        """A generator that goes on where the saved one stood."""
        bit_generator = getattr(np.random, self.rng_state["bit_generator"])()
        bit_generator.state = self.rng_state
        return np.random.Generator(bit_generator)


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint as NPZ, whole: an interrupted write leaves the one before. ValueError for an unwritable
    path.
    """
    header = {
        "format": FORMAT,
        "step": checkpoint.step,
        "rng_state": checkpoint.rng_state,
        "fingerprint": checkpoint.fingerprint,
        "settings": checkpoint.settings,
    }
    arrays = {f"extra_{name}": array for name, array in (checkpoint.extra or {}).items()}
    with store.whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            header=np.frombuffer(json.dumps(header, default=_listed).encode(), dtype=np.uint8),
            theta=checkpoint.theta,
            velocity=checkpoint.velocity,
            **arrays,  # type: ignore[arg-type]
        )


def load_checkpoint(path: str | os.PathLike[str], *, fingerprint: str | None = None) -> Checkpoint:
    """Read a checkpoint. Raises ValueError for a missing, damaged or foreign file, and one of another problem."""
    target = _validate.path("path", path)
    if not target.is_file():
        raise ValueError(f"path must name a checkpoint, there is no file {str(target)!r}")
    try:
        with open(target, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            found = {name: arrays[name] for name in arrays.files}
        known = header["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"path must name a checkpoint, {str(target)!r} is none or is damaged: {error}") from error
    if not known:
        raise ValueError(
            f"path must name a checkpoint of this version ({FORMAT!r}), {str(target)!r} has the format "
            f"{header['format']!r}: finish that run with the version that began it, or take a new file"
        )
    if fingerprint is not None and header["fingerprint"] != fingerprint:
        raise ValueError(f"path must name a checkpoint of this problem, {str(target)!r} is of another one")
    extra = {name.removeprefix("extra_"): array for name, array in found.items() if name.startswith("extra_")}
    state = _restored(header["rng_state"])
    theta, velocity = found["theta"], found["velocity"]
    return Checkpoint(theta, velocity, header["step"], state, header["fingerprint"], extra, header["settings"])


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A phrase for each setting that is another one in a checkpoint than here; fingerprints have no words."""
    there = json.loads(json.dumps(there))
    for name, now in json.loads(json.dumps(here)).items():
        before = there.get(name)
        if isinstance(now, dict) and isinstance(before, dict):
            yield from differences(before, now, f"{prefix}{name}.")
        elif before != now:
            told = "is another one" if _is_fingerprint(now) else f"is {_shown(before)} there and {_shown(now)} here"
            yield f"{prefix}{name} {told}"
    for name in there.keys() - here.keys():
        yield f"{prefix}{name} is there only"


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, str) and FINGERPRINT.fullmatch(value) is not None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else _validate.shown(value)


def _listed(value: Any) -> Any:
    """Arrays in the state of a generator (MT19937, Philox, SFC64) as JSON."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    return value.item()


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"array", "dtype"}:
            return np.array(value["array"], dtype=value["dtype"])
        return {name: _restored(part) for name, part in value.items()}
    return value
