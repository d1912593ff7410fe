"""What every figure script shares: a picture is saved in three formats, with its data, provenance and caption."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from esssim import store
from esssim.claims.model import Row
from esssim.plots import style

__all__ = ["save", "style"]

# No time and no machine in them: the same numbers give the same file.
METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
PACKAGES = ("esssim", "matplotlib", "numba", "numpy", "scipy", "xarray")


def save(
    figure: Figure,
    name: str,
    out: Path,
    *,
    rows: Sequence[Row],
    configuration: Mapping[str, object],
    alt: str,
    caption: str,
) -> list[Path]:
    """Write name.pdf, .svg, .png, .csv (the rows drawn), .json (provenance) and .md (caption). Call within `style`."""
    for suffix, metadata in METADATA.items():
        with store.whole_file(out / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)
            if suffix == "png":
                _shrink(temporary)
    versions = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
    provenance = {"figure": name, "configuration": configuration, "versions": versions}
    store.write_text(out / f"{name}.csv", table(rows))
    store.write_text(out / f"{name}.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")
    store.write_text(out / f"{name}.md", f"![{alt}]({name}.png)\n\n{caption}\n")
    return [out / f"{name}.{suffix}" for suffix in (*METADATA, "csv", "json", "md")]


def _shrink(png: Path) -> None:
    """The same pixels from a palette, a third of the size: pictures are kept in the repository."""
    with Image.open(png) as picture:
        resolution = picture.info["dpi"]
        palette = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    palette.save(png, format="png", optimize=True, dpi=resolution)


def table(rows: Sequence[Row]) -> str:
    """CSV; nine digits, more than a picture shows or two machines share."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()})
    return stream.getvalue()
