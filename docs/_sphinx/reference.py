"""The API reference: every public name, from its docstring and its annotations."""

from __future__ import annotations

import importlib
import re
import textwrap
from functools import cache
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

from _sphinx.files import DOCS, write
from _sphinx.text import formula, inline, subscripts

FOLDER = DOCS / "reference"
# Where the public names are documented, in the order of the reference; a name stands where it comes first.
MODULES = {
    "esssim": "What `import esssim as es` gives",
    "esssim.problems": "Problems, and what one of your own derives from",
    "esssim.curvature": "Structures of Hessians",
    "esssim.data": "Data: seeded ensembles, bundled tables, files",
    "esssim.statistics": "The table of statistics",
    "esssim.stability": "Edges and critical step sizes",
    "esssim.gap": "The gap: bounds and predictions",
    "esssim.moments": "Exact mean and covariance of SGD",
    "esssim.flow": "The stochastic central flow",
    "esssim.settling": "Levels and verdicts",
    "esssim.experiments": "Experiments",
    "esssim.claims": "Claims",
    "esssim.bridge": "Torch networks",
    "esssim.plots": "Pictures",
    "esssim.testing": "Checks for problems and bounds of your own",
    "esssim.papers": "The papers behind the claims",
}
# What of a module without __all__ is public.
NAMES = {
    "esssim.settling": ("Level", "level", "summarise", "effective_sample_size"),
    "esssim.papers": ("Paper", "Source", "ours", "bibtex"),
}
INNER = "theory"


def public(module: str) -> tuple[str, ...]:
    found = importlib.import_module(module)
    return tuple(getattr(found, "__all__", NAMES.get(module, ())))


@cache
def homes() -> dict[str, str]:
    """Every documented name, "esssim.gap.predict", and the page that it is on."""
    pages: dict[str, str] = {}
    seen: set[int] = set()
    for module in MODULES:
        for name in public(module):
            value = getattr(importlib.import_module(module), name)
            if not isinstance(value, ModuleType) and (not callable(value) or id(value) not in seen):
                pages[f"{module}.{name}"] = module
                seen.add(id(value))
    return pages


def resolve(name: str) -> Any:
    """What a name stands for; a public one is the attribute of its module, also where a file has the same name."""
    module = homes().get(name)
    return getattr(importlib.import_module(module), name.removeprefix(f"{module}.")) if module else resolve_name(name)


@cache
def _documented() -> dict[int, str]:
    """Every documented object by identity, under the name by which it is public."""
    return {id(resolve(name)): name for name in homes()}


def public_name(name: str) -> str:
    """The name under which an object is documented: its public one where it has one."""
    return _documented().get(id(resolve(name)), name)


def reference_to(name: str) -> str:
    """Markdown that leads to the documentation of an object."""
    shown = public_name(name)
    return f"{{py:obj}}`{shown}`"


def inner() -> list[str]:
    """What derivations name and no page of a public module shows."""
    import theory

    named = dict.fromkeys(each for name in theory.names() for each in theory.computed_by(name))
    public_ones = tuple(f"{each}." for each in homes())
    return sorted(each for each in named if public_name(each) == each and not f"{each}.".startswith(public_ones))


def write_reference(app: Sphinx) -> None:
    pages = dict.fromkeys(MODULES, "")
    for name, module in homes().items():
        pages[module] += _entry(name)
    for module, title in MODULES.items():
        found = {name: getattr(importlib.import_module(module), name) for name in public(module)}
        elsewhere = [
            f"{{py:obj}}`{_documented()[id(value)]}`"
            for name, value in found.items()
            if f"{module}.{name}" not in homes() and not isinstance(value, ModuleType)
        ]
        also = f"\nAlso here: {', '.join(elsewhere)}.\n" if elsewhere else ""
        write(FOLDER / f"{module}.md", f"# {module}\n\n{title}.\n{also}\n{_index(module)}\n{pages[module]}")
    write(FOLDER / f"{INNER}.md", _inner_page())


def _index(module: str) -> str:
    rows = [
        f"| {{py:obj}}`{name.rpartition('.')[2]} <{name}>` | {_summary(name)} |"
        for name, home in homes().items()
        if home == module
    ]
    return "\n".join(["| name | what it is |", "|---|---|", *rows, ""])


def _summary(name: str) -> str:
    value = resolve(name)
    text = (getattr(value, "__doc__", "") or "") if callable(value) else ""
    return (
        inline(re.split(r"\n\s*\n", text.strip())[0].replace("\n", " "), "../theory/").replace("|", r"\|")
        if text
        else _kind(value)
    )


def _kind(value: Any) -> str:
    return (
        f"a constant, {type(value).__name__}"
        if not hasattr(value, "__module__") or isinstance(value, int | float | str | tuple | dict)
        else f"an instance of {type(value).__name__}"
    )


