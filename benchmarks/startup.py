"""Time to import and to help, in a new interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from .table import Goal, Row, compare
from .timing import Side


def rows(quick: bool) -> Iterator[Row]:
    for work, code, seconds in (
        ("import esssim", "import esssim", 0.5),
        ("esssim --help", "from esssim.cli import run; run(['--help'])", 0.7),
        ("import of everything that esssim exports", "from esssim import *", None),
    ):
        yield compare(
            "startup",
            work,
            "–",
            ours=Side(lambda _, code=code: fresh_interpreter(code)),
            limit=Side(lambda _: fresh_interpreter("pass")),
            limit_name="an interpreter that does nothing",
            goal=Goal("seconds", at_most=seconds) if seconds else None,
        )


def fresh_interpreter(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
