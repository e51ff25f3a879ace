"""A thousand items spoilt at random: each ends in a refusal that names it, or in the right values; nothing is opened."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from pipeline import access
from pipeline.catalog import Found, Query, look_all
from pipeline.dialects import to_scene
from pipeline.errors import Refused
from pipeline.flags import flagged
from pipeline.lattice import Lattice
from pipeline.radiometry import coding
from pipeline.scene import Scene, groups, touching
from pipeline.sensors import SENSORS, SENTINEL2, sensor
from pipeline.simulated.archive import simulate_campaign
from pipeline.simulated.streams import Campaign

HOME = "https://data.example.com/a/b/c/d/e/f/item.json"
COUNT = 1000

JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 10**400, -(10**30), 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), "", " ", "x",
    "\0", "a\nb", "\ud800", "né\u202e", "A" * 100_000, "nan", "1e999", [], {}, [[]], [None], [[[[1]]]], {"a": {"b": [1]}},
    [1, 2, 3], ["x"] * 6, [0, 0, 0, 0], [1e308] * 4, [float("nan")] * 6, "2024-13-45", "0000-00-00T00:00:00Z", 4326, 32760,
    999_999, "EPSG:0", "EPSG:3857", "../../etc/passwd", {"type": "Point", "coordinates": [0, 0]},
    {"type": "Polygon", "coordinates": [[[0, 0], [1e400, 0], [0, 1], [0, 0]]]}, {"type": "Polygon", "coordinates": "here"},
)  # fmt: skip
"""Values of the wrong type, out of any range, or not to be had."""

HOSTILE = (
    "file:///etc/passwd", "/vsicurl/http://169.254.169.254/latest/", "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1/x.tif", "http://127.1/x.tif", "http://[::1]/x.tif", "http://localhost:8000/x.tif",
    "http://0x7f000001/x.tif", "http://10.0.0.8/x.tif", "//169.254.169.254/x.tif", "<VRTDataset></VRTDataset>",
    "https://data.example.com/a.vrt", "gs://bucket/key.tif", "ftp://data.example.com/x.tif",
    "https://u:p@data.example.com/x.tif", "s3://", "https://data.example.com/a\0.tif", "https://data.example.com/a\n.tif",
    "https:///x.tif", "zip:///srv/a.zip",
    "data:image/tiff;base64,AAAA", "javascript:alert(1)",
    "https://data.example.com/" + "a" * 100_000, "", "\ud800", None, 5, [],
    {"href": "x"}, "NETCDF:/etc/passwd:x", "GTIFF_RAW:/etc/passwd", "https://[x/y.tif", "HTTP://LOCALHOST/x.tif",
)  # fmt: skip
"""Addresses that no item may send a reader to."""

Spoil = Callable[[random.Random, dict], tuple]


def paths(value: Any, here: tuple = ()) -> Iterator[tuple]:
    """Every place in a document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*here, key)
        yield from paths(inner, (*here, key))


def parent(raw: dict, path: tuple) -> Any:
    for key in path[:-1]:
        raw = raw[key]
    return raw


def somewhere(rng: random.Random, raw: dict) -> tuple:
    """A place in an item, where anything is read rather than in long lists of coordinates."""
    chosen = [path for path in paths(raw) if len(path) < 6 and path[0] not in ("links", "stac_extensions")]
    top = rng.choice(sorted({path[0] for path in chosen} | {"properties", "assets"}))
    return rng.choice([path for path in chosen if path[0] == top] or chosen)


def removed(rng: random.Random, raw: dict) -> tuple:
    path = somewhere(rng, raw)
    del parent(raw, path)[path[-1]]
    return path


def replaced(rng: random.Random, raw: dict) -> tuple:
    path = somewhere(rng, raw)
    parent(raw, path)[path[-1]] = copy.deepcopy(rng.choice(JUNK))
    return path


