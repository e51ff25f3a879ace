"""``fusecube simulate`` lets five sensors watch; ``fusecube search`` prints what a person decides from, and draws it."""

import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml
from conftest import fusecube, specification
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from shapely import wkt
from shapely.geometry import box

from flows.cli import main
from flows.finding import COLOURS, draw_map, footprint, ground, named, pictured, rows
from pipeline.errors import Refused
from pipeline.scene import Asset, Scene
from pipeline.simulated.streams import FIVE

HEADINGS = ["day", "sensor", "platform", "level", "tile", "cloud", "covers", "missing", "scene"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The folder of what ``fusecube simulate`` writes of twelve days; not to be changed."""
    folder = tmp_path_factory.mktemp("watched") / "archive"
    words = ("--size", 60, "--sensors", "all", "--start", "2024-06-01", "--end", "2024-06-12", "--clouds", 0.7)
    found = fusecube("simulate", folder, *words)
    assert found.returncode == 0, found.stderr
    assert f"catalog: {folder / 'catalog.json'}" in found.stdout.replace("\n", "")
    return folder


def item(folder, name):
    (path,) = folder.rglob(f"{name}.json")
    return path


def change(path, act):
    content = json.loads(path.read_text())
    act(content)
    path.write_text(json.dumps(content))


def search(folder, place, *words, **changes):
    """What ``fusecube search`` says, and the rows of its table: lists of cells."""
    raw = specification(folder, place / "a.zarr", time="2024-06-01/2024-06-12", chunk=60) | changes
    (place / "spec.yaml").write_text(yaml.safe_dump(raw))
    found = fusecube("search", place / "spec.yaml", *words)
    lines = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in found.stdout.splitlines()]
    return found, [line for line in lines if line]


def test_simulate_writes_what_five_sensors_see_in_these_days(watched):
    collections = {path.name for path in watched.iterdir() if path.is_dir()}
    assert collections == {"sentinel-1-rtc", "sentinel-2-l2a", "landsat-c2-l2", "modis-09A1-061", "PSScene"}
    # Sentinel-2 on 1, 6, 11 June; radar on 3 and 6; Landsat on 4 and 12; MODIS from days 153 and 161; Doves on 1, 4, 7, 10
    assert len(list(watched.glob("*/*/*.json"))) == 3 + 2 + 2 + 2 + 4
    assert (watched / "changes.geojson").exists()


def test_a_search_lists_every_scene_with_what_one_decides_from(watched, tmp_path):
    found, (headings, *table) = search(watched, tmp_path, "--sensors", "all")
    assert found.returncode == 0, found.stderr
    assert headings == HEADINGS
    assert "13 scenes on 10 days" in found.stdout
    assert [(line[0], line[1]) for line in table] == [
        ("2024-06-01", "planetscope"),
        ("2024-06-01", "sentinel-2"),
        ("2024-06-03", "sentinel-1"),
        ("2024-06-04", "landsat"),
        ("2024-06-04", "planetscope"),
        ("2024-06-05", "modis"),  # the middle of 1 to 8 June is the end of 4 June; the sun is 0.9 h ahead at 13.5° east
        ("2024-06-06", "sentinel-1"),
        ("2024-06-06", "sentinel-2"),
        ("2024-06-07", "planetscope"),
        ("2024-06-10", "planetscope"),
        ("2024-06-11", "sentinel-2"),
        ("2024-06-12", "landsat"),
        ("2024-06-13", "modis"),
    ]
    by_name = {line[-1]: line for line in table}
    assert len(by_name) == 13
    radar = next(line for name, line in by_name.items() if name.startswith("S1A_IW_GRDH_1SDV_20240606"))
    assert radar[2:8] == ["sentinel-1a", "RTC", "orbit 146", "", "100%", ""], "its orbit for a tile"
    optical = by_name["S2A_33UVT_20240606_SIM_L2A"]
    stated = json.loads(item(watched, optical[-1]).read_text())["properties"]["eo:cloud_cover"]
    assert optical[2:8] == ["sentinel-2a", "L2A", "33UVT", f"{stated:.0f} %", "100%", ""]
    clouds = {line[5] for line in table if line[1] != "sentinel-1"}
    assert len(clouds) > 2, "days differ"
    assert by_name["LC09_L2SP_193023_20240612_02_SIM"][2:5] == ["landsat-9", "L2", "193023"]
    assert by_name["MOD09A1.A2024153.h18v03.061.SIM"][2:5] == ["terra", "MOD09A1", "h18v03"]
    assert [p.name for p in tmp_path.iterdir()] == ["spec.yaml"], "nothing is written"


def test_the_share_of_the_area_what_is_missing_and_what_cannot_be_used(watched, tmp_path):
    folder = shutil.copytree(watched, tmp_path / "archive")
    change(item(folder, "S2A_33UVT_20240606_SIM_L2A"), lambda it: it["assets"].pop("swir22"))
    change(item(folder, "20240604_100605_00_sim2"), lambda it: it["assets"].pop("ortho_udm2"))
    for name in ("S2A_33UVT_20240611_SIM_L2A", "LC08_L2SP_193023_20240604_02_SIM"):
        change(item(folder, name), lambda it: it["properties"].update({"eo:cloud_cover": "much"}))
    # an area as large as the scene, moved by half its width to the east, and its middle fifth from north to south
    west, south, east, north = json.loads(item(folder, "S2A_33UVT_20240601_SIM_L2A").read_text())["bbox"]
    middle, height = (west + east) / 2, north - south
    area = {"bbox": [middle, south + 0.4 * height, middle + (east - west), south + 0.6 * height]}
    picture = tmp_path / "maps" / "map.png"
    found, (_, *table) = search(folder, tmp_path, "--sensors", "all", "--map", picture, area=area)
    assert found.returncode == 0, found.stderr
    by_name = {line[-1]: line for line in table}
    for line in table:
        if line[1] in ("sentinel-1", "sentinel-2"):
            assert line[6] == "50%", line
    assert by_name["S2A_33UVT_20240606_SIM_L2A"][7] == "B12"
    assert by_name["S2A_33UVT_20240601_SIM_L2A"][7] == ""
    # the usable data mask has eight layers, of which all but the first are read or fewer: four are named, the rest counted
    assert re.fullmatch(r"UDM2_\w+, UDM2_\w+, UDM2_\w+, UDM2_\w+( and \d more)?", by_name["20240604_100605_00_sim2"][7])
    assert by_name["20240601_093450_00_sim1"][7] == ""
    assert "S2A_33UVT_20240611_SIM_L2A" not in by_name
    assert "LC08_L2SP_193023_20240604_02_SIM" not in by_name
    lines = found.stderr.splitlines()
    for name in ("S2A_33UVT_20240611_SIM_L2A", "LC08_L2SP_193023_20240604_02_SIM"):
        (line,) = [line for line in lines if name in line]
        assert re.search(rf"not used: item {name} .*states a cloud cover of 'much', which is no number", line)
    assert len(lines) == 2
    # the map: nine by seven inches at 120 dots, a colour a sensor, the area in black
    image = imread(picture)[..., :3]
    assert image.shape == (840, 1080, 3)
    for sensor in FIVE:
        assert near(image, COLOURS[sensor]).sum() > 100, sensor
    assert near(image, "black").sum() > 1000
    white = (image > 0.99).all(axis=2)
    assert 0.1 < white.mean() < 0.9


def near(image, colour, alpha=1.0):
    """Where an image has a colour, laid over white."""
    wanted = alpha * np.array(to_rgb(colour)) + (1 - alpha)
    return (np.abs(image - wanted) < 0.012).all(axis=2)


REFUSED = {
    "unknown sensor": ("search a.yaml --sensors landsad", "there is no sensor 'landsad': did you mean 'landsat'?"),
    "a map that is no PNG": ("search a.yaml --map map.xyz", "--map: map.xyz is no name of a picture; write one that ends"),
    "no such day": ("simulate a --sensors modis --start 2024-13-01", "--start, --end: time '2024-13-01' is no date"),
    "no day": ("simulate a --sensors modis --end soon", "--start, --end: time 'soon' is no date"),
    "ends before it begins": ("simulate a --sensors modis --start 2024-07-02", "ends before it begins"),
    "nobody to watch": ("simulate a --sensors lansat", "no 'lansat' among its sensors: did you mean 'landsat'?"),
    "no whole pixels": ("simulate a --sensors modis --size 100", "--size 100 is not a multiple of 6 pixels (60 m)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_before_anything_is_written(case, tmp_path, monkeypatch, capsys):
    words, sentence = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fusecube", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert " ".join(said.err.split()).startswith("fusecube: ")
    assert sentence in " ".join(said.err.split())
    assert not list(tmp_path.iterdir())


# --- rows ---

NOON = datetime(2024, 6, 1, 10, tzinfo=UTC)


def scene(name, bbox, days=0, bands=("B02", "B03"), **fields):
    base = {"sensor": "sentinel-2", "level": "L2A", "crs": "EPSG:32633", "extent": None, "cloud_cover": 20.0}
    assets = {band: Asset(f"{name}/{band}.tif") for band in bands}
    return Scene(name, acquired=NOON + timedelta(days=days), bbox=bbox, assets=assets, **(base | fields))


def test_rows_stand_by_day_and_say_what_of_the_area_they_cover():
    made = [
        scene("later", (15.0, 52.0, 16.0, 53.0), days=1),
        scene("whole", (14.0, 51.0, 17.0, 54.0)),
        # half of a bbox, cut from corner to corner
        scene("half", (15.0, 52.0, 16.0, 53.0), days=2, footprint="POLYGON ((15 52, 16 52, 15 53, 15 52))"),
        scene("elsewhere", (20.0, 52.0, 21.0, 53.0), days=3),
    ]
    found = rows(made, box(15.0, 52.0, 16.0, 53.0))
    assert [row.scene.id for row in found] == ["whole", "later", "half", "elsewhere"]
    assert [row.covers for row in found] == pytest.approx([1, 1, 0.5, 0])
    # of all that they cover, 3 * 3 + 1 * 1 square degrees
    assert [row.covers for row in rows(made, ground(made))] == pytest.approx([0.9, 0.1, 0.05, 0.1])


def test_missing_is_what_others_of_the_sensor_and_level_have():
    place = (15.0, 52.0, 16.0, 53.0)
    made = [
        scene("full", place, bands=("B02", "B03", "SCL")),
        scene("less", place, days=1, bands=("B03",)),
        scene("top of atmosphere", place, days=2, bands=("B02",), level="L1C"),
        scene("radar", place, days=3, bands=("VV",), sensor="sentinel-1", level="RTC"),
    ]
    assert [row.missing for row in rows(made, ground(made))] == [(), ("B02", "SCL"), (), ()]


def test_a_footprint_across_the_antimeridian_has_two_parts():
    split = footprint(scene("fiji", (179.0, -18.0, -178.0, -17.0)))
    assert split.area == pytest.approx(3)
    assert {part.bounds for part in split.geoms} == {(179, -18, 180, -17), (-180, -18, -178, -17)}
    (row,) = rows(
        [scene("fiji", (179.0, -18.0, -178.0, -17.0))],
        wkt.loads("POLYGON ((179 -18, 180 -18, 180 -16, 179 -16, 179 -18))"),
    )
    assert row.covers == pytest.approx(0.5)


def test_sensors_by_name():
    assert named("all") == ("sentinel-1", "sentinel-2", "landsat", "hls", "modis", "planetscope", "planet-fusion")
    assert named(" landsat, modis,") == ("landsat", "modis")
    assert named("") == ()
    with pytest.raises(Refused, match="no sensor 'sentinel2': did you mean 'sentinel-2'"):
        named("modis,sentinel2")


def test_a_map_is_a_png(tmp_path):
    assert pictured(tmp_path / "a.PNG") == tmp_path / "a.PNG"
    for path in (tmp_path, tmp_path / "a", tmp_path / "a.jpg"):
        with pytest.raises(Refused, match="write one that ends in .png"):
            pictured(path)


def test_footprints_are_drawn_where_they_lie(tmp_path):
    west = scene("west", (15.0, 0.0, 16.0, 1.0))
    east = scene("east", (18.0, 0.0, 19.0, 1.0), sensor="landsat", level="L2", bands=("red",))
    area = box(15.0, 3.0, 19.0, 4.0)
    image = imread(draw_map(rows([west, east], area), area, tmp_path / "map.png"))[..., :3]
    outlines = [np.nonzero(near(image, COLOURS[name], alpha=0.9)) for name in ("sentinel-2", "landsat")]
    (_, left), (lines, right) = outlines
    assert min(left.size, right.size) > 100
    assert left.max() < right.min()
    # both a degree wide, two degrees apart, on the equator as high as they are wide
    width = np.ptp(right)
    assert right.min() - left.max() == pytest.approx(2 * width, abs=5)
    assert np.ptp(lines) == pytest.approx(width, abs=5)
    # the area lies two degrees to the north of both, and is as wide as they are together; the axes' frame is black as well
    assert near(image, "black")[: lines.min() - 2 * width - 10, left.min() : right.max()].any(axis=0).mean() > 0.95
