"""How every board looks: panels that say what to do, two data sources to choose, one grid.

Building needs grafana-foundation-sdk, a development dependency. What is shipped are the boards' JSON
files, which need nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from typing_extensions import override

PROMETHEUS = dashboard.DataSourceRef("prometheus", "${prometheus}")
POSTGRES = dashboard.DataSourceRef("grafana-postgresql-datasource", "${postgres}")

GREEN, YELLOW, RED = "green", "yellow", "red"
ROW_HEIGHT = 8
REDUCE_LAST = "lastNotNull"

P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel, bargauge.Panel)
Panel: TypeAlias = timeseries.Panel | stat.Panel | table.Panel | bargauge.Panel


class Text(NamedTuple):
    """What a panel says of itself: `advice` is what to do when it is red."""

    title: str
    unit: str
    shows: str
    advice: str

    @property
    def description(self) -> str:
        """The text behind the panel's information sign."""
        return f"{self.shows} When red: {self.advice}"


class Sql(Dataquery):
    """A PostgreSQL query whose rows are the panel's table; the SDK has no type for it."""

    def __init__(self, raw_sql: str) -> None:
        self.raw_sql = raw_sql
        self.ref_id = "A"

    def to_json(self) -> dict[str, object]:
        """Write what Grafana's PostgreSQL source expects."""
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": self.raw_sql,
        }


class _SqlBuilder(Builder[Dataquery]):
    def __init__(self, raw_sql: str) -> None:
        self._query = Sql(raw_sql)

    @override
    def build(self) -> Dataquery:
        return self._query


def promql(expr: str, legend: str, *, instant: bool = False) -> prometheus_builders.Dataquery:
    """Make a PromQL target: over the time shown, or (instant) at its end."""
    target = prometheus_builders.Dataquery().expr(expr).legend_format(legend).ref_id("A")
    target.format(PromQueryFormat.TIME_SERIES).datasource(PROMETHEUS)
    return target.instant() if instant else target.range()


def limits(yellow: float | None, red: float) -> builders.ThresholdsConfig:
    """Colour a value: green, from `yellow` on yellow, from `red` on red."""
    steps = [dashboard.Threshold(None, GREEN)]
    if yellow is not None:
        steps.append(dashboard.Threshold(yellow, YELLOW))
    steps.append(dashboard.Threshold(red, RED))
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def unlimited() -> builders.ThresholdsConfig:
    """Leave a value uncoloured: it is never red."""
    steps = [dashboard.Threshold(None, GREEN)]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def at_least(red_below: float) -> builders.ThresholdsConfig:
    """Colour a value: red below `red_below`, else green."""
    steps = [dashboard.Threshold(None, RED), dashboard.Threshold(red_below, GREEN)]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def lines(
    text: Text, expr: str, legend: str, thresholds: builders.ThresholdsConfig
) -> timeseries.Panel:
    """Draw a query over time; its red area begins at the threshold."""
    styled = common_builders.GraphThresholdsStyleConfig()
    panel = timeseries.Panel().with_target(promql(expr, legend)).fill_opacity(8)
    panel.thresholds_style(styled.mode(common.GraphTresholdsStyleMode.DASHED))
    legend_shown = common_builders.VizLegendOptions().show_legend(True)
    panel.legend(legend_shown.display_mode(common.LegendDisplayMode.LIST).calcs([REDUCE_LAST]))
    panel.min(0)
    return _dressed(panel, text).datasource(PROMETHEUS).thresholds(thresholds)


def figure(text: Text, expr: str, legend: str, thresholds: builders.ThresholdsConfig) -> stat.Panel:
    """Show the last value of each series as a figure."""
    reduced = common_builders.ReduceDataOptions().calcs([REDUCE_LAST]).values(False)
    panel = stat.Panel().with_target(promql(expr, legend, instant=True)).reduce_options(reduced)
    panel.color_mode(common.BigValueColorMode.BACKGROUND)
    return _dressed(panel, text).datasource(PROMETHEUS).thresholds(thresholds)


def bars(
    text: Text, expr: str, legend: str, thresholds: builders.ThresholdsConfig
) -> bargauge.Panel:
    """Show the last value of each series as a bar."""
    reduced = common_builders.ReduceDataOptions().calcs([REDUCE_LAST]).values(False)
    panel = bargauge.Panel().with_target(promql(expr, legend, instant=True))
    panel.reduce_options(reduced).orientation(common.VizOrientation.HORIZONTAL).min(0)
    return _dressed(panel, text).datasource(PROMETHEUS).thresholds(thresholds)


def rows(text: Text, raw_sql: str, colours: Sequence[tuple[str, str]] = ()) -> table.Panel:
    """Show a query's rows; `colours` maps values of any column to the colour of their cell."""
    panel = table.Panel().with_target(_SqlBuilder(raw_sql)).show_header(True)
    if colours:
        options = {v: dashboard.ValueMappingResult(color=c, text=v) for v, c in colours}
        panel.mappings([dashboard.ValueMap(options=options)])
        cell = {"type": "color-text"}
        panel.override_by_name(
            "verdict", [dashboard.DynamicConfigValue("custom.cellOptions", cell)]
        )
    return _dressed(panel, text).datasource(POSTGRES)


def _dressed(panel: P, text: Text) -> P:
    return panel.title(text.title).description(text.description).unit(text.unit)


def selection(name: str, label: str, metric: str) -> builders.QueryVariable:
    """Let people choose values of a label that a metric has; all by default."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(f"label_values({metric}, {name})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


class Row(NamedTuple):
    """A row of a board: its title, and its panels with their widths of 24."""

    title: str
    panels: Sequence[tuple[int, Panel]]


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[builders.QueryVariable],
    content: Sequence[Row],
) -> dashboard.Dashboard:
    """Put a board together: data sources to choose, rows in order, panels numbered."""
    made = builders.Dashboard(title).uid(uid).description(description).tags(["tieout"])
    made.time("now-24h", "now").refresh("1m").timezone("browser").readonly()
    made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    for name, label, plugin in (
        ("prometheus", "Metrics", PROMETHEUS.type_val),
        ("postgres", "Store", POSTGRES.type_val),
    ):
        made.with_variable(builders.DatasourceVariable(name).label(label).type(plugin or ""))
    for variable in variables:
        made.with_variable(variable)
    number = 0
    for row in content:
        number += 1
        made.with_row(builders.Row(row.title).id(number))
        for width, panel in row.panels:
            number += 1
            made.with_panel(panel.id(number).span(width).height(ROW_HEIGHT))
    return made.build()
