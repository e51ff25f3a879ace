"""A cube and a plan are metadata: building them reads no pixel."""

import numpy as np
import pytest
import rasterio
from conftest import ALL_BANDS, specification

import pipeline.access
from flows.prepare import prepare
from flows.road import planned
from flows.spec import validate
from pipeline.lazily import lazy
from pipeline.tree import tree_of


@pytest.fixture
def sealed(monkeypatch):
    """No file can be opened: whatever tries to read, raises."""

    def refuse(*args, **kwargs):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr(rasterio, "open", refuse)
    monkeypatch.setattr(pipeline.access, "_open", refuse)


def test_preparing_and_planning_read_nothing(archive, tmp_path, sealed):
    job, work = planned(prepare(validate(specification(archive, tmp_path / "a.zarr"))))
    assert len(work.todo) == 4
    assert work.needs.amplification >= 1
    assert not (tmp_path / "a.zarr").exists()


def test_the_tree_of_cubes_is_built_unread_and_reads_when_computed(archive, tmp_path, sealed):
    prepared = prepare(validate(specification(archive, tmp_path / "a.zarr", time="2024-06")))
    tree = tree_of(prepared.scenes, prepared.job.layout, ALL_BANDS)
    assert set(tree["sentinel-2"].children) == {"10m", "20m", "60m"}
    assert tree["sentinel-2/10m"].reflectance.shape == (2, 4, 600, 600)
    assert tree["sentinel-2/60m"].reflectance.shape == (2, 2, 100, 100)
    assert tree["sentinel-2/20m"].reflectance.data.chunksize == (1, 1, 150, 150)
    with pytest.raises(AssertionError, match="a pixel was read"):
        tree["sentinel-2/10m"].reflectance.isel(time=0, band=0).compute(scheduler="synchronous")


def test_the_tree_holds_reflectance_with_what_it_is(archive, tmp_path):
    prepared = prepare(validate(specification(archive, tmp_path / "a.zarr")))
    tree = tree_of(prepared.scenes, prepared.job.layout, ALL_BANDS)
    red = tree["sentinel-2/10m"].reflectance.sel(band="B04").isel(time=0)
    assert float(red.wavelength) == 665
    assert str(red.id.values) == "S2A_33UVT_20240601_SIM_L2A"
    name = archive / "sentinel-2-l2a" / "S2A_33UVT_20240601_SIM_L2A" / "B04.tif"
    with rasterio.open(name) as file:
        expected = (file.read(1).astype(float) - 1000) / 10000
    np.testing.assert_allclose(red.compute(scheduler="synchronous"), expected, atol=1e-7)


def test_the_lazy_result_is_what_a_run_writes_and_computes_only_what_is_touched(archive, tmp_path, go, monkeypatch):
    raw = specification(archive, tmp_path / "a.zarr")
    store, _ = go(raw)
    prepared = prepare(validate(raw))
    cube = lazy(prepared.job, prepared.scenes)
    assert cube.rio.crs.to_epsg() == 32633
    opened = []
    real = pipeline.access._open
    monkeypatch.setattr(pipeline.access, "_open", lambda address: opened.append(address) or real(address))
    part = cube.reflectance.isel(time=0, y=slice(310, 320), x=slice(310, 330)).compute(scheduler="synchronous")
    assert len(opened) == 13, "12 bands and the classification, once, for the one chunk"
    expected = store.contents.encoding.decode(store.array("reflectance")[0, :, 310:320, 310:330])
    np.testing.assert_array_equal(part.values, expected)


def test_the_lazy_result_raises_where_a_file_is_missing(own_archive, tmp_path):
    (own_archive / "sentinel-2-l2a" / "S2A_33UVT_20240601_SIM_L2A" / "B05.tif").unlink()
    prepared = prepare(validate(specification(own_archive, tmp_path / "a.zarr")))
    cube = lazy(prepared.job, prepared.scenes)
    with pytest.raises(OSError, match="S2A_33UVT_20240601_SIM_L2A B05: the file is missing"):
        cube.reflectance.compute(scheduler="synchronous")
