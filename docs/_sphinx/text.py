"""The plain text of this house as Markdown: paragraphs, indented formulas, `code`, and names of derivations."""

from __future__ import annotations

import re
import textwrap
from html import escape

from esssim.report.indices import subscripts

SPECIAL = re.compile(r"([\\*_{}\[\]<>#|~$])")


def paragraphs(text: str, link: str = "") -> str:
    """Blocks between blank lines. Indented ones are formulas: their lines stay. `theory.NAME` leads to `link`NAME.md."""
    return "\n\n".join(_block(block, link) for block in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")))


def _block(block: str, link: str) -> str:
    lines = block.splitlines()
    if all(line.startswith("    ") for line in lines):
        return formula(textwrap.dedent(block))
    # Formulas that stand on lines of their own within a paragraph, and numbered statements.
    parts: list[str] = []
    for line in lines:
        item = re.match(r"\s*(\d\.|\*)\s+|\s+(\([A-Z]\d\))\s+", line)
        if re.match(r" {5,}\S", line) and not (parts and parts[-1].startswith("- ")):
            parts.append(formula(line.strip()))
        elif item:
            mark = (item[1] or item[2]).replace(".", "\\.").removeprefix("*")
            parts.append(f"- {mark} {inline(line[item.end() :], link)}")
        elif parts and parts[-1].startswith("- ") and line.startswith(" "):
            parts[-1] += "\n  " + inline(line.strip(), link)
        elif parts and not parts[-1].startswith(("<div", "- ")):
            parts[-1] += "\n" + inline(line.strip(), link)
        else:
            parts.append(inline(line.strip(), link))
    text = "\n\n".join(parts)
    return re.sub(r"^(Setting|Results?|Theorem[^.]*|Assumptions?|Proof)\.(?= )", r"**\1.**", text)


def formula(text: str) -> str:
    """A formula in the letters of Unicode, as it stands."""
    return f'<div class="formula">{subscripts(escape(text, quote=False))}</div>'


def inline(text: str, link: str) -> str:
    parts = re.split(r"(`[^`]+`)", text.replace("``", "`"))
    return "".join(_code(part[1:-1], link) if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    """Escaped for Markdown, but for the subscripts, which are HTML."""
    return re.sub(r"(<su[bp]>)|(</su[bp]>)|" + SPECIAL.pattern, lambda m: m[1] or m[2] or "\\" + m[3], subscripts(text))


def _code(name: str, link: str) -> str:
    found = re.fullmatch(r"theory[./](\w+?)(?:\.py)?", name)
    return f"[{found[1].replace('_', ' ')}]({link}{found[1]}.md)" if found and link else f"`{name}`"
