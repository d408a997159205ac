"""Grafana's files without Grafana: the dashboard against its published schema, provisioning against ours.

What the schema does not know is lost when the dashboard is read into it and written out again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import BaseModel, ConfigDict, Field

from .dashboard import load

# Of Prometheus's annotations; the schema leaves open what a data source adds.
OPEN = {".annotations.list.titleFormat", ".annotations.list.textFormat"}


class Part(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PrometheusOptions(Part):
    timeInterval: str = Field(pattern=r"^\d+s$")  # noqa: N815 - Grafana's names
    httpMethod: Literal["GET", "POST"]  # noqa: N815


class DataSource(Part):
    name: str
    uid: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    type: Literal["prometheus"]
    access: Literal["proxy"]
    url: str = Field(pattern=r"^http://[a-z]+:\d+$")
    isDefault: bool  # noqa: N815
    editable: bool
    jsonData: PrometheusOptions  # noqa: N815


class DataSources(Part):
    apiVersion: Literal[1]  # noqa: N815
    datasources: list[DataSource] = Field(min_length=1, max_length=1)


class Folder(Part):
    path: str = Field(pattern=r"^/")


class Provider(Part):
    name: str
    type: Literal["file"]
    updateIntervalSeconds: int  # noqa: N815
    allowUiUpdates: bool  # noqa: N815
    options: Folder


class Providers(Part):
    apiVersion: Literal[1]  # noqa: N815
    providers: list[Provider] = Field(min_length=1)


def lost(written: Any, read: Any, place: str = "") -> Iterator[str]:
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from lost(value, read.get(key), f"{place}.{key}") if key in read else [f"{place}.{key}"]
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for one, other in zip(written, read, strict=True):
            yield from lost(one, other, place)
    elif written != read:
        yield place


def through_the_schema(content: dict[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(content)))


def test_the_schema_knows_all_of_the_dashboard() -> None:
    content = load()
    assert set(lost(content, through_the_schema(content))) == OPEN


@pytest.mark.parametrize("place", ["options", "fieldConfig", "gridPos"])
def test_a_misspelled_key_is_found(place: str) -> None:
    content = load()
    panel = next(p for p in content["panels"] if p["type"] == "timeseries")
    panel[place]["legnd"] = 1
    assert f".panels.{place}.legnd" in set(lost(content, through_the_schema(content)))


def test_panels_have_room_and_names_of_their_own() -> None:
    panels = load()["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    cells = [
        (x, y)
        for g in (p["gridPos"] for p in panels)
        for x in range(g["x"], g["x"] + g["w"])
        for y in range(g["y"], g["y"] + g["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(p["description"] for p in panels if p["type"] != "row")


def test_every_panel_asks_the_chosen_data_source() -> None:
    content = load()
    used = [p["datasource"]["uid"] for p in content["panels"] if p["type"] != "row"]
    used += [v["datasource"]["uid"] for v in content["templating"]["list"] if v["type"] == "query"]
    used += [n["datasource"]["uid"] for n in content["annotations"]["list"]]
    assert set(used) == {"${datasource}"}


def test_provisioning_is_as_grafana_reads_it(shipped: Path) -> None:
    folder = shipped / "grafana/provisioning"
    source = DataSources.model_validate(
        yaml.safe_load((folder / "datasources/prometheus.yml").read_text())
    ).datasources[0]
    Providers.model_validate(yaml.safe_load((folder / "dashboards/rbr.yml").read_text()))
    scraped = yaml.safe_load((shipped / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source.jsonData.timeInterval == scraped
