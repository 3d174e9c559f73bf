"""A report as one HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence

from torch import nn

from stockformer import __version__
from stockformer.explainability.sentences.summary import Summary
from stockformer.reports.sections import Picture, Section


def page(model: nn.Module, title: str, sections: Sequence[Section], drawn: Mapping[str, bytes]) -> str:
    """HTML that needs no other file and no network.

    Args:
        model: named below the title.
        title: of the page.
        sections: what is on it, in this order.
        drawn: name of every picture -> PNG.
    """
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(type(model).__name__)}, stockformer {__version__}</p>",
    ]
    body += [_contents(sections)]
    for number, section in enumerate(sections):
        body.append(f'<section>\n<h2 id="{_anchor(number)}">{html.escape(section.title)}</h2>')
        body.append(f"<p>{_prose(section.verdict)}</p>")
        body += [_figure(picture, drawn[picture.name]) for picture in section.pictures]
        body += [_table(caption, columns) for caption, columns in section.numbers.items()]
        body.append("</section>")
    return _PAGE.format(title=html.escape(title), body="\n".join(body))


#: Dates, and numbers in percent: a line that ends within one is misread.
_WHOLE = re.compile(r"\d{4}-\d\d(?:-\d\d)?|[\d.,]+ %")


def _prose(words: str) -> str:
    return _WHOLE.sub(r'<span class="whole">\g<0></span>', html.escape(words))


def _contents(sections: Sequence[Section]) -> str:
    """Links to the sections, each with what it says."""
    lines = [
        f'<li><a href="#{_anchor(number)}">{html.escape(section.title)}</a> {_prose(section.summary)}</li>'
        for number, section in enumerate(sections)
    ]
    return f'<nav aria-label="Contents"><ul>{"".join(lines)}</ul></nav>'


def _anchor(number: int) -> str:
    return f"section-{number}"


def _figure(picture: Picture, drawn: bytes) -> str:
    data = base64.b64encode(drawn).decode("ascii")
    label = html.escape(picture.name.replace("_", " "))
    return (
        f'<figure><img alt="{label}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_prose(picture.verdict)}</figcaption></figure>"
    )


def _table(caption: str, columns: Mapping[str, Summary]) -> str:
    """Findings as rows: a value for each column, the formula and how to read it."""
    values = zip(*([_number(each.value) for each in summary.findings] for summary in columns.values()), strict=True)
    findings = next(iter(columns.values())).findings
    cells = [
        (finding.name.replace("_", " "), *row, finding.formula, finding.reading)
        for finding, row in zip(findings, values, strict=True)
    ]
    rows = [
        f'<th scope="row">{html.escape(name)}</th>' + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        for name, *row in cells
    ]
    names = "measure", *columns, "formula", "how to read it"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="numbers"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: float) -> str:
    """Three decimals, without zeros at the end."""
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; }}
h2 {{ margin-top: 2.5em; border-bottom: 1px solid; }}
a {{ color: inherit; }}
.whole {{ white-space: nowrap; }}
figure {{ margin: 1.5em 0; }}
img {{ max-width: 100%; background: white; }}
.numbers {{ overflow-x: auto; margin: 1.5em 0; }}
table {{ border-collapse: collapse; font-size: 13px; }}
caption {{ text-align: left; font-weight: 600; }}
th, td {{ padding: 2px 10px; text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
th {{ white-space: nowrap; }}
tbody th {{ font-weight: 400; }}
th:nth-last-child(-n+2), td:nth-last-child(-n+2) {{ text-align: left; min-width: 8em; }}
tbody tr {{ border-top: 1px solid color-mix(in srgb, currentcolor 20%, transparent); }}
</style>
<main>
{body}
</main>
</html>
"""
