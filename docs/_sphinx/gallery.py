"""One page for each figure and each experiment in TOML: the picture, its numbers, and the script behind it.

The figures take ten minutes: their pages show the committed pictures. sphinx-gallery makes the pages of the examples in
Python (conf.py), and runs those that draw something.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from _sphinx.files import DOCS, ROOT, write
from _sphinx.text import inline

FOLDER = DOCS / "gallery"
PICTURES = ROOT / "figures" / "output"


def write_gallery(app: Sphinx) -> None:
    from figures import FIGURES

    cards, names = [], []
    for name, sentence in FIGURES.items():
        described = PICTURES / f"{name}.md"
        if described.is_file():
            FOLDER.mkdir(exist_ok=True)
            for picture in PICTURES.glob(f"{name}.*"):
                if picture.suffix in (".png", ".gif", ".csv"):
                    _copy(picture, FOLDER / picture.name)
            write(FOLDER / f"{name}.md", _figure(name, sentence, described.read_text(encoding="utf-8")))
            cards.append(_card(name, sentence))
            names.append(name)
    listed = []
    for path in sorted((ROOT / "examples").glob("*.toml")):
        page = f"example_{path.stem}"
        title, text = _experiment(path)
        write(FOLDER / f"{page}.md", text)
        listed.append(f"* [{title}]({page}.md)")
        names.append(page)
    # Pages of an older checkout are in no table of contents.
    for path in FOLDER.glob("*.md"):
        if path.stem not in ("index", *names):
            path.unlink()
    toc = "\n".join(names)
    write(
        FOLDER / "index.md",
        "# Gallery\n\nFigures of esssim, each with its numbers and its script. `esssim figure NAME --width icml1 --format pdf` "
        "makes any of them for a paper; [with data of your own](../how-to/own_figure.md).\n\n"
        f"::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{''.join(cards)}::::\n\n## Examples\n\n"
        "* [Short programs](examples/index.rst), and pictures in a few lines\n* [Problems of your own](problems/index.rst)\n"
        f"{chr(10).join(listed)}\n\n```{{toctree}}\n:hidden:\n:titlesonly:\n\nexamples/index\nproblems/index\n{toc}\n```\n",
    )


def _copy(source: Path, target: Path) -> None:
    """A copy, renewed only where it differs: pages are built again where a picture is newer than they are."""
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def _card(name: str, sentence: str) -> str:
    return f":::{{grid-item-card}} {name.replace('_', ' ')}\n:link: {name}\n:link-type: doc\n:img-top: {name}.png\n:img-alt: {sentence}\n\n{inline(sentence[0].upper() + sentence[1:], '../theory/')}.\n:::\n\n"


def _figure(name: str, sentence: str, described: str) -> str:
    alt, caption = re.fullmatch(r"!\[(.*?)\]\([^)]*\)\n+(.*)", described.strip(), re.S).groups()  # type: ignore[union-attr]
    script = (ROOT / "figures" / f"{name}.py").read_text(encoding="utf-8")
    moving = (
        f"\n```{{image}} {name}.gif\n:alt: the same as an animation\n```\n"
        if (PICTURES / f"{name}.gif").is_file()
        else ""
    )
    title = inline(sentence[0].upper() + sentence[1:], "../theory/")
    return (
        f"# {title}\n\n```{{figure}} {name}.png\n:alt: {' '.join(alt.split())}\n\n{inline(caption, '../theory/')}\n```\n"
        f"{moving}\n{{download}}`Its numbers as CSV <{name}.csv>`. For a paper:\n\n"
        f"```sh\nesssim figure {name} --width icml2 --format pdf --out paper/figures\n```\n\n## Script\n\n"
        f"```{{code-block}} python\n{script}```\n"
    )


def _experiment(path: Path) -> tuple[str, str]:
    source = path.read_text(encoding="utf-8")
    command, kind, keys = (
        ("sweep", "a sweep", "the keys of a grid](../how-to/sweep.md")
        if "[grid" in source
        else ("run", "an experiment", "every key](../experiments.md")
    )
    title = f"{path.stem.replace('_', ' ').capitalize()}, {kind} in TOML"
    return title, (
        f"# {title}\n\n`esssim {command} {path.name}` runs it; [{keys}).\n\n```{{code-block}} toml\n{source}```\n"
    )


def in_our_style(conf: dict[str, Any], script: str) -> None:
    """The style of `es.plots` for what sphinx-gallery saves: the fonts of a picture are chosen when it is saved."""
    from matplotlib import rcParams

    import esssim as es

    with es.plots.style(width="icml1"):
        settings = dict(rcParams)
    rcParams.update(settings)
