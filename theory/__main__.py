"""Run every check, print a line each, and typeset the results: python -m theory [NAME...]

Writes theory/output/summary.html (MathML, opens in any browser) and theory/output/summary.tex (XeLaTeX or LuaLaTeX).
Exit code 1 when a step does not hold, 2 for an unknown name.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from theory import module, names
from theory._typeset import html, latex

OUTPUT = Path(__file__).parent / "output"


def main(arguments: list[str] | None = None, output: Path = OUTPUT) -> int:
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all when left out")
    chosen = parser.parse_args(arguments).names or names()
    failed = []
    for name in chosen:
        start = time.perf_counter()
        try:
            module(name).check()
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except AssertionError as error:
            failed.append(name)
            print(f"FAILED  {name}: {error}", flush=True)
        else:
            print(f"proved  {name}  ({time.perf_counter() - start:.1f} s)", flush=True)
    output.mkdir(exist_ok=True)
    (output / "summary.html").write_text(html(chosen), encoding="utf-8")
    (output / "summary.tex").write_text(latex(chosen), encoding="utf-8")
    print(f"{len(chosen) - len(failed)} of {len(chosen)} derivations hold; typeset in {output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
