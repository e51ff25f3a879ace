"""A region over two UTM zones: fused on native pixels in each, laid together on one grid."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from odc.geo.geobox import GeoBox

from flows import regions
from flows.prepare import Prepared, prepare
from flows.road import execute, opened, planned
from flows.spec import validate
from flows.stores import warn_unfinished
from pipeline.errors import Refused
from pipeline.events import Trouble
from pipeline.flags import Flag
from pipeline.sensors import SENTINEL2
from pipeline.simulated.archive import simulate_campaign
from pipeline.simulated.look import truth
from pipeline.simulated.streams import EPOCH, Campaign, Tile
from pipeline.store import Store
from pipeline.summary import digest

BANDS = ("B02", "B04", "B08")

CAMPAIGN = Campaign(
    EPOCH,
    EPOCH,
    300,
    ("sentinel-2",),
    ("L2A",),
    seed=3,
    clear=(EPOCH,),
    origin=(293940.0, 5799960.0),  # 12 degrees east, where zones 32 and 33 meet, runs through the middle
    tiles=(Tile("32UQD", 0, 0.65), Tile("33UTU", 0.35, 1)),
)


@pytest.fixture(scope="module")
def border(tmp_path_factory) -> Path:
    """An archive of a land of 3 km between two zones, a tile in each."""
    folder = tmp_path_factory.mktemp("border")
    simulate_campaign(folder, CAMPAIGN)
    return folder


def specification(border: Path, out: Path, **changes: object) -> dict:
    base = {
        "flow": "sharpen",
        "catalog": str(border / "catalog.json"),
        "area": {"bbox": [11.982, 52.289, 12.018, 52.306]},
        "time": "2024-06-01",
        "level": "L2A",
        "model": "identity",
        "bands": list(BANDS),
        "chunk": 60,
        "out": str(out),
    }
    return base | changes


@pytest.fixture(scope="module")
def fused(client: Client) -> Callable[[dict], tuple[Prepared, dict[str, int]]]:
    """Runs a specification; gives what it was, and how many chunks of each zone and of the mosaic were computed."""

    def run(raw: dict) -> tuple[Prepared, dict[str, int]]:
        prepared = prepare(validate(raw))
        regions.opened(prepared)
        computed = {}
        for part in regions.parts(prepared):
            computed[part.job.layout.lattice.crs] = execute(client, part, *planned(part)).computed
        outcome = regions.mosaic(client, prepared)
        assert not outcome.troubles
        return prepared, computed | {"mosaic": outcome.computed}

    return run


@pytest.fixture(scope="module")
def region(border, fused, tmp_path_factory) -> Prepared:
    """The region once run."""
    prepared, _ = fused(specification(border, tmp_path_factory.mktemp("region") / "a.zarr"))
    return prepared


def pixels(store: Store) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.asarray(store.array("reflectance")[0])
    return store.contents.encoding.decode(numbers), np.asarray(store.array("flags")[0])


def seen(geobox: GeoBox) -> np.ndarray:
    return truth(CAMPAIGN.world, SENTINEL2, BANDS, EPOCH, geobox)


def shift(values: np.ndarray, wanted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Pixels east and south by which an image lies off another: least squares over its slopes."""
    south, east = np.gradient(wanted)
    known = where & np.isfinite(values)
    slopes = np.stack([east[known], south[known]], axis=1)
    return -np.linalg.lstsq(slopes, (values - wanted)[known], rcond=None)[0]


def test_both_sides_lie_where_the_truth_does(region):
    store = Store(region.spec.out)
    assert region.zones == ("EPSG:32632", "EPSG:32633")
    values, flags = pixels(store)
    layout = store.contents.layout
    wanted = seen(layout.geobox)
    rows, cols = flags.shape
    known = (flags & Flag.NODATA) == 0
    sides = {"west": np.arange(cols) < cols * 0.35, "east": np.arange(cols) > cols * 0.65}
    errors = {}
    for name, side in sides.items():
        here = np.broadcast_to(side, (rows, cols)) & known
        assert here.sum() > 0.25 * side.sum() * rows
        for band, plane in enumerate(values):
            assert np.abs(shift(plane, wanted[band], here)).max() < 0.03, (name, band)
        errors[name] = np.sqrt(np.mean((values - wanted)[:, here] ** 2))
    assert errors["west"] < 1.5 * 0.0008, errors  # of its own zone: the sensor's noise alone
    assert errors["east"] < 0.01, errors
    off = np.roll(values, 1, axis=2)[:, :, sides["east"]] - wanted[:, :, sides["east"]]
    assert errors["east"] < 0.5 * np.sqrt(np.nanmean(off**2)), "a shift of a pixel would not have been seen"


