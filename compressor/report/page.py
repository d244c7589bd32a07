"""A report as one HTML page that needs nothing else: report.html.

Pictures and style sheet are in the page; there is no script and no address of anything outside.
What comes from a document is escaped, in texts by Jinja2 and in drawings by matplotlib.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from importlib import resources
from typing import Any

from compressor.report import plotting as plot
from compressor.report.content import Figure, Picture, Report
from compressor.report.markdown import LONGEST_PARAGRAPH, MOST_ROWS, cut
from deploy.text import clean

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|×|[kM]?B|MiB|ms|s|points)(?:\W|$))")


def report_page(report: Report, drawings: Mapping[str, plot.Drawn]) -> str:
    """The page as text, with the drawings of the report's figures in it."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters |= {"words": _words, "cut": cut, "tied": _tied}
    environment.filters["kind"] = lambda block: type(block).__name__

    def data_uri(picture: Picture) -> Any:
        return Markup(f"data:image/png;base64,{b64encode(picture.png).decode()}")

    def svg(figure: Figure) -> Any:
        return Markup(plot.inline_svg(drawings[figure.name], figure.name, figure.title))

    return environment.get_template("report.html.j2").render(
        report=report,
        css=_template("report.css"),
        most_rows=MOST_ROWS,
        svg=svg,
        data_uri=data_uri,
    )


def _template(name: str) -> str:
    return resources.files("compressor.report").joinpath("templates", name).read_text("utf-8")


def _clean(value: Any) -> Any:
    """What the template shows of a value that it has not made itself."""
    return clean(value, LONGEST_PARAGRAPH) if type(value) is str else value


def _tied(text: str) -> Any:
    """One line in which no line ends between a number and its unit."""
    from markupsafe import Markup, escape

    line = str(escape(_clean(" ".join(text.split()))))
    return Markup(_BEFORE_UNIT.sub("\u00a0", line))


def _words(text: str) -> Any:
    """Paragraphs of HTML; **this** is strong, and everything else is escaped."""
    from markupsafe import Markup

    parts = [str(_tied(part)) for part in text.strip().split("\n\n")]
    strong = [re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", part) for part in parts]
    return Markup("".join(f"<p>{part}</p>\n" for part in strong))
