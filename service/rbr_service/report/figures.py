"""What every plot of a report shares: size, style, colours, and becoming inline SVG.

    canvas(width, height) -> (figure, axes) -> drawing -> panel(figure, ...) -> <svg> in the page

A canvas is as wide as a phone's column, so that its text keeps its size there; wider screens set more
panels side by side. Text stays text, set by the page's font. Colours are those of Okabe and Ito (2008),
told apart with any colour vision. Equal data make equal bytes: ids come from what is drawn.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rbr_service.report.evidence import Interval, number
from rbr_service.report.parts import Panel

BLUE, GREEN, SKY, ORANGE, VERMILION, PURPLE = "#0072b2", "#009e73", "#56b4e9", "#e69f00", "#d55e00", "#cc79a7"
GREY, INK = "#767676", "#222222"
CLASS_COLOURS = (BLUE, GREEN, SKY, ORANGE, VERMILION, PURPLE, GREY)  # best first

WIDTH = 340  # CSS pixels: a phone's column
SMALL = 165  # half of it
LABEL = 30  # characters of a name that fit beside bars

_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rule-based-rewards",
    "text.parse_math": False,  # a name may hold dollar signs
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: text is measured alike everywhere
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "figure.dpi": 72,
}


@contextmanager
def style() -> Iterator[None]:
    """The settings that all drawing has to happen under."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever the user's own settings are
        mpl.rcParams.update(_STYLE)
        # Text is drawn by the browser, which has more letters than the font it is measured with.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def canvas(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty drawing of so many CSS pixels."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def panel(figure: Figure, name: str, alternative: str, caption: str, note: str = "") -> Panel:
    """The drawing as inline SVG. `name` is unique in the page; `alternative` is for who cannot see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<text style="[^"]*?)font-family: [^;"]*;? ?', r"\1", body)
    width, height = (size * 72 for size in figure.get_size_inches())
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alternative)}">'
    return Panel(Markup(head + _own_ids(body, name)), caption, note)


def _own_ids(body: str, name: str) -> str:
    """Only ids that are referred to stay, and they become the page's alone."""
    used = set(re.findall(r'(?:url\(|href=")#([\w.]+)', body))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([\w.]+)"', renamed, body)
    return re.sub(r'(url\(|xlink:href=")#', lambda match: f"{match[1].replace('xlink:', '')}#{name}-", body)


def short(name: str, size: int = LABEL) -> str:
    """A name that fits; the middle of a longer one is left out."""
    half = (size - 1) // 2
    return name if len(name) <= size else f"{name[:half]}…{name[-half:]}"


def bars(
    axes: Axes,
    figures: Mapping[str, Interval],
    colours: Sequence[str],
    values: bool = True,
    size: int = LABEL,
) -> None:
    """Horizontal bars from zero with their intervals, first on top, and each value at the right edge."""
    places = range(len(figures))
    axes.barh(places, [f.value for f in figures.values()], height=0.62, color=colours)
    for place, found in zip(places, figures.values(), strict=True):
        axes.plot([found.low, found.high], [place, place], color=INK, linewidth=1.4, marker="|", markersize=5)
    axes.set_yticks(places, [short(name, size) for name in figures])
    axes.set_ylim(len(figures) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    if values:
        for place, found in zip(places, figures.values(), strict=True):
            place_of = axes.get_yaxis_transform()
            axes.text(1.02, place, number(found.value), transform=place_of, va="center")


def error_axis(axes: Axes, axis: Literal["x", "y"], errors: Sequence[float]) -> None:
    """Scales an axis of errors: linear, or, over a wide range, logarithmic above .01 with zero in sight."""
    rescale, ticks, limit = (
        (axes.set_xscale, axes.set_xticks, axes.set_xlim)
        if axis == "x"
        else (axes.set_yscale, axes.set_yticks, axes.set_ylim)
    )
    top = max(errors, default=0) or 1.0
    least = min((error for error in errors if error > 0), default=top)
    if top > max(20 * least, 0.05):
        rescale("symlog", linthresh=0.01, linscale=0.6)
        steps = [step for step in (0, 0.01, 0.03, 0.1, 0.3, 1) if step <= top]
        ticks(steps, [f"{step:g}" for step in steps])
        axes.minorticks_off()
        limit(0, top * 1.15)
    else:
        limit(0, top * 1.05)
        axes.locator_params(axis=axis, nbins=5)
