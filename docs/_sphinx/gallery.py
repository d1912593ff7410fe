"""One page for each figure and each example: the picture or what it prints, its numbers, and the script behind it.

sphinx-gallery 0.22.1 was tried and is not used. Three of the eight examples that run anywhere take 24 s of one core, all
eight 170 s, where the whole of `make docs` takes 39 s; none of them draws a figure that it could show. It would replace 25
lines of this file. The figures take ten minutes: their pages show the committed pictures beside their numbers.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from _sphinx.files import DOCS, ROOT, write
from _sphinx.text import inline, paragraphs

FOLDER = DOCS / "gallery"
PICTURES = ROOT / "figures" / "output"
EXAMPLES = (ROOT / "examples", DOCS / "examples")


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
    for path in sorted((path for folder in EXAMPLES for path in folder.iterdir()), key=lambda path: path.name):
        if path.suffix in (".py", ".toml"):
            page = f"example_{path.stem}"
            title, text = _example(path)
            write(FOLDER / f"{page}.md", text)
            listed.append(f"* [{title}]({page}.md)")
            names.append(page)
    toc = "\n".join(names)
    write(
        FOLDER / "index.md",
        "# Gallery\n\nFigures of esssim, each with its numbers and its script. `esssim figure NAME --width icml1 --format pdf` "
        "makes any of them for a paper; [with data of your own](../how-to/own_figure.md).\n\n"
        f"::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{''.join(cards)}::::\n\n## Examples\n\nShort programs and experiments to copy.\n\n"
        f"{chr(10).join(listed)}\n\n```{{toctree}}\n:hidden:\n:titlesonly:\n\n{toc}\n```\n",
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


def _example(path: Path) -> tuple[str, str]:
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        title = f"{path.stem.replace('_', ' ').capitalize()}, an experiment in TOML"
        return title, (
            f"# {title}\n\n`esssim run {path.name}` runs it; [every key](../experiments.md).\n\n```{{code-block}} toml\n{source}```\n"
        )
    first, _, rest = (ast.get_docstring(ast.parse(source)) or path.stem).partition("\n")
    title = f"{path.stem.replace('_', ' ').capitalize()}"
    return f"{title}: {inline(first, '../theory/')}", (
        f"# {title}\n\n{paragraphs(first + chr(10) + rest, link='../theory/')}\n\n"
        f"```{{code-block}} python\n{source}```\n"
    )