def swapped(rng: random.Random, raw: dict) -> tuple:
    """Axes in the wrong order: of the bbox, of a grid's origin or size, of the footprint."""
    grids = [
        path for path in paths(raw) if path[-1] in ("proj:transform", "proj:shape", "bbox", "coordinates", "proj:bbox")
    ]
    path = rng.choice(grids)
    value = parent(raw, path)[path[-1]]
    if not isinstance(value, list):
        return path
    if path[-1] == "proj:transform":
        value[2], value[5] = value[5], value[2]
    elif path[-1] == "coordinates":
        flat = json.loads(json.dumps(value))
        for place in [p for p in paths(flat) if isinstance(p[-1], int)]:
            pair = parent(flat, place)[place[-1]]
            if isinstance(pair, list) and len(pair) == 2 and not isinstance(pair[0], list):
                pair.reverse()
        parent(raw, path)[path[-1]] = flat
    elif len(value) == 4:
        parent(raw, path)[path[-1]] = [value[1], value[0], value[3], value[2]]
    else:
        value.reverse()
    return path


def miscoded(rng: random.Random, raw: dict) -> tuple:
    """Absurd scales, offsets, nodata and types of a file."""
    key = rng.choice(sorted(raw["assets"]))
    field = rng.choice(("scale", "offset", "nodata", "data_type", "unit"))
    raw["assets"][key]["raster:bands"] = [
        {field: copy.deepcopy(rng.choice((*JUNK, 1e6, -1e-12, 1e30, "float128", "K")))}
    ]
    return ("assets", key, "raster:bands")


def misled(rng: random.Random, raw: dict) -> tuple:
    """An address that no reader may be sent to."""
    key = rng.choice(sorted(raw["assets"]))
    raw["assets"][key]["href"] = rng.choice(HOSTILE)
    return ("assets", key, "href")


def misplaced(rng: random.Random, raw: dict) -> tuple:
    """A projection, grid or bbox from somewhere else."""
    name, value = rng.choice(
        (
            ("proj:code", "EPSG:32760"), ("proj:code", "EPSG:4326"), ("proj:code", 3857), ("proj:epsg", 32701),
            ("proj:wkt2", 'GEOGCRS["x"]'), ("proj:projjson", {"type": "ProjectedCRS"}), ("proj:shape", [10**9, 10**9]),
            ("proj:transform", [0, 0, 0, 0, 0, 0]), ("proj:transform", [1e12, 0, 0, 0, -1e12, 0]), ("proj:bbox", [5, 5, 1, 1]),
            ("proj:transform", [1e-30, 0, 5e5, 0, -1e-30, 5e6]),
        )
    )  # fmt: skip
    raw["properties"][name] = value
    return ("properties", name)


def renamed(rng: random.Random, raw: dict) -> tuple:
    """Another collection, platform, product or id."""
    path = rng.choice((("collection",), ("properties", "platform"), ("properties", "constellation"), ("id",)))
    parent(raw, path)[path[-1]] = copy.deepcopy(
        rng.choice((*JUNK, "landsat-c2-l2", "sentinel-2-l1c", "sentinel-1-grd"))
    )
    return path


SPOILERS: tuple[Spoil, ...] = (
    removed,
    removed,
    replaced,
    replaced,
    replaced,
    swapped,
    miscoded,
    misled,
    misplaced,
    renamed,
)


def usable(raw: dict, root: str) -> Scene | None:
    """An item as it is, as a scene whose bands can be decoded; ``None`` where it is refused already."""
    try:
        scene = to_scene(pystac.Item.from_dict(raw), root)
        for band in scene.assets.keys() & {b.name for b in sensor(scene.sensor).bands}:
            coding(scene, band)
    except Refused:
        return None
    return scene


def parsed(raw: dict, root: str) -> Scene | None:
    """As ``usable``, of an item that perhaps is none."""
    with_id = isinstance(raw.get("id"), str)
    return usable(raw, root) if with_id else None


