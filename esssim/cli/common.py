"""What the commands share: options, folders, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
OutFolder = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the results to this folder.")]


def print_json(content: dict[str, object]) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def prepare_folder(folder: Path) -> None:
    """Create the folder and try to write there: before the work, not after ten minutes of it."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from error
