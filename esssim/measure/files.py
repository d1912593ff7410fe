"""The files of a measurement: JSON, CSV and pictures, each written whole."""

from __future__ import annotations

import json
from pathlib import Path

from esssim.measure.picture import picture
from esssim.measure.results import TableMeasurement


def write_measurement(folder: Path, measured: TableMeasurement, environment: dict[str, object]) -> list[Path]:
    """Write measure.json, measure.csv and the picture as measure.png and measure.svg; the paths written."""
    from esssim import plots, store
    from esssim.plots.files import rendered

    with plots.style():
        pictures = rendered(picture(measured))
    text = json.dumps({**measured.as_dict(), "environment": environment}, indent=2, ensure_ascii=False, allow_nan=False)
    store.write_text(folder / "measure.json", text + "\n")
    store.write_text(folder / "measure.csv", measured.as_csv())
    for suffix, content in pictures.items():
        with store.whole_file(folder / f"measure.{suffix}") as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in ("measure.json", "measure.csv", *(f"measure.{suffix}" for suffix in pictures))]