def real_items(folder: Path) -> list[dict]:
    found = []
    for path in sorted(folder.glob("*/*json")):
        raw = json.loads(path.read_text())
        found += raw.get("features", [raw])
    for raw in found:
        raw["links"] = [{"rel": "self", "href": HOME}]
        if abs(raw["bbox"][0]) > 180:  # stated in metres: nothing to hold a spoilt projection against
            raw["bbox"] = list(usable(raw, HOME).bbox)
    return [raw for raw in found if usable(raw, HOME)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> list[dict]:
    """Items of five simulated sensors, addresses absolute."""
    folder = tmp_path_factory.mktemp("hostile")
    catalog = simulate_campaign(folder, Campaign(date(2024, 6, 1), date(2024, 6, 4), size=30))
    items = list(pystac.Catalog.from_file(str(catalog)).get_items(recursive=True))
    assert {usable(item.to_dict(), str(catalog)).sensor for item in items} == {
        "sentinel-1", "sentinel-2", "landsat", "modis", "planetscope",
    }  # fmt: skip
    for item in items:
        item.make_asset_hrefs_absolute()
    return [item.to_dict(transform_hrefs=False) | {"links": []} for item in items]


@pytest.fixture(autouse=True)
def nothing_is_opened(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError(f"opened {args}")

    monkeypatch.setattr(rasterio, "open", fail)
    monkeypatch.setattr(access, "_open", fail)


def test_of_simulated_items(simulated):
    root = Path(simulated[0]["assets"][next(iter(simulated[0]["assets"]))]["href"]).parents[2] / "spoilt.json"
    outcomes = spoil_and_look(simulated, root, seed=1)
    assert outcomes["refused"] > COUNT * 0.2, outcomes
    assert outcomes["right"] > COUNT * 0.2, outcomes


def test_of_real_items(real_data, tmp_path):
    outcomes = spoil_and_look(real_items(real_data / "stac-items"), tmp_path / "spoilt.json", seed=2)
    assert outcomes["refused"] > COUNT * 0.2, outcomes
    assert outcomes["right"] > COUNT * 0.2, outcomes


@pytest.mark.parametrize("href", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_address_is_refused(simulated, tmp_path, href):
    raw = copy.deepcopy(next(item for item in simulated if item["id"].startswith("S2")))
    raw["links"] = [{"rel": "self", "href": HOME}]
    raw["assets"] = {"red": raw["assets"]["red"] | {"href": href}}
    file = tmp_path / "item.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [raw]}))
    found = looked_at(file)
    assert not found.scenes
    assert raw["id"] in found.refused[0]


@pytest.mark.parametrize(
    "href", ["/etc/passwd", "../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/x.tif", "file:../../x.tif"]
)
def test_a_file_outside_the_catalogs_folder_is_refused(simulated, tmp_path, href):
    raw = copy.deepcopy(next(item for item in simulated if item["id"].startswith("S2")))
    raw["assets"] = {"red": raw["assets"]["red"] | {"href": href}}
    file = tmp_path / "item.json"
    file.write_text(json.dumps(raw))
    assert "outside the catalog's own folder" in looked_at(file).refused[0]


def looked_at(file: Path) -> Found:
    start, end = date(1972, 1, 1), date(2199, 1, 1)
    moments = [pystac.utils.str_to_datetime(f"{day}T00:00:00Z") for day in (start, end)]
    return look_all(Query(str(file), SENTINEL2, *moments), SENSORS.values())


def spoil_and_look(originals: list[dict], file: Path, seed: int) -> dict[str, int]:
    """Spoil items at random, search them in one file, and hold what comes of each against the item before."""
    rng = random.Random(seed)
    spoilt = []
    for number in range(COUNT):
        before = originals[number % len(originals)]
        raw = copy.deepcopy(before)
        raw["id"] = f"{before['id']}_{number:04d}"
        path = rng.choice(SPOILERS)(rng, raw)
        spoilt.append((before, raw, path))
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [raw for _, raw, _ in spoilt]}))
    found = looked_at(file)
    scenes = {scene.id: scene for scene in found.scenes}
    told, sound = "\n".join(found.refused), {before["id"]: usable(before, str(file)) for before in originals}
    outcomes = {"right": 0, "refused": 0}
    for before, raw, path in spoilt:
        named = str(raw.get("id"))[:200]
        there = parsed(raw, str(file)) if path == ("id",) else scenes.get(named)  # several may have the same id now
        if there:
            right(there, sound[before["id"]], path)
            outcomes["right"] += 1
        elif named in told or path == ("id",):
            outcomes["refused"] += 1
        else:
            scene = left_out(raw, path, str(file))
            outcomes["refused" if scene is None else "right"] += 1
            if scene is not None:
                right(scene, sound[before["id"]], path)
    return outcomes