def test_pixels_of_the_own_zone_are_the_zones_own(region):
    store = Store(region.spec.out)
    (west, east) = regions.parts(region)
    assert region.job.layout.lattice.crs == west.job.layout.lattice.crs == "EPSG:32632"
    zone = Store(west.spec.out)
    here, there = store.contents.layout, zone.contents.layout
    shared = here.area.intersection(there.area)
    assert shared is not None
    rows, cols = here.pixels_of(shared)
    mine, theirs = here.pixels_of(shared), there.pixels_of(shared)
    kept = np.asarray(store.array("reflectance")[0, :, mine[0], mine[1]])
    own = np.asarray(zone.array("reflectance")[0, :, theirs[0], theirs[1]])
    x = here.geobox.coords["x"].values[cols]
    clearly = x < 704000  # west of the meridian, which is 704,549 m in zone 32
    assert (own[:, :, clearly] > 0).all(axis=0).mean() > 0.9
    valid = own[:, :, clearly] > 0
    assert (kept[:, :, clearly][valid] == own[:, :, clearly][valid]).all()
    beyond = x > 704700  # east of it: zone 32 reaches there, and is not asked
    reached = own[:, :, beyond] > 0
    assert reached.sum() > 1000
    assert (kept[:, :, beyond] == own[:, :, beyond])[reached].mean() < 0.5
    assert east.job.layout.lattice.crs == "EPSG:32633"
    assert Store(east.spec.out).contents.days == store.contents.days


