"""What every figure script shares: a picture is saved in several formats, with its data, provenance and caption."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from esssim import _validate, store
from esssim._rows import Row
from esssim.plots import style

__all__ = ["FORMATS", "MOVING", "STILL", "check_formats", "check_usetex", "save", "save_animation", "style", "table"]

STILL = ("pdf", "svg", "png")
MOVING = ("gif", "mp4")
FORMATS = (*STILL, *MOVING)
# No time and no machine in them: the same numbers give the same file.
METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
PACKAGES = ("esssim", "matplotlib", "numba", "numpy", "scipy", "xarray")
FRAMES_PER_SECOND = 12
# What LaTeX reads otherwise than it looks.
TEX = str.maketrans({"%": r"\%", "–": "--", "−": r"\textminus{}", "×": r"\texttimes{}", "±": r"\textpm{}"})


def check_formats(script: ModuleType, formats: Sequence[str]) -> tuple[str, ...]:
    """The formats asked for, or all that the script and this machine have. Raises ValueError for any other."""
    moves = hasattr(script, "animate")
    ffmpeg = shutil.which("ffmpeg") is not None
    if not formats:
        return (*STILL, *(MOVING if moves and ffmpeg else MOVING[:1] if moves else ()))
    for name in formats:
        _validate.choice("format", name, FORMATS)
        if name in MOVING and not moves:
            raise ValueError(f"format must be one of {', '.join(STILL)} for a figure that does not move, got {name!r}")
        if name == "mp4" and not ffmpeg:
            raise ValueError("format mp4 needs the program ffmpeg, which is not there; gif needs nothing")
    return tuple(dict.fromkeys(formats))


def check_usetex(usetex: bool) -> None:
    """ValueError where LaTeX is asked for and not there, naming what is missing."""
    absent = [program for program in ("latex", "dvipng") if usetex and shutil.which(program) is None]
    if absent:
        raise ValueError(f"usetex needs {' and '.join(absent)}, not found on PATH; without it no LaTeX is needed")


def packages(script: ModuleType) -> tuple[str, ...]:
    """The packages whose versions belong to a figure's provenance."""
    return (*PACKAGES, *(["torch"] if getattr(script, "EXTRA", None) == "bridge" else []))


def save(
    figure: Figure,
    name: str,
    out: Path,
    *,
    rows: Sequence[Row],
    configuration: Mapping[str, object],
    alt: str,
    caption: str,
    formats: Sequence[str] = STILL,
    packages: Sequence[str] = PACKAGES,
) -> list[Path]:
    """Write the picture, name.csv (the rows drawn), .json (provenance) and .md (caption). Call within `style`."""
    _escape_for_tex(figure)
    for suffix in formats:
        with store.whole_file(out / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=METADATA[suffix])
            if suffix == "png":
                _shrink(temporary)
    versions = {package: version(package) for package in packages} | {"python": platform.python_version()}
    provenance = {
        "figure": name,
        "configuration": configuration,
        "versions": versions,
        "commit": commit(),
        "alt": alt,
        "caption": caption,
    }
    store.write_text(out / f"{name}.csv", table(rows))
    store.write_text(out / f"{name}.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")
    store.write_text(out / f"{name}.md", f"![{alt}]({name}.png)\n\n{caption}\n")
    return [out / f"{name}.{suffix}" for suffix in (*formats, "csv", "json", "md")]


def save_animation(animation: FuncAnimation, name: str, out: Path, formats: Sequence[str]) -> list[Path]:
    """Write name.gif and name.mp4. Call within `style`."""
    paths = []
    for suffix in formats:
        writer = (PillowWriter if suffix == "gif" else FFMpegWriter)(fps=FRAMES_PER_SECOND)
        with store.whole_file(out / f"{name}.{suffix}") as temporary, _words_of_ffmpeg():
            animation.save(str(temporary), writer=writer, dpi=110)
        paths.append(out / f"{name}.{suffix}")
    return paths


@contextlib.contextmanager
def _words_of_ffmpeg() -> Iterator[None]:
    """What ffmpeg says when it fails, as a ValueError and not on standard error."""
    logger = logging.getLogger("matplotlib.animation")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else str(error.stderr or "")
        words = " ".join(said.split()) or f"it ended with {error.returncode}"
        raise ValueError(f"format mp4: ffmpeg failed: {words}; gif needs no ffmpeg") from error
    finally:
        logger.setLevel(before)


def commit() -> str | None:
    """The commit of the scripts, with "+" where files have changed since; None outside a repository."""
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        answers = [
            subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True, timeout=20).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "..", ":!output"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0].strip() + ("+" if answers[1].strip() else "")


def _escape_for_tex(figure: Figure) -> None:
    for text in figure.findobj(Text):
        if text.get_usetex():
            parts = text.get_text().split("$")
            parts[::2] = [part.translate(TEX) for part in parts[::2]]
            text.set_text("$".join(parts))


def _shrink(png: Path) -> None:
    """The same pixels from a palette, a third of the size: pictures are kept in the repository."""
    with Image.open(png) as picture:
        resolution = picture.info["dpi"]
        palette = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    palette.save(png, format="png", optimize=True, dpi=resolution)


def table(rows: Sequence[Row]) -> str:
    """CSV of all columns of the rows; nine digits, more than a picture shows or two machines share."""
    stream = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()})
    return stream.getvalue()