def left_out(raw: dict, path: tuple, root: str) -> Scene | None:
    """The scene of an item that is neither there nor named: of a level or collection that ranks lower, or else of no sensor."""
    scene = usable(raw, root)
    if scene is None:  # it says that it is something else, which nobody asked for
        with pytest.raises(Refused, match="names no sensor|GRD") as error:
            to_scene(pystac.Item.from_dict(raw), root)
        assert str(raw["id"]) in str(error.value), path
        return None
    lower = raw.get("collection") in ("sentinel-s2-l2a", "sentinel-2-c1-l2a")
    assert lower or scene.level != sensor(scene.sensor).levels[0], (path, scene.id)
    return scene


def right(scene: Scene, before: Scene | None, path: tuple) -> None:
    """A scene of a spoilt item has the values of the item before, but for what the spoilt field alone says; and the road
    holds."""
    assert before is not None
    where, field = path[0], path[1] if len(path) > 1 else ""
    assert (scene.sensor, scene.level) == (before.sensor, before.level), path
    assert scene.assets.keys() <= before.assets.keys(), path
    if where not in ("assets", "properties"):
        assert str(scene.assets) == str(before.assets), path  # nodata may be NaN
    moved = str(field).startswith("proj:") or any(str(key).startswith("proj:") for key in path) or field == "crs"
    if not moved and len(path) > 2 and where == "assets":
        assert scene.crs == before.crs, path
    if scene.crs != before.crs:
        assert scene.crs is None or before.crs is None, path  # nothing to hold the spoilt one against
    if field not in ("datetime", "start_datetime", "end_datetime"):
        assert scene.acquired == before.acquired, path
    assert 0 <= scene.cloud_cover <= 100
    assert -180 <= scene.bbox[0] <= 180
    assert -90 <= scene.bbox[1] < scene.bbox[3] <= 90
    recoded = where == "assets" and any(key in path for key in ("raster:bands", "bands", "nodata", "data_type", "unit"))
    for band in scene.assets:
        if band in {b.name for b in sensor(scene.sensor).bands}:
            how, was = coding(scene, band), coding(before, band)
            if not recoded and where != "properties":
                assert how == was, (path, band)
            if how.offset != was.offset and not recoded:  # true to what is left, where the flag itself is gone
                assert "boa_offset_applied" in str(field), (path, band)
    road(scene, before, path)


def road(scene: Scene, before: Scene, path: tuple) -> None:
    """What comes after: days, groups, placing; a scene is found where it lies."""
    assert scene.solar_day
    assert groups([scene, before])
    for window in windows(before):
        there = touching([scene], window)
        if path[0] != "bbox" or scene.extent is not None:
            assert there == [scene], path
    if scene.extent is not None and scene.crs is not None and scene.crs.startswith("EPSG:326"):
        assert Lattice(scene.crs, Lattice.common_step([10]), Lattice.common_step([60])).box(scene.extent).width >= 0
    for layer in sensor(scene.sensor).product(scene.level).quality:
        assert flagged(np.zeros(1, layer.dtype), layer.meaning).shape == (1,)


def windows(scene: Scene) -> Iterator[GeoBox]:
    """A kilometre in the middle of a scene's grid, in its own projection where it has one, and in a web map's."""
    if scene.extent is not None and scene.crs is not None:
        spot = box(*scene.extent, scene.crs).centroid.buffer(100)
    else:
        west, south, east, north = scene.bbox
        east += 360 if east < west else 0
        middle = ((west + east) / 2 + 180) % 360 - 180, (south + north) / 2
        spot = box(middle[0] - 1e-3, middle[1] - 1e-3, middle[0] + 1e-3, middle[1] + 1e-3, "EPSG:4326")
    for crs in filter(None, (scene.crs, "EPSG:3857" if abs(scene.bbox[1]) < 80 else None)):
        yield GeoBox.from_bbox(spot.to_crs(crs).boundingbox, crs, resolution=10)
