"""The command line: what it leaves, what it refuses, and in which words."""

import json

import pytest
import yaml
from conftest import fusecube, specification

from flows.prepare import FLOWS, prepare
from flows.road import planned
from flows.spec import load, validate
from pipeline.errors import Refused

COMMANDS = ("demo", "simulate", "init", "search", "plan", "run", "status", "report", "digest", "export")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    found = fusecube(command, "--help")
    assert found.returncode == 0
    assert len(found.stdout.splitlines()) > 5


def test_demo_leaves_a_store_a_report_and_a_picture(tmp_path):
    found = fusecube("demo", "--out", tmp_path / "demo", "--size", 300)
    assert found.returncode == 0, found.stderr
    page = (tmp_path / "demo" / "demo.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # before, after, quick look: nothing is fetched
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    status = fusecube("status", tmp_path / "demo" / "demo.zarr")
    assert status.returncode == 0, status.stdout
    one = fusecube("digest", tmp_path / "demo" / "demo.zarr").stdout.strip()
    assert len(one) == 64
    again = fusecube("demo", "--out", tmp_path / "demo", "--size", 300)
    assert "nothing to compute" in again.stdout


@pytest.mark.parametrize("name", FLOWS)
def test_every_shipped_specification_is_valid(name, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(fusecube("init", name).stdout)
    assert load(path).flow == name


def test_search_and_plan_write_nothing(archive, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr", time="2024-06")))
    found = fusecube("search", path)
    assert found.returncode == 0, found.stderr
    assert "S2A_33UVT_20240601_SIM_L2A" in found.stdout
    assert "2024-06-06" in found.stdout
    found = fusecube("plan", path)
    assert found.returncode == 0, found.stderr
    assert "8 to do, 0 done" in found.stdout
    assert "600 x 600 px at 10 m in EPSG:32633" in found.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["spec.yaml"]


REFUSALS = {
    "unknown key": (["chunks=300"], "unknown key 'chunks': did you mean 'chunk'?"),
    "unknown nested key": (["grid.resolutoin=10"], "unknown key 'grid.resolutoin': did you mean 'resolution'?"),
    "unknown flow": (["flow=sharpn"], "there is no flow 'sharpn': did you mean 'sharpen'?"),
    "unknown model": (["model=bicubik"], "there is no model 'bicubik': did you mean 'bicubic'?"),
    "untrained model": (["model=untrained-residual"], "there is no model 'untrained-residual'"),
    "area outside": (["area={bbox: [1, 2, 3, 4]}"], "the area lies outside every scene"),
    "tile outside": (["area={tile: 10TEM}"], "no scene of sentinel-2 at level L2A in tile 10TEM"),
    "no such scene": (["area={scene: S2A_33UVT_20240601_SIM_L2B}"], "did you mean 'S2A_33UVT_20240601_SIM_L2A'?"),
    "time without scene": (["time=2019"], "no scene of sentinel-2 in 2019; the area has scenes from 2024-06-01 to 2024-06-06"),
    "no date": (["time=yesterday"], "time 'yesterday' is no date"),
    "band that items lack": (["bands=[B02, B10]"], "sentinel-2 has no band 'B10'"),
    "chunk off the lattice": (["chunk=500"], "off the lattice, whose steps are 6 pixels (60 m); the nearest that fits is 498"),
    "no catalog": (["catalog=/nowhere/catalog.json"], "there is no usable STAC catalog at /nowhere/catalog.json"),
    "nothing answers": (["catalog=http://127.0.0.1:9/stac"], "nothing answers there"),
    "coarser grid than the model's": (["model=bicubic", "grid.crs=EPSG:4326"], "is not a projected CRS in metres"),
    "unknown flag": (["mask=[clouds]"], "there is no flag 'clouds': did you mean 'cloud'?"),
    "bad bbox": (["area={bbox: [13.6, 52.3, 13.5, 52.2]}"], "west < east"),
    "bad set": (["chunk"], "write key=value"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_before_anything_is_written(case, archive, tmp_path):
    changes, sentence = REFUSALS[case]
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr")))
    found = fusecube("run", path, *(word for change in changes for word in ("--set", change)))
    assert found.returncode == 2
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["spec.yaml"]


def test_a_band_that_no_item_lists_is_refused(own_archive, tmp_path):
    for item in own_archive.rglob("S2A_*.json"):
        content = json.loads(item.read_text())
        del content["assets"]["swir22"]
        item.write_text(json.dumps(content))
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(own_archive, tmp_path / "a.zarr")))
    found = fusecube("run", path)
    assert found.returncode == 2
    assert "model 'bicubic' needs band B12 of sentinel-2, which none of its 1 scenes has" in found.stderr


def test_a_store_of_another_specification_is_refused_and_left_alone(archive, tmp_path, go):
    raw = specification(archive, tmp_path / "a.zarr")
    go(raw)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a.zarr").rglob("*")}
    for change, word in (
        ({"model": "identity"}, "model"),
        ({"chunk": 600}, "chunk (there 300)"),
        ({"mask": ["cloud"]}, "mask"),
    ):
        with pytest.raises(Refused, match="holds another specification") as refusal:
            go(raw | change)
        assert word in str(refusal.value)
    with pytest.raises(Refused, match="may grow, not shrink"):
        go(raw | {"area": {"bbox": [13.55, 52.3, 13.56, 52.31]}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(Refused, match="is not a store of fusecube"):
        go(raw | {"out": str(tmp_path / "other")})
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a.zarr").rglob("*")} == before


def test_published_specification_carries_no_credentials(tmp_path):
    raw = specification(tmp_path, tmp_path / "a.zarr", catalog="https://me:secret@stac.example.com/v1?token=secret")
    kept = str(validate(raw).published())
    assert "secret" not in kept
    assert "https://stac.example.com/v1" in kept
    assert str(tmp_path) not in kept


MORE_REFUSALS = {
    "band named twice": (["bands=[B04, B04]"], "bands: a band is named twice"),
    "resolution that does not nest": (["grid.resolution=15"], "cannot bring 20 m"),
    "mask without classification": (["level=L1C", "mask=[cloud]"], "needs the scene classification"),
    "short bbox": (["area={bbox: [1, 2, 3]}"], "'area.bbox.3' is missing"),
    "half an anchor": (["grid.anchor=[1]"], "'grid.anchor.1' is missing"),
    "unknown encoding": (["encoding=uint17"], "there is no encoding 'uint17': did you mean 'uint16'?"),
    "broken value": (["chunk=["], "the value is not YAML"),
    "nowhere to write": (["out=/dev/null/a.zarr"], "no store can be made at /dev/null/a.zarr"),
    "too cloudy": (["time=2024-06-06", "max_cloud=1"], "no scene with 1 % clouds or less"),
}


@pytest.mark.parametrize("case", MORE_REFUSALS)
def test_refused_as_well(case, archive, tmp_path):
    changes, sentence = MORE_REFUSALS[case]
    raw = yaml.safe_dump(specification(archive, tmp_path / "a.zarr"))
    (tmp_path / "spec.yaml").write_text(raw)
    with pytest.raises(Refused) as refusal:
        planned(prepare(load(tmp_path / "spec.yaml", tuple(changes))))
    assert sentence in str(refusal.value)
    assert not (tmp_path / "a.zarr").exists()


def test_an_item_without_baseline_is_refused_before_anything_is_written(own_archive, tmp_path, go):
    for item in own_archive.rglob("S2A_*.json"):
        content = json.loads(item.read_text())
        content["properties"]["s2:processing_baseline"] = None
        for asset in content["assets"].values():
            asset.pop("raster:bands", None)  # which state the offset as well
        item.write_text(json.dumps(content))
    with pytest.raises(Refused, match="has no readable s2:processing_baseline"):
        go(specification(own_archive, tmp_path / "a.zarr"))
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"eo:cloud_cover": "much"', "states a cloud cover of 'much', which is no number"),
        ('"proj:code": "EPSG:32633+5773"', "which is no projection on the ground"),
    ],
)
def test_an_item_with_a_field_that_cannot_be_used_is_named(own_archive, tmp_path, go, field, reason):
    for item in own_archive.rglob("S2A_*L2A.json"):
        content = json.loads(item.read_text())
        content["properties"] |= json.loads("{" + field + "}")
        item.write_text(json.dumps(content))
    with pytest.raises(Refused, match=rf"item S2A_33UVT_\d+_SIM_L2A .*{reason}"):
        go(specification(own_archive, tmp_path / "a.zarr"))


def test_geojson_of_any_make(tmp_path):
    from flows.area import outline
    from flows.spec import Area

    ring = [[13.55, 52.3, 7], [13.6, 52.3, 7], [13.57, 52.33, 7], [13.55, 52.3, 7]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}},
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [0, 0]}},
        {"type": "Feature", "properties": {}, "geometry": None},
    ]
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert outline(Area(geojson=path)).boundingbox.bbox == (13.55, 52.3, 13.6, 52.33)
    for content, words in (
        ({"type": "Point", "coordinates": [0, 0]}, "holds no polygon"),
        (
            {"type": "Polygon", "coordinates": [[[4e5, 5e6], [4.1e5, 5e6], [4.1e5, 5.1e6], [4e5, 5e6]]]},
            "is not in degrees",
        ),
        (["nothing"], "cannot be read as GeoJSON"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(Refused, match=words):
            outline(Area(geojson=path))


def test_report_and_picture_of_a_narrow_area(archive, tmp_path):
    raw = specification(
        archive, tmp_path / "a.zarr", area={"bbox": [13.54, 52.31, 13.6, 52.3101]}, grid={"resolution": 60}
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw | {"model": "identity"}))
    found = fusecube("run", tmp_path / "spec.yaml")
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "a.html").exists()
    assert (tmp_path / "a.png").exists()
