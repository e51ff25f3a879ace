"""Scenes from a STAC API, a static catalog over HTTP, and an item collection; a service that falters is asked again."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pystac
import pytest

from flows.spec import period
from pipeline.catalog import Query, find, find_all, look, tile_of
from pipeline.errors import Refused
from pipeline.sensors import HLS, LANDSAT, SENTINEL1, SENTINEL2


@dataclass
class Service:
    """A STAC API on loopback over the items of an archive, two a page, that fails as often as it is told."""

    items: list[dict]
    address: str = ""
    failures: int = 0
    collections: list[str] | None = None
    searches: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class Handler(SimpleHTTPRequestHandler):
    """Answers /stac and /stac/search; anything else is a file of the archive."""

    def __init__(self, *args, service: Service, **kwargs) -> None:
        self.service = service
        super().__init__(*args, **kwargs)

    def log_message(self, *args) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.service.failures > 0:
            self.service.failures -= 1
            self.send_error(503)
            return
        parts = urlsplit(self.path)
        self.service.paths.append(parts.path)
        if parts.path == "/stac/collections" and self.service.collections is not None:
            self._json({"collections": [{"id": name} for name in self.service.collections], "links": []})
        elif parts.path == "/stac":
            self._json(self._landing())
        elif parts.path == "/stac/search":
            self._search({key: values[0] for key, values in parse_qs(parts.query).items()})
        elif "Range" in self.headers:
            self._range()
        else:
            super().do_GET()

    def _range(self) -> None:
        """A part of a file, as cloud-optimised files are read."""
        try:
            data = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(data[start : end + 1])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.service.failures > 0:
            self.service.failures -= 1
            self.send_error(503)
            return
        self._search(body)

    def _search(self, wanted: dict) -> None:
        self.service.searches.append(wanted)
        collections = wanted.get("collections", [])
        names = collections.split(",") if isinstance(collections, str) else collections
        mine = [item for item in self.service.items if item["collection"] in names]
        start = int(wanted.get("token", 0))
        links = []
        if start + 2 < len(mine):
            body = {**{k: v for k, v in wanted.items() if k != "token"}, "token": start + 2}
            links = [{"rel": "next", "href": f"{self.service.address}/stac/search", "method": "POST", "body": body}]
        self._json({"type": "FeatureCollection", "features": mine[start : start + 2], "links": links})

    def _json(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _landing(self) -> dict:
        core = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        root = f"{self.service.address}/stac"
        links = [
            {"rel": "root", "href": root, "type": "application/json"},
            {"rel": "self", "href": root, "type": "application/json"},
            {"rel": "data", "href": f"{root}/collections", "type": "application/json"},
            {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"},
        ]
        return {
            "type": "Catalog", "id": "api", "description": "test", "stac_version": "1.0.0", "conformsTo": core, "links": links,
        }  # fmt: skip


@pytest.fixture
def service(archive: Path) -> Iterator[Service]:
    paths = sorted(archive.glob("sentinel-2-l*/S2A_*/S2A_*.json"))
    found = Service([])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, service=found, directory=str(archive)))
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    for path in paths:
        item = pystac.Item.from_file(str(path))
        item.make_asset_hrefs_absolute()
        plain = item.to_dict(include_self_link=False, transform_hrefs=False)
        for asset in plain["assets"].values():
            asset["href"] = f"{found.address}/{Path(asset['href']).relative_to(archive)}"
        plain["links"] = []
        for copy in range(3):
            found.items.append({**plain, "id": f"{plain['id']}-{copy}"})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def query(catalog: str, **changes) -> Query:
    start, end = period("2024")
    return Query(catalog=catalog, sensor=SENTINEL2, start=start, end=end, **changes)


def test_api_is_paged_through(service):
    scenes = find(query(f"{service.address}/stac"))
    assert len(scenes) == 6  # three copies of two days, two a page
    assert {scene.level for scene in scenes} == {"L2A"}
    assert len(service.searches) == 3
    assert scenes[0].assets["B05"].address.startswith(service.address)
    assert [scene.acquired for scene in scenes] == sorted(scene.acquired for scene in scenes)


def test_a_service_that_falters_is_asked_again(service):
    service.failures = 2
    assert len(find(query(f"{service.address}/stac"))) == 6
    assert service.failures == 0


def test_a_service_that_stays_down_is_refused_in_one_sentence(service, monkeypatch):
    pauses = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    service.failures = 1000
    with pytest.raises(Refused, match="there is no usable STAC catalog") as refusal:
        find(query(f"{service.address}/stac", level="L2A"))
    assert "\n" not in str(refusal.value)
    assert pauses == [1, 2, 4, 8]  # the first retry is at once


def test_static_catalog_over_http_and_its_files_are_read_from_the_same_host(service):
    scenes = find(query(f"{service.address}/catalog.json"))
    assert [scene.id for scene in scenes] == ["S2A_33UVT_20240601_SIM_L2A", "S2A_33UVT_20240606_SIM_L2A"]
    assert scenes[0].assets["B02"].address.startswith(service.address)


def test_a_run_over_http_is_that_over_files(service, archive, tmp_path, go):
    from conftest import specification

    from pipeline.summary import digest

    local, _ = go(specification(archive, tmp_path / "local.zarr"))
    remote, result = go(specification(archive, tmp_path / "remote.zarr", catalog=f"{service.address}/catalog.json"))
    assert result.complete, result.missed
    assert digest(remote) == digest(local)


def test_item_collection_and_level(archive, tmp_path):
    items = [pystac.Item.from_file(str(path)) for path in archive.glob("sentinel-2-l*/S2A_*/S2A_*.json")]
    for item in items:
        item.make_asset_hrefs_absolute()
    path = archive / "items.json"
    pystac.ItemCollection(items, clone_items=False).save_object(str(path))
    assert {scene.level for scene in find(query(str(path)))} == {"L2A"}  # the higher level where both are there
    assert {scene.level for scene in find(query(str(path), level="L1C"))} == {"L1C"}
    path.unlink()


def test_conditions_of_a_query(archive):
    catalog = str(archive / "catalog.json")
    assert len(find(query(catalog, max_cloud=1))) == 1
    assert len(find(query(catalog, tile="33UVT"))) == 2
    assert find(query(catalog, tile="33UVU")) == []
    assert find(query(catalog, bbox=(0, 0, 1, 1))) == []
    assert len(find(query(catalog, scenes=("S2A_33UVT_20240606_SIM_L2A",)))) == 1


def test_what_is_no_catalog_is_refused(tmp_path):
    for text in ("no json", "[]", '{"type": "Something"}', '{"type": "FeatureCollection", "features": [{"id": 1}]}'):
        path = tmp_path / "catalog.json"
        path.write_text(text)
        with pytest.raises(Refused, match="STAC catalog"):
            find(query(str(path)))


def test_tile_is_read_from_the_item():
    base = {"geometry": None, "bbox": None, "properties": {}}
    start, _ = period("2024")
    for name, tile in (("S2B_33TWL_20230810_0_L2A", "33TWL"), ("T33UUB", "33UUB"), ("thailand", None)):
        item = pystac.Item(id=name, datetime=start, **base)
        assert tile_of(item) == tile


def items_in(file: Path, items: list[dict]) -> str:
    """A file with an item collection; gives its path."""
    file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return str(file)


def made(name: str, collection: str | None, assets: list[str], **changes: object) -> dict:
    """An item at 15 east, 52 north with assets of names on a public host."""
    west, east = changes.pop("reach", (15.0, 15.1))
    properties = {
        "datetime": "2024-06-01T10:00:00Z",
        "proj:code": "EPSG:32633",
        "s2:processing_baseline": "05.10",
    } | changes
    return {
        "type": "Feature", "stac_version": "1.1.0", "stac_extensions": [], "id": name, "collection": collection, "links": [],
        "bbox": [west, 52.0, east, 52.1], "geometry": None, "properties": properties,
        "assets": {key: {"href": f"https://data.example.com/{name}/{key}.tif"} for key in assets},
    }  # fmt: skip


def test_a_service_is_asked_only_for_collections_that_it_has(service):
    service.collections = ["sentinel-2-l1c", "my-sentinel-2", "cop-dem-glo-30", "landsat-c2-l2"]
    scenes = find(query(f"{service.address}/stac"))
    assert [search["collections"] for search in service.searches][0] == ["my-sentinel-2"]
    assert {name for search in service.searches for name in search["collections"]} == {
        "sentinel-2-l1c",
        "my-sentinel-2",
    }
    assert {scene.level for scene in scenes} == {"L1C"}
    assert service.paths.count("/stac/collections") == 1


def test_a_document_is_read_once_for_all_sensors(service, archive):
    scenes = find_all(query(f"{service.address}/catalog.json"), (SENTINEL2, LANDSAT, SENTINEL1))
    assert {scene.sensor for scene in scenes} == {"sentinel-2"}
    documents = [path for path in service.paths if path.endswith(".json")]
    assert len(documents) == len(set(documents))
    # the catalog, two collections, and two days of two levels
    assert len(documents) == 1 + 2 + 4


def test_branches_of_other_sensors_are_not_walked(service):
    assert find(Query(f"{service.address}/catalog.json", LANDSAT, *period("2024"))) == []
    assert [path for path in service.paths if path.endswith(".json")] == [
        "/catalog.json",
        "/sentinel-2-l1c/collection.json",
        "/sentinel-2-l2a/collection.json",
    ]


def test_what_cannot_be_used_is_named_and_the_rest_is_there(tmp_path):
    """Ground range among terrain corrected scenes, a hostile address, a spoilt field, an item that is none."""
    good = made("S1A_IW_1_rtc", "sentinel-1-rtc", ["vv"])
    slant = made("S1A_IW_GRDH_1SDV_2", "sentinel-1-grd", ["vv"], **{"sar:product_type": "GRD"})
    hostile = made("S1A_IW_3_rtc", "sentinel-1-rtc", ["vv"])
    hostile["assets"]["vv"]["href"] = "http://169.254.169.254/vv.tif"
    spoilt = made("S1A_IW_4_rtc", "sentinel-1-rtc", ["vv"], **{"proj:code": "EPSG:1"})
    other = made("LC08_L2SP_193023_20240601_02_T1", "landsat-c2-l2", ["nothing"])
    file = items_in(tmp_path / "items.json", [good, slant, hostile, spoilt, other, {"id": "odd"}])
    asked = Query(file, SENTINEL1, *period("2024"))
    found = look(asked)
    assert [scene.id for scene in found.scenes] == ["S1A_IW_1_rtc"]
    assert [text.split()[1].strip(":") for text in found.refused] == [
        "S1A_IW_GRDH_1SDV_2",
        "S1A_IW_3_rtc",
        "S1A_IW_4_rtc",
        "odd",
    ]
    assert find(asked) == list(found.scenes)
    assert (
        look(replace(asked, end=period("2023")[1], start=period("2023")[0])).refused == found.refused[3:]
    )  # of another time
    with pytest.raises(Refused, match="S1A_IW_GRDH_1SDV_2 .*slant"):
        find(replace(asked, scenes=("S1A_IW_1_rtc", "S1A_IW_GRDH_1SDV_2")))
    file = items_in(tmp_path / "items.json", [slant, hostile])
    with pytest.raises(Refused, match="S1A_IW_GRDH_1SDV_2 .*slant.* 1 items more"):
        find(asked)


def test_a_coding_that_contradicts_itself_is_named_by_the_search(tmp_path):
    item = made("S2A_33UUB_20240601_0_L2A", "sentinel-2-l2a", ["red"])
    item["assets"]["red"]["raster:bands"] = [{"scale": 1e-4, "offset": 0.0}]  # where baseline 05.10 means -0.1
    found = look(query(items_in(tmp_path / "items.json", [item])))
    assert not found.scenes
    assert "contradicts itself" in found.refused[0]


def test_the_antimeridian(tmp_path, service):
    """Scenes on either side and across; 1 degree is nothing like 359."""
    items = [
        made("S2A_L2A_west", "sentinel-2-l2a", ["red"], reach=(179.0, 179.5), **{"proj:code": None}),
        made("S2A_L2A_across", "sentinel-2-l2a", ["red"], reach=(179.8, -179.8), **{"proj:code": None}),
        made("S2A_L2A_east", "sentinel-2-l2a", ["red"], reach=(-179.5, -179.0), **{"proj:code": None}),
        made("S2A_L2A_far", "sentinel-2-l2a", ["red"], reach=(0.0, 1.0), **{"proj:code": None}),
    ]
    asked = query(items_in(tmp_path / "items.json", items))

    def found(*bbox):
        return {scene.id.rpartition("_")[2] for scene in find(replace(asked, bbox=bbox))}

    assert found(179.4, 51, -179.4, 53) == {"west", "across", "east"}
    assert found(179.9, 51, -179.9, 53) == {"across"}
    assert found(179.4, 51, 180, 53) == {"west", "across"}
    assert found(-180, 51, 180, 53) == {"west", "across", "east", "far"}
    service.items[:] = items
    assert len(find(replace(asked, catalog=f"{service.address}/stac", bbox=(179.9, 51, -179.9, 53)))) == 1
    boxes = {tuple(search["bbox"]) for search in service.searches}
    assert boxes == {(179.9, 51, 180, 53), (-180, 51, -179.9, 53)}


def test_preferences(tmp_path):
    """Collections of the same acquisitions give way to each other; instruments of HLS do not."""
    same = [
        made(f"S2A_{n}_L2A", name, ["red"])
        for n, name in enumerate(("sentinel-2-c1-l2a", "sentinel-2-l2a", "sentinel-2-l1c"))
    ]
    assert [scene.id for scene in find(query(items_in(tmp_path / "items.json", same[:2])))] == ["S2A_1_L2A"]
    assert [scene.id for scene in find(query(items_in(tmp_path / "items.json", same[:1])))] == ["S2A_0_L2A"]
    both = [made("HLS.S30.T33UUB.1", "HLSS30_2.0", ["B04"]), made("HLS.L30.T33UUB.1", "HLSL30_2.0", ["B04"])]
    scenes = find(Query(items_in(tmp_path / "items.json", both), HLS, *period("2024")))
    assert {scene.level for scene in scenes} == {"S30", "L30"}


def test_two_items_of_one_landsat_scene_are_one(tmp_path):
    name = "LC08_L2SP_193023_20240601_20240610_02_T1"
    halves = [made(f"{name}_ST", "landsat-c2l2-st", ["lwir11"]), made(f"{name}_SR", "landsat-c2l2-sr", ["red"])]
    (scene,) = find(Query(items_in(tmp_path / "items.json", halves), LANDSAT, *period("2024")))
    assert scene.id == f"{name}_SR"
    assert scene.assets.keys() == {"red", "lwir11"}


def test_clouds_are_asked_of_optical_sensors_only(tmp_path):
    items = [made("S1A_IW_1_rtc", "sentinel-1-rtc", ["vv"]), made("S2A_1_L2A", "sentinel-2-l2a", ["red"])]
    asked = query(items_in(tmp_path / "items.json", items), max_cloud=50)
    assert [scene.sensor for scene in find_all(asked, (SENTINEL1, SENTINEL2))] == ["sentinel-1"]


def test_a_folder_of_items(archive, tmp_path):
    assert len(find(query(str(archive)))) == 2  # its catalog
    folder = tmp_path / "mine"
    shutil.copytree(archive / "sentinel-2-l2a", folder, ignore=shutil.ignore_patterns("collection.json", "truth.tif"))
    (folder / "notes.json").write_text("{}")
    (folder / "broken.json").write_text("{")
    assert len(find(query(str(folder)))) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Refused, match="no JSON file below it is an item"):
        find(query(str(empty)))


@pytest.mark.parametrize("href", ["file:///etc/hostname", "../../../../etc/hostname", "http://169.254.169.254/x.json"])
def test_links_of_a_catalog_lead_nowhere_that_an_asset_must_not(tmp_path, href):
    links = [
        {"rel": "child", "href": href},
        {"rel": "item", "href": "./item.json"},
        {"rel": "child", "href": "catalog.json"},
    ]
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "c", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    (tmp_path / "item.json").write_text(json.dumps(made("S2A_1_L2A", "sentinel-2-l2a", ["red"])))
    found = look(query(str(tmp_path / "catalog.json")))
    assert [scene.id for scene in found.scenes] == ["S2A_1_L2A"]
    assert "is not followed" in found.refused[0]


def test_relative_addresses_of_a_copied_item_are_those_of_the_copy(tmp_path):
    """An item that was saved with its files still says where it came from."""
    item = made("S2A_1_L2A", "sentinel-2-l2a", ["red"])
    item["assets"]["red"]["href"] = "./red.tif"
    item["links"] = [{"rel": "self", "href": "https://elsewhere.example.com/item.json"}]
    (tmp_path / "item.json").write_text(json.dumps(item))
    (scene,) = find(query(str(tmp_path / "item.json")))
    assert scene.assets["B04"].address == str(tmp_path / "red.tif")