def _entry(name: str) -> str:
    value = resolve(name)
    if isinstance(value, type):
        directive = "autoexception" if issubclass(value, BaseException) else "autoclass"
        return _directive(directive, name, "members") + _examples(name)
    return _directive(
        "autofunction" if callable(value) and hasattr(value, "__name__") else "autodata", name
    ) + _examples(name)


def _examples(name: str) -> str:
    """The examples of the gallery that use it; nothing where there is none."""
    return f"\n```{{eval-rst}}\n.. minigallery:: {name}\n```\n"


def _directive(directive: str, name: str, *options: str) -> str:
    lines = "".join(f"   :{option}:\n" for option in options)
    if directive == "autodata":
        lines += "   :no-value:\n"
    return f"\n```{{eval-rst}}\n.. {directive}:: {name}\n{lines}```\n"


def _inner_page() -> str:
    text = (
        "# Named by the theory\n\nFunctions inside the package that compute what a [derivation](../theory/index.md) derives. "
        "They are no part of the public interface and may move.\n"
    )
    for name in inner():
        value = resolve(name)
        kind = (
            "autoclass"
            if isinstance(value, type)
            else ("automethod" if isinstance(resolve(name.rpartition(".")[0]), type) else "autofunction")
        )
        text += _directive(kind, name)
    return text


# Docstrings: plain text with formulas, as everywhere in this house.


def _rst(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A docstring as reStructuredText: formulas as they stand, sources that lead to the bibliography."""
    text = textwrap.dedent("\n".join(lines)).strip("\n")
    if text.startswith("Alias for field number"):  # what Python says of every field of a named tuple
        lines.clear()
        return
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        rows = block.splitlines()
        if rows and all(row.startswith("    ") for row in rows):
            blocks.append(_formula(textwrap.dedent(block)))
            continue
        plain: list[str] = []
        for row in rows:
            if row.startswith("    "):
                blocks += [_prose(plain)] if plain else []
                plain = []
                blocks.append(_formula(row.strip()))
            else:
                plain.append(row)
        blocks += [_prose(plain)] if plain else []
    lines[:] = [*"\n\n".join(blocks).split("\n"), ""]


def _formula(text: str) -> str:
    body = "\n".join(f"   {line}" for line in formula(text).split("\n"))
    return f".. raw:: html\n\n{body}"


def _prose(rows: list[str]) -> str:
    items = [row for row in rows if row.startswith("* ")]
    text = "\n".join(_inline(row) for row in rows)
    if items:
        return "\n\n".join(f"* {_inline(row[2:])}" if row.startswith("* ") else _inline(row) for row in rows)
    return _cited(text)


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`]+`)", text.replace("``", "`"))
    return "".join(_code(part[1:-1]) if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    """Escaped for reStructuredText, with subscripts as its roles."""
    parts = re.split(r"<(sub|sup)>([^<]*)</su[bp]>", subscripts(text))
    plain, roles, inside = parts[::3], parts[1::3], parts[2::3]
    escaped = [re.sub(r"([\\*_|`])", r"\\\1", part) for part in plain]
    lowered = [f"\\ :{role}:`{content}`\\ " for role, content in zip(roles, inside, strict=True)]
    return "".join(part for pair in zip(escaped, [*lowered, ""], strict=True) for part in pair)


@cache
def _short_names() -> dict[str, str]:
    """Public names without their module, those that mean one thing only."""
    found: dict[str, list[str]] = {}
    for name in homes():
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return {short: names[0] for short, names in found.items() if len(names) == 1}


def _code(name: str) -> str:
    full = name.replace("es.", "esssim.", 1) if name.startswith("es.") else name
    target = full if full in homes() else _short_names().get(name, "")
    if target and callable(resolve(target)):
        return f":py:obj:`{name} <{target}>`"
    return f"``{name}``"


def _cited(text: str) -> str:
    """Papers lead to the bibliography, files of docs/ and theory/ to their pages. `text` is escaped already."""
    from _sphinx.bibliography import preprints

    text = re.sub(
        r"arXiv (\d{4}\.\d{5})",
        lambda match: (
            f"`{match[0]} <bibliography.html#{preprints()[match[1]]}>`__" if match[1] in preprints() else match[0]
        ),
        text,
    )
    text = re.sub(r"(?<![\w/])docs/(\w+)\.md", lambda m: f"`docs/{m[1]}.md <../{m[1]}.html>`__", text)
    return re.sub(
        r"(?<![\w/`])theory/(\w+(?:\\_\w+)*)\.py",
        lambda m: f"`theory/{m[1]}.py <../theory/{m[1].replace(chr(92), '')}.html>`__",
        text,
    )


def _aliases(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature with the plain names of type aliases, which Sphinx wraps where they are part of a union."""

    def plain(text: str | None) -> str | None:
        return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) if text else text

    return plain(signature), plain(returns)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _rst)
    app.connect("autodoc-process-signature", _aliases)
