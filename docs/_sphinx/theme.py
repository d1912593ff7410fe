"""What the theme and Sphinx do, and this site does not want."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx

from _sphinx.reference import MODULES

# The theme tells the console which colours it chose, how far it scrolled, and where the focus is.
SPEAKING = ("_static/scripts/pydata-sphinx-theme.js", "search.html")
MESSAGE = re.compile(r"""console\.(?:log|info|debug)\((?:`\[PST\][^`]*`|"\[PST\][^"]*")\)""")
BACK = re.compile(r'(class="viewcode-back" href="[^"#]*/)([\w.]+)\.html#([\w.]+)"')


def mend(app: Sphinx, error: Exception | None) -> None:
    folder = Path(app.outdir)
    if error is None and app.builder.format == "html":
        for name in SPEAKING:
            _rewrite(folder / name, lambda text: MESSAGE.sub("0", text))
        sources = folder / "_modules"
        for page in sources.rglob("*.html"):
            home = ".".join(page.relative_to(sources).with_suffix("").parts)
            _rewrite(page, lambda text, home=home: BACK.sub(lambda match: _back(match, home), text))


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    if changed != text:
        path.write_text(changed, encoding="utf-8")


def _back(match: re.Match[str], home: str) -> str:
    """Sources lead back to a name in the module of the page that it is on; Sphinx knows one module for each file.

    home: the module of the source, where names that are not public are documented.
    """
    before, page, anchor = match.groups()
    module = max((each for each in (*MODULES, home) if anchor.startswith(f"{each}.")), key=len)
    if page in MODULES:
        anchor = f"{page}.{anchor.removeprefix(f'{module}.')}"
    elif module != "esssim":
        anchor = f"{home}.{anchor.removeprefix(f'{module}.')}"
    return f'{before}{page}.html#{anchor}"'


def setup(app: Sphinx) -> None:
    app.connect("build-finished", mend)
