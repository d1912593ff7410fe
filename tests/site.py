"""The documentation site, built once for all tests, and the links of its pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "docs" / "html"


def build() -> Path:
    """The folder of the site as `make docs` builds it."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n"]
    place = ["-d", str(SITE.parent / "doctrees"), str(DOCS), str(SITE)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    made = subprocess.run([*command, *place], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert made.returncode == 0, made.stdout + made.stderr
    return SITE


TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ATTRIBUTE = re.compile(r'\s(id|name|href|src|data)\s*=\s*(?:"([^"]*)"|\'([^\']*)\')')


@dataclass
class Links:
    """What a page refers to, and what in it can be referred to."""

    targets: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


@cache
def links(page: Path) -> Links:
    found = Links()
    for tag in TAG.findall(page.read_text(encoding="utf-8")):
        for name, double, single in ATTRIBUTE.findall(tag):
            value = unescape(double or single)
            if value and name in ("id", "name"):
                found.anchors.add(value)
            elif value:
                found.targets.append(value)
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no place in it."""
    return [target for target in dict.fromkeys(links(page).targets) if not _leads_somewhere(page, target)]


def _leads_somewhere(page: Path, target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or target in ("#", "#top"):
        return True
    path = _file(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
    if path is None or not parts.fragment or path.suffix != ".html":
        return path is not None
    # What a page keeps in its address is no place in it.
    return "=" in parts.fragment or unquote(parts.fragment) in links(path).anchors


@cache
def _file(path: str) -> Path | None:
    found = Path(path, "index.html") if os.path.isdir(path) else Path(path)
    return found if found.is_file() else None


def pages(site: Path) -> list[Path]:
    """Every page; what lies in _static are parts of the theme."""
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.relative_to(site).parts)
