"""The tree of a query: branches, what is refused, what is said of items that cannot be used."""

import json
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from pipeline.catalog import Query
from pipeline.errors import Refused
from pipeline.harmonise.steps import Harmony
from pipeline.lattice import Box, Lattice, Layout
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENTINEL2
from pipeline.tree import assemble, tree_of


def scene(name="A", level="L2A", sensor="sentinel-2", assets=("B04",), **fields):
    place = {"bbox": (13.5, 52.3, 13.6, 52.4), "crs": "EPSG:32633", "extent": None, "platform": "sentinel-2a"}
    when = datetime(2024, 6, 1, 10, tzinfo=UTC)
    return Scene(
        name, sensor, level, when, assets={b: Asset(f"{b}.tif") for b in assets}, cloud_cover=0, **(place | fields)
    )


@pytest.fixture
def layout():
    return Layout.over(Lattice("EPSG:32633", Fraction(10), Fraction(60)), Box(6666, -96667, 6668, -96665), 2)


def query(archive, **changes):
    when = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 30, tzinfo=UTC)
    return Query(str(archive / "catalog.json"), SENTINEL2, *when, **changes)


def test_levels_that_measure_different_things_have_branches_of_their_own(layout):
    assert set(tree_of([scene(), scene("B", "L1C")], layout).children) == {"sentinel-2_L2A", "sentinel-2_L1C"}
    assert set(tree_of([scene(), scene("B")], layout).children) == {"sentinel-2"}


def test_steps_that_cannot_be_done_are_refused_when_the_tree_is_built(layout):
    with pytest.raises(Refused, match="A does not state its"):
        tree_of([scene()], layout, harmony=Harmony(nbar=True))


def test_bands_that_no_scene_has_are_refused_by_name(archive):
    with pytest.raises(Refused, match="no scene has a band B99"):
        assemble(query(archive), bands=["B99"])


def test_nothing_found_is_refused(archive):
    with pytest.raises(Refused, match="no scene of landsat answers the query"):
        assemble(query(archive), ["landsat"])


def test_items_that_cannot_be_used_are_named_in_the_tree(own_archive):
    item = next((own_archive / "sentinel-2-l2a").rglob("S2A_33UVT_20240606*.json"))
    content = json.loads(item.read_text())
    content["properties"]["eo:cloud_cover"] = "much"
    item.write_text(json.dumps(content))
    tree = assemble(query(own_archive, level="L2A"))
    assert tree["sentinel-2/10m"].sizes["time"] == 1
    (reason,) = tree.attrs["not_used"]
    assert "S2A_33UVT_20240606_SIM_L2A" in reason


def test_without_a_projection_of_their_own_scenes_are_seen_in_their_utm_zone(layout):
    from pipeline.region import commonest_crs

    sinusoidal = "+proj=sinu +R=6371007.181 +units=m"
    # 13.55 degrees east: zone floor(193.55 / 6) + 1 = 33; south of the equator 327
    assert commonest_crs([scene(crs=sinusoidal)]) == "EPSG:32633"
    assert commonest_crs([scene(crs=None, bbox=(179.0, -17.0, -179.5, -16.0))]) == "EPSG:32760"
