"""One HTML file that asks nobody for anything: style, script and pictures are inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from esssim.papers import Paper, Source
from esssim.report.words import TONES

ASSETS = Path(__file__).with_name("assets")


def document(title: str, body: str, *, script: str = "") -> str:
    """A page. Its policy lets nothing be loaded, and no other script run than this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"; script-src 'sha256-{digest}'" if script else ""
    policy = f"default-src 'none'; style-src 'unsafe-inline'{scripts}"
    last = f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{asset('report.css')}{_tone_style()}</style></head>\n<body>{body}{last}</body></html>\n"
    )


def asset(name: str) -> str:
    """A file that lies beside the code."""
    return (ASSETS / name).read_text(encoding="utf-8")


def address(identifier: str) -> str:
    """The link to the element with this id."""
    return "#" + quote(identifier, safe="/=,+-._~")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of what is what; the second of each is HTML."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{html}</dd>' for name, html in pairs)}</dl>"


def figure(svg: str, caption: str, *, paper: bool = False) -> str:
    """An inline picture; those of matplotlib stand on white paper."""
    drawing = f'<div class="paper wide">{svg}</div>' if paper else svg
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def reproduce(command: str, texts: Iterable[str], note: str = "") -> str:
    """The command that gives these numbers again, and behind a click the TOML files that it runs."""
    files = "".join(f"<pre>{escape(text)}</pre>" for text in texts)
    words = f"<p>{note}</p>" if note else ""
    shown = f"<details><summary>its configuration</summary>{words}{files}</details>" if files or words else ""
    return f'<p class="soft">reproduce</p><pre class="command">{escape(command)}</pre>{shown}'


def source_links(source: Source | Paper) -> str:
    """The source in words, with a link to each paper that it names."""
    if isinstance(source, Paper):
        return _link(source, str(source))
    links = ", ".join(_link(paper, paper.where) for paper in source.papers)
    return escape(str(source)) + (f" ({links})" if links else "")


def _link(paper: Paper, words: str) -> str:
    if not paper.url.startswith("https://"):
        return escape(words)
    return f'<a href="{escape(paper.url, quote=True)}" rel="noreferrer">{escape(words)}</a>'


def made_with(environment: Mapping[str, object]) -> str:
    """Versions, platform, date."""
    pairs = []
    for name, value in environment.items():
        words = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
        pairs.append((name, escape(words)))
    return f"<section><h2>Made with</h2>{facts(pairs)}</section>"


def _tone_style() -> str:
    """A colour for each tone: on the border of a claim and on its badge."""
    rules = ("article.%s{border-left-color:var(--%s)}", ".%s .badge, .badge.%s{color:var(--%s)}")
    return "\n".join(rule % ((name,) * rule.count("%s")) for name in TONES for rule in rules)