def test_nothing_is_missing_where_a_zone_has_a_value(region):
    _, flags = pixels(Store(region.spec.out))
    rows, cols = flags.shape
    middle = flags[rows // 4 : -rows // 4, cols // 4 : -cols // 4]
    assert not (middle & Flag.NODATA).any()


def test_the_root_and_each_zone_open_with_xarray(region):
    from pipeline.summary import fold

    fold(Store(region.spec.out))
    with xr.open_zarr(region.spec.out) as root:
        assert root.rio.crs == "EPSG:32632"
        assert root.sizes["band"] == 3
    with xr.open_zarr(region.spec.out, group="zones/EPSG_32633") as zone:
        assert zone.rio.crs == "EPSG:32633"
        assert zone.reflectance.notnull().any()


def test_the_digest_does_not_depend_on_the_cut(region, border, fused, tmp_path):
    prepared, _ = fused(specification(border, tmp_path / "b.zarr", chunk=150))
    assert digest(Store(prepared.spec.out)) == digest(Store(region.spec.out))


def test_a_region_that_grew_is_the_region_fused_at_once(region, border, fused, tmp_path):
    small = {"bbox": [11.986, 52.293, 12.014, 52.306]}
    _, first = fused(specification(border, tmp_path / "g.zarr", area=small))
    grown, then = fused(specification(border, tmp_path / "g.zarr"))
    assert digest(Store(grown.spec.out)) == digest(Store(region.spec.out))
    again = sum(1 for _ in grown.job.layout.chunks())
    assert 0 < then["EPSG:32632"] < first["EPSG:32632"] + again


def test_only_what_has_changed_is_laid_again(border, fused, client, tmp_path, capsys):
    prepared, first = fused(specification(border, tmp_path / "c.zarr"))
    assert all(first.values())
    _, again = fused(specification(border, tmp_path / "c.zarr"))
    assert not any(again.values())
    assert regions.laid(prepared)
    east = Store(regions.parts(prepared)[1].spec.out)
    record = max(east.ledger.records(), key=lambda r: r.valid)
    east.ledger.drop(record.day, record.box)
    warn_unfinished(Store(prepared.spec.out))
    assert "EPSG_32633 are not done" in " ".join(capsys.readouterr().err.split())
    waiting: list = []
    lost = regions.mosaic(client, prepared, watch=waiting.append)
    assert lost.computed == 0
    assert tuple(told for told in waiting if isinstance(told, Trouble)) == lost.troubles
    assert len(waiting) == first["mosaic"], "of what is there already it is told too"
    assert len(Store(prepared.spec.out).ledger.troubles()) == len(lost.troubles)
    assert not regions.laid(prepared)
    assert 0 < len(lost.troubles) < first["mosaic"] / 2
    assert all("a zone" in trouble.reason for trouble in lost.troubles)
    changed = json.loads(record.to_json()) | {"digest": "other"}
    east.ledger.put(type(record).from_json(json.dumps(changed)))
    told: list = []
    outcome = regions.mosaic(client, prepared, watch=told.append)
    assert outcome.computed == sum(not done.held for done in told) == len(lost.troubles)
    assert not outcome.troubles
    assert not Store(prepared.spec.out).ledger.troubles()
    assert outcome.held == first["mosaic"] - outcome.computed


def test_a_grid_of_no_zone_is_laid_from_all(border, fused, tmp_path):
    grid = {"crs": "EPSG:3035"}
    prepared, _ = fused(specification(border, tmp_path / "d.zarr", grid=grid, chunk=150))
    store = Store(prepared.spec.out)
    values, flags = pixels(store)
    assert store.contents.layout.lattice.crs == "EPSG:3035"
    assert prepared.zones == ("EPSG:32632", "EPSG:32633")
    wanted, known = seen(store.contents.layout.geobox), (flags & Flag.NODATA) == 0
    assert known.mean() > 0.7
    assert np.abs(shift(values[1], wanted[1], known)).max() < 0.03


def test_a_polygon_clips_the_mosaic_and_not_its_zones(border, fused, tmp_path):
    ring = [[11.985, 52.291], [12.015, 52.291], [12.015, 52.304], [11.985, 52.291]]
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    area = {"geojson": str(tmp_path / "area.geojson")}
    prepared, _ = fused(specification(border, tmp_path / "e.zarr", area=area, chunk=150))
    values, flags = pixels(Store(prepared.spec.out))
    outside = (flags & Flag.OUTSIDE) > 0
    assert 0.4 < outside.mean() < 0.6
    assert np.isnan(values[:, outside]).all()
    for part in regions.parts(prepared):
        assert not (pixels(Store(part.spec.out))[1] & Flag.OUTSIDE).any()


def test_one_zone_is_enough_where_it_covers_the_area(border, tmp_path):
    east = {"bbox": [12.006, 52.292, 12.016, 52.302]}
    own = {"crs": "EPSG:32633"}
    assert prepare(validate(specification(border, tmp_path / "f.zarr", area=east, grid=own))).zones == ()
    each = own | {"zones": "each"}
    both = prepare(validate(specification(border, tmp_path / "f.zarr", area=east, grid=each)))
    assert both.zones == ("EPSG:32632", "EPSG:32633")
    whole = specification(border, tmp_path / "f.zarr", grid={"zones": "one"})
    assert prepare(validate(whole)).zones == ()


def test_a_mosaic_and_a_store_of_one_grid_are_not_the_same_work(region, border):
    raw = specification(border, region.spec.out, grid={"zones": "one"})
    with pytest.raises(Refused, match="mosaic"):
        planned(prepare(validate(raw)))


def test_a_whole_tile_is_planned_and_has_room_for_its_last_cores(border, tmp_path):
    (file,) = border.glob("sentinel-2-l2a/*33UTU*/*.json")
    item = json.loads(file.read_text())
    west, south, east, north = item["bbox"] = [11.99, 52.2, 13.7, 53.25]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item |= {"id": "whole", "links": [], "geometry": {"type": "Polygon", "coordinates": [ring]}}
    item["properties"]["grid:code"] = "MGRS-33UUB"
    for asset in item["assets"].values():
        asset["href"] = Path(asset["href"]).name  # which is not there: no pixel is read
        if "proj:shape" in asset:
            pixel = asset["proj:transform"][0]
            asset["proj:shape"] = [int(109800 / pixel)] * 2
            asset["proj:transform"] = [pixel, 0, 300000.0, 0, -pixel, 5900040.0]
    (tmp_path / "tile.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    raw = specification(border, tmp_path / "tile.zarr", area={"tile": "33UUB"}, chunk=1200, bands=["B02", "B05", "B09"])
    prepared = prepare(validate(raw | {"catalog": str(tmp_path / "tile.json")}))
    job, work = planned(prepared)
    assert prepared.zones == ()
    assert tuple(job.layout.geobox.shape) == (10980, 10980)
    assert len(work.todo) == 100
    store = opened(prepared, job, work)
    last = list(job.layout.chunks())[-1]
    store.write(last, store.contents.days[0], np.full((3, 180, 180), 7, np.uint16), np.zeros((180, 180), np.uint16))
    array = store.array("reflectance")
    assert array.shards == (1, 3, 1200, 1200)
    assert array[0, 0, -181:, -181:].sum() == 7 * 180 * 180
