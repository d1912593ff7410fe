"""`python -m figures [NAME ...] [--out DIR] [--width PAGE] [--quick]`: build figures and the gallery that shows
them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from esssim import plots, store

from . import FIGURES, build, check, missing
from .gallery import gallery

DEFAULT = Path("figures") / "output"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 built, 2 bad input (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m figures", description="Build figures; all of them by default.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--out", type=Path, help=f"folder (default {DEFAULT}, quick ones {DEFAULT / 'quick'})")
    parser.add_argument("--width", default=plots.DEFAULT, help=", ".join(plots.NAMES))
    parser.add_argument("--quick", action="store_true", help="shorter runs and coarser grids")
    options = parser.parse_args(arguments)
    out: Path = options.out or (DEFAULT / "quick" if options.quick else DEFAULT)
    try:
        names = options.names or [name for name in FIGURES if not missing(name)]
        for name in names:
            check(name, options.width)
        for name in names:
            started = time.perf_counter()
            print(f"{name}: {FIGURES[name]} ...", flush=True)
            paths = build(name, out, width=options.width, quick=options.quick, tell=_tell)
            print(f"{name}: {len(paths)} files in {out} ({time.perf_counter() - started:.1f} s)", flush=True)
        left_out = [] if options.names else [name for name in FIGURES if name not in names]
        if left_out:
            print(f"not built: {', '.join(left_out)}: {missing(left_out[0])}", file=sys.stderr)
        # The committed gallery lies beside the scripts, any other beside its pictures.
        page, prefix = (out.parent / "README.md", f"{out.name}/") if out == DEFAULT else (out / "README.md", "")
        store.write_text(page, gallery(out, prefix))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _tell(words: str) -> None:
    print(f"    {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
