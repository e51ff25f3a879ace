"""Scenes from a STAC API, a static catalog over HTTP, and an item collection; a service that falters is asked again."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pystac
import pytest

from flows.spec import period
from pipeline.catalog import Query, find, tile_of
from pipeline.errors import Refused
from pipeline.sensors import SENTINEL2


@dataclass
class Service:
    """A STAC API on loopback over the items of an archive, two a page, that fails as often as it is told."""

    items: list[dict]
    address: str = ""
    failures: int = 0
    searches: list[dict] = field(default_factory=list)


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
        if parts.path == "/stac":
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


def test_a_service_that_stays_down_is_refused_in_one_sentence(service):
    service.failures = 1000
    with pytest.raises(Refused, match="there is no usable STAC catalog") as refusal:
        find(query(f"{service.address}/stac", level="L2A"))
    assert "\n" not in str(refusal.value)


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
        with pytest.raises(Refused, match="STAC catalog at"):
            find(query(str(path)))


def test_tile_is_read_from_the_item():
    base = {"geometry": None, "bbox": None, "properties": {}}
    start, _ = period("2024")
    for name, tile in (("S2B_33TWL_20230810_0_L2A", "33TWL"), ("T33UUB", "33UUB"), ("thailand", None)):
        item = pystac.Item(id=name, datetime=start, **base)
        assert tile_of(item) == tile
