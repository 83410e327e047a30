"""The page's last tab: reports written by `training/compare.py`."""

import base64
import html
import re
from pathlib import Path

import gradio as gr

from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.web.markup import no_reports, note
from waveletgpt.common.errors import InputError

SHIPPED_REPORTS = SHIPPED.parent / "results"
"""The folder beside app/, in the source tree as in the installed package."""
REPORT = "report.md"
FIGURE = re.compile(r"^!\[([^\]]*)\]\(([^)/\\]+\.svg)\)\n*", re.MULTILINE)
"""A figure in a report."""
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]*\)")
"""A link to a file, which the page does not serve."""


def find_reports(directory: Path) -> dict[str, Path]:
    """Find the reports in `directory` and below it.

    Returns:
        Paths of the reports by name, which is the path of their folder. If there are reports, the directory's own
        README.md comes first, as "overview".

    Raises:
        InputError: there is no such directory.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory; --results must be one that holds reports of compare.py")
    reports = {str(path.parent.relative_to(directory)): path for path in sorted(directory.rglob(REPORT))}
    overview = directory / "README.md"
    return {"overview": overview} | reports if reports and overview.is_file() else reports


def build_comparisons(directory: Path) -> None:
    """Add the contents of the tab to the page that is being built."""
    reports = find_reports(directory)
    if not reports:
        gr.HTML(no_reports(str(directory)))
        return
    first = next(iter(reports))
    names = list(reports)
    chosen = gr.Dropdown(names, value=first, label="Comparison", elem_id="comparison", visible=len(names) > 1)
    text, figures = shown(reports[first])
    outputs = [gr.Markdown(text, elem_classes="report"), gr.HTML(figures)]

    def show(name: str) -> tuple[str, str]:
        """The text and the figures of a report."""
        return shown(reports[name]) if name in reports else ("", note("There is no such report.", wrong=True))

    chosen.change(show, chosen, outputs, show_progress="hidden", api_visibility="private")


def shown(report: Path) -> tuple[str, str]:
    """A report's Markdown without figures and links to files, and its figures as HTML."""
    try:
        text = report.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return "", note(f"{report} cannot be read: {error}", wrong=True)
    figures = [figure(report.with_name(name), about) for about, name in FIGURE.findall(text)]
    return LINK.sub(r"\1", FIGURE.sub("", text)), "".join(figures)


def figure(path: Path, about: str) -> str:
    """An SVG file as an embedded image; empty if there is no such file."""
    try:
        image = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
    return f'<img class="plot" alt="{html.escape(about)}" src="data:image/svg+xml;base64,{image}">'
