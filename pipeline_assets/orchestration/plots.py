"""Pictures in the metadata of tables and views, drawn from the SELECTs of a pipeline's plots.

Dagster's UI shows a picture whose bytes are in a Markdown text (a data URI), so each is stored with its
materialization, and is small. The batch is published before: what prevents a picture is a warning in the run's log.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipeline_assets.errors import WarehouseError, one_line
from pipeline_assets.pipeline.resolved import PlotQuery, ResolvedPipeline
from pipeline_assets.pipeline.value import PlotKind
from pipeline_assets.warehouse import Transaction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 700, 350  # pixels; a picture with many labels one below the other is higher
_DPI = 100
_LINE = 24  # pixels for each label beside a horizontal bar
_LABEL = 36  # characters; longer labels are cut off
_LEVEL = 70  # characters of all labels below vertical bars; more are turned
_COLORS = 32  # of a picture; all of them would make it three times as large
_BAR, _ENDED = "#4f43dd", "#a9a5e8"
# Else a title such as "$5 to $9" would be read as a formula.
_STYLE: Any = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}

Rows = Sequence[Sequence[Any]]


def plot_rows(transaction: Transaction, pipeline: ResolvedPipeline, changed: Collection[str]) -> dict[PlotQuery, Rows]:
    """The rows of the plots of changed tables and views, given as qualified names."""
    rows: dict[PlotQuery, Rows] = {}
    for plot in pipeline.plots:
        if plot.of in changed:
            try:
                rows[plot] = transaction.rows(plot.select.text)
            except WarehouseError as error:
                _warn(plot, error)
    return rows


def plot_metadata(rows: Mapping[PlotQuery, Rows], now: datetime) -> dict[str, dict[str, dg.MarkdownMetadataValue]]:
    """`plot_<name>` with its picture, by the name of the table or view; a plot without values has none."""
    metadata: dict[str, dict[str, dg.MarkdownMetadataValue]] = {}
    for plot, found in rows.items():
        title = in_words(plot.declared.name)
        try:
            picture = draw(plot.declared.kind, title, plot.select.columns, found, now)
        except Exception as error:  # noqa: BLE001 - the batch is published, whatever a picture fails for
            _warn(plot, error)
            continue
        if picture:
            text = f"![{title}](data:image/png;base64,{base64.b64encode(picture).decode('ascii')})"
            metadata.setdefault(plot.declared.of, {})[f"plot_{plot.declared.name}"] = dg.MetadataValue.md(text)
    return metadata


def _warn(plot: PlotQuery, error: Exception) -> None:
    logger = dg.get_dagster_logger()
    logger.warning(f"The plot {plot.declared.name} was not drawn: {one_line(error)}")


def draw(kind: PlotKind, title: str, columns: Sequence[str], rows: Rows, now: datetime) -> bytes | None:
    """A PNG of rows, 700 pixels wide; None if no row has a value. See `pipeline.value.Plot` for the columns.

    `now`, UTC without time zone like the warehouse's times, is the end of intervals that have not ended.
    """
    rows = [row for row in rows if row[1] is not None and (kind != "line" or row[0] is not None)]
    if not rows:
        return None
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    height = max(HEIGHT, _LINE * len(rows) + 80) if kind in ("barh", "intervals") else HEIGHT
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as a box
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # labels of wide boxes leave no room
        canvas = FigureCanvasAgg(Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, layout="constrained"))
        axes = canvas.figure.subplots()
        axes.set_title(title)
        if kind == "intervals":
            _draw_intervals(axes, rows, now)
        else:
            _DRAW[kind](axes, [in_words(column) for column in columns], rows)
        canvas.draw()
    picture = io.BytesIO()
    colors = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    colors.quantize(_COLORS).save(picture, format="png")
    return picture.getvalue()


def _draw_bars(axes: Axes, titles: Sequence[str], rows: Rows) -> None:
    labels = [_label(row[0]) for row in rows]
    bars = axes.bar(range(len(rows)), [float(row[1]) for row in rows], color=_BAR)
    rotation, alignment = (45, "right") if sum(map(len, labels)) > _LEVEL else (0, "center")
    axes.set_xticks(range(len(rows)), labels, rotation=rotation, ha=alignment, rotation_mode="anchor")
    _write_values(axes, bars, axes.yaxis)
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])


def _draw_horizontal_bars(axes: Axes, titles: Sequence[str], rows: Rows) -> None:
    bars = axes.barh(range(len(rows)), [float(row[1]) for row in rows], color=_BAR)
    _write_labels(axes, rows)
    _write_values(axes, bars, axes.xaxis)
    axes.set_xlabel(titles[1])


def _draw_line(axes: Axes, titles: Sequence[str], rows: Rows) -> None:
    lines: dict[str, list[tuple[Any, float]]] = {}
    for x, y, *names in rows:
        lines.setdefault(_label(*names) if names else "", []).append((x, float(y)))
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*sorted(points), strict=True), marker=".", label=name)
    xs = {x for points in lines.values() for x, _ in points}
    if any(isinstance(x, date) for x in xs):
        if len(xs) == 1:  # else the axis would show four years around it
            axes.set_xlim(min(xs) - timedelta(days=1), max(xs) + timedelta(days=1))
        _write_dates(axes)
    axes.set_ylim(bottom=min(0.0, *(y for points in lines.values() for _, y in points)))
    if len(titles) > 2:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.yaxis.set_major_formatter(_number_text)
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])


def _draw_intervals(axes: Axes, rows: Rows, now: datetime) -> None:
    from matplotlib.dates import date2num

    beginnings = [float(date2num(row[1])) for row in rows]
    ends = [float(date2num(row[2] or now)) for row in rows]
    # A time of the source may be ahead of this machine's.
    lengths = [max(end - beginning, 0) for beginning, end in zip(beginnings, ends, strict=True)]
    colors = [_ENDED if row[2] else _BAR for row in rows]
    axes.barh(range(len(rows)), lengths, left=beginnings, color=colors, edgecolor=_BAR)
    _write_labels(axes, rows)
    _write_dates(axes)


_DRAW: dict[str, Callable[[Axes, Sequence[str], Rows], None]] = {
    "bar": _draw_bars,
    "barh": _draw_horizontal_bars,
    "line": _draw_line,
}


def _write_labels(axes: Axes, rows: Rows) -> None:
    """The labels of rows, from top to bottom."""
    axes.set_yticks(range(len(rows)), [_label(row[0]) for row in rows])
    axes.invert_yaxis()


def _write_dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _write_values(axes: Axes, bars: Any, axis: Any) -> None:
    axes.bar_label(bars, fmt=_number_text, padding=2, fontsize="small")
    axes.margins(0.08)
    axis.set_major_formatter(_number_text)


def _number_text(value: float, position: float = 0) -> str:
    return f"{value:,.10g}"


def _label(value: object) -> str:
    text = "none" if value is None else one_line(value)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"


def in_words(name: str) -> str:
    """The name of a plot or a column as people write it: `AVERAGE_RATING` is Average rating."""
    return name.replace("_", " ").capitalize()
