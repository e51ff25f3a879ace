"""Which scenes a task carries, and what its key depends on."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from pyproj import Transformer

from pipeline.encoding import encoding
from pipeline.job import Job, key, tasks
from pipeline.lattice import Lattice, Layout
from pipeline.models.registry import bicubic
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENTINEL2

LEFT, TOP = 399960.0, 5799960.0


def scene(name, left):
    """A square of 600 m whose western edge lies ``left`` metres from ``LEFT``."""
    assets = {"B04": Asset(f"{name}.tif"), "SCL": Asset(f"{name}-scl.tif")}
    extent = (LEFT + left, TOP - 600, LEFT + left + 600, TOP)
    when = datetime(2024, 6, 1, 10, tzinfo=UTC)
    # bounds in degrees of its middle alone, so that its extent decides
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(LEFT + left + 300, TOP - 300)
    bbox = (x, y, x, y)
    return Scene(name, "sentinel-2", "L2A", when, bbox, "EPSG:32633", extent, assets, 0.0, "sentinel-2a", name)


@pytest.fixture
def job():
    lattice = Lattice("EPSG:32633", Fraction(10), Fraction(60))
    layout = Layout.over(lattice, lattice.box((LEFT, TOP - 600, LEFT + 600, TOP)), 5)
    return Job("sharpen", bicubic(SENTINEL2, ("B04",), 10), layout, "L2A", encoding("uint16"))


def carried(job, scenes):
    """Names of the scenes that the westernmost tasks carry."""
    return {s.id for task in tasks(job, scenes) if task.chunk.col == 0 for s in task.scenes}


def test_a_scene_whose_clouds_reach_a_chunk_by_dilation_is_carried(job):
    # the western chunks end 300 m from LEFT; the second scene begins at 600 m
    scenes = [scene("near", 0), scene("far", 600)]
    assert carried(job, scenes) == {"near"}
    assert carried(replace(job, dilate=240), scenes) == {"near"}
    assert carried(replace(job, dilate=360), scenes) == {"near", "far"}


def test_the_key_depends_on_what_the_items_state_and_not_on_where_files_are(job):
    def first(job, one):
        return key(job, next(iter(tasks(job, [one]))))

    here = scene("A", 0)
    moved = replace(here, assets={b: replace(a, address="/elsewhere/" + a.address) for b, a in here.assets.items()})
    recoded = replace(here, assets=dict(here.assets) | {"B04": Asset("A.tif", scale=2e-4)})
    assert first(job, here) == first(job, moved)
    assert len({first(job, one) for one in (here, recoded, replace(here, platform="sentinel-2b"))}) == 3
    assert first(replace(job, dilate=60), here) != first(job, here)
