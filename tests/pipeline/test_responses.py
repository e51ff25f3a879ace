"""Spectral responses: the digest, the platforms' names, weights between bands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import pipeline.sensors.responses as responses
from pipeline.errors import Refused
from pipeline.sensors.responses import GRID, best, digest, known, planetscope, platforms, response, weights

SHIPPED = json.loads(Path(responses.__file__).with_name("responses.json").read_text())
SENTINEL2 = {f"B{n}": f"B{n:02}" for n in range(1, 13)} | {"B8A": "B8A"}
OLI = dict(
    zip(
        (f"B{n}" for n in range(1, 10)),
        ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "pan", "cirrus"),
        strict=True,
    )
)
ETM = {"Blue": "blue", "Green": "green", "Red": "red", "NIR": "nir08"} | {
    "SWIR1": "swir16",
    "SWIR2": "swir22",
    "PAN": "pan",
}
MODIS = {f"B{n}": f"B{n:02}" for n in range(1, 8)}
DOVE = {"1 Blue": "blue", "2 Green": "green", "3 Red": "red", "4 NIR": "nir"}
SUPERDOVE = dict(
    zip(
        ("1 Coastal-Blue", "2 Blue", "3 Green_i", "4 Green_ii", "5 Yellow", "6 Red", "7 Red-edge", "8 NIR"),
        ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
        strict=True,
    )
)
FILES = {
    "sentinel-2a": ("sentinel2a_msi_v4", SENTINEL2),
    "sentinel-2b": ("sentinel2b_msi_v4", SENTINEL2),
    "sentinel-2c": ("sentinel2c_msi_v4", SENTINEL2),
    "landsat-7": ("landsat7_etm", ETM),
    "landsat-8": ("landsat8_oli", OLI),
    "landsat-9": ("landsat9_oli", OLI),
    "terra": ("modis_terra", MODIS),
    "aqua": ("modis_aqua", MODIS),
    "planetscope-ps2-0d": ("planetscope_0d05", DOVE),
    "planetscope-ps2-0e": ("planetscope_0e", DOVE),
    "planetscope-ps2-0f": ("planetscope_0f", DOVE),
    "planetscope-ps2.sd": ("planetscope_22", DOVE),
    "planetscope-psb.sd": ("planetscope_superdove_8band", SUPERDOVE),
}
"""Platform to the file of its curves, and the names of the file's columns here."""


def curves(folder: Path) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The published curves by platform."""
    found = {}
    for platform, (name, columns) in FILES.items():
        with (folder / f"{name}.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        numbers = np.array(rows, float)
        found[platform] = (numbers[:, 0], {new: numbers[:, head.index(old)] for old, new in columns.items()})
    return found


def box(left: int, right: int) -> np.ndarray:
    """A response of 1 from ``left`` up to and without ``right`` nm, on ``GRID``."""
    return ((left <= GRID) & (right > GRID)).astype(float)


def test_a_boxcar_and_a_triangle_have_the_numbers_of_their_geometry():
    # Boxcar of samples 500 to 549: mean of those wavelengths 524.5; half its height is crossed half way between 499
    # and 500 and between 549 and 550, 50 nm apart; two draws lie 50 / 3 = 16.7 apart on average.
    # Triangle over 500 to 600: middle 550; half its height lies at 525 and 575; F = x² / 5000 up to 50, symmetric, so two
    # draws lie 4 ∫ F (1 - F) dx = 4 (50³ / 15000 - 50⁵ / (5 * 5000²)) = 4 (8.3333 - 2.5) = 23.3 apart.
    wavelengths = np.arange(480.0, 621.0)
    triangle = np.clip(1 - abs(wavelengths - 550) / 50, 0, None)
    made = digest({"x": (GRID, {"box": 0.7 * box(500, 550)}), "y": (wavelengths, {"triangle": triangle})})
    assert made["bands"]["x"]["box"] == [524.5, 50.0, 16.7]
    assert made["bands"]["y"]["triangle"] == [550.0, 50.0, 23.3]
    # A table in steps of 10 nm describes the same triangle, whose corners it holds.
    coarse = digest({"y": (wavelengths[::10], {"triangle": triangle[::10]})})
    assert coarse["bands"]["y"]["triangle"] == [550.0, 50.0, 23.3]


def test_a_curve_is_nothing_where_its_table_has_a_gap():
    # The table stops at 549 with the response at its full height and goes on at 900 with nothing.
    wavelengths = np.r_[490:550, 900:910].astype(float)
    curve = np.where((wavelengths >= 500) & (wavelengths < 550), 1.0, 0.0)
    assert digest({"x": (wavelengths, {"box": curve})})["bands"]["x"]["box"] == [524.5, 50.0, 16.7]


def test_overlaps_are_cosines_and_distances():
    # Boxcars of 50 nm that share 25: 25 / sqrt(50 * 50) = 0.5. F_a - F_b rises to 0.5 over 25 nm, keeps it for 25 nm and
    # falls over 25 nm: 25 * 0.25 (1/3 + 1 + 1/3) = 10.42.
    made = digest(
        {"x": (GRID, {"a": box(500, 550), "far": box(900, 950)}), "y": (GRID, {"b": box(525, 575)})},
    )
    assert list(made["overlaps"]["x y"]) == ["a"]
    cosine, distance = made["overlaps"]["x y"]["a"]["b"]
    assert cosine == 0.5
    assert distance == pytest.approx(10.42, abs=0.01)
    # A boxcar of 20 nm in the middle of one of 80: 20 / sqrt(20 * 80) = 0.5.
    within = digest({"x": (GRID, {"a": box(500, 520)}), "y": (GRID, {"b": box(470, 550)})})
    assert within["overlaps"]["x y"]["a"]["b"][0] == 0.5


def test_the_best_of_two_by_hand():
    # Squared distances 1 and 2 to the target and 4 between them: w = (1 + (2 - 1) / 4) / 2 = 0.625 makes w² - 0.5 * 2 w (1 - w)
    # + 2 (1 - w)² least. Where one lies further off than both are apart, the other has all.
    assert best(np.array([[0, 4], [4, 0.0]]), np.array([1, 2.0])) == pytest.approx([0.625, 0.375], abs=2e-3)
    assert best(np.array([[0, 4], [4, 0.0]]), np.array([1, 6.0])).tolist() == [1.0, 0.0]
    assert best(np.zeros((1, 1)), np.zeros(1)).tolist() == [1.0]


def fitted(target: np.ndarray, *sources: np.ndarray) -> list[float]:
    """``best`` of curves on ``GRID``."""
    goal, *sums = (np.cumsum(curve) / curve.sum() for curve in (target, *sources))
    between = np.array([[((a - b) ** 2).sum() for b in sums] for a in sums])
    return best(between, np.array([((a - goal) ** 2).sum() for a in sums])).tolist()


def test_weights_of_boxcars_are_those_of_their_geometry():
    # Two halves make a whole, half each; parts of 40 and 20 nm make 60 nm by their widths; neighbours on both sides of a
    # band, or over its edges, half each.
    assert fitted(box(500, 540), box(500, 520), box(520, 540)) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert fitted(box(500, 560), box(500, 540), box(540, 560)) == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    assert fitted(box(510, 530), box(500, 520), box(520, 540)) == pytest.approx([0.5, 0.5], abs=1e-6)
    # What lies elsewhere gets nothing, however wide.
    assert fitted(box(500, 520), box(500, 522), box(900, 1200)) == [1.0, 0.0]
    # A narrow band at the target's very centre is not blended with a broad one to be as wide.
    assert fitted(box(500, 528), box(504, 524), box(450, 560))[0] > 0.9


@given(st.lists(st.tuples(st.integers(400, 2400), st.integers(5, 120)), min_size=2, max_size=8, unique=True))
def test_weights_are_shares(edges: list[tuple[int, int]]):
    curves = [box(left, left + width) for left, width in edges]
    shares = fitted(curves[0], *curves[1:])
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    assert all(share == 0 or share > 0.019 for share in shares)
    # No band alone is nearer, nor are all of them alike.
    goal, *sums = (np.cumsum(curve) / curve.sum() for curve in curves)

    def error(weight: np.ndarray) -> float:
        return float(((goal - np.tensordot(weight, np.stack(sums), 1)) ** 2).sum())

    others = [*np.eye(len(sums)), np.full(len(sums), 1 / len(sums))]
    assert error(np.array(shares)) <= min(error(weight) for weight in others) * 1.1 + 0.1


@pytest.mark.parametrize("source", platforms())
def test_shipped_weights_are_shares_and_a_platform_makes_itself(source: str):
    for target in platforms():
        for band, shares in weights(source, target).items():
            assert response(target, band)
            assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
            assert all(0.019 < share <= 1 for share in shares.values())
            assert all(response(source, name) for name in shares)
            assert "pan" not in shares or source == target
    assert {band: dict(shares) for band, shares in weights(source, source).items()} == {
        band: {band: pytest.approx(1, abs=1e-6)} for band in weights(source, source)
    }
    assert len(weights(source, source)) == len(SHIPPED["bands"][source])


def test_weights_pair_the_bands_one_expects():
    made = weights("Sentinel-2A", "LANDSAT_8")
    assert made["green"] == {"B03": 1.0}
    assert made["swir22"] == {"B12": 1.0}
    assert made["nir08"]["B8A"] > 0.9  # of the same width; the broad B08 is no help
    assert set(weights("sentinel-2b", "planetscope-psb.sd")["green_i"]) == {"B02", "B03"}
    # Nothing in the visible or near infrared makes a short-wave band, and nothing of Landsat 8 a red edge one.
    assert not {"B11", "B12"} & set(weights("planetscope-psb.sd", "sentinel-2a"))
    assert not {"B05", "B06", "B07", "B09"} & set(weights("landsat-8", "sentinel-2a"))
    assert "B05" not in weights("sentinel-2b", "terra")  # 1240 nm, which Sentinel-2 leaves out


def test_names_of_platforms():
    assert known("Sentinel-2A") == "sentinel-2a"
    assert known("LANDSAT_8") == "landsat-8"
    assert planetscope("PS2", "0c46") == "planetscope-ps2-0d"
    assert planetscope("ps2", "101c") == "planetscope-ps2-0f"
    assert known("aqua,terra") == "aqua"
    assert planetscope("", "0e3a") == "planetscope-ps2-0e"
    assert planetscope("PSB.SD", "2498") == "planetscope-psb.sd"
    assert {planetscope("PS2", group) for group in ("0d05", "0e19", "0f4c")} | {planetscope("PS2.SD")} <= set(
        platforms()
    )
    with pytest.raises(Refused, match="satellite '2277' with instrument 'PS3'"):
        planetscope("PS3", "2277")
    with pytest.raises(Refused, match="satellite '2498' with instrument ''"):
        planetscope("", "2498")
    with pytest.raises(Refused, match="did you mean 'sentinel-2a'"):
        known("sentinel-2")
    with pytest.raises(Refused, match="no response of band 'nir' of landsat-8 .* did you mean 'nir08'"):
        response("landsat-8", "nir")
    with pytest.raises(Refused, match="landsat-5"):
        weights("landsat-5", "landsat-8")


def test_the_digest_is_that_of_the_published_curves(real_data: Path):
    assert digest(curves(real_data / "srf")) == SHIPPED


def test_centres_are_those_stated_beside_the_curves(real_data: Path):
    """Centres as sums over the rows of each table, from its README; to 0.1 nm, which the cut of a 10 nm table may shift."""
    stated = {}
    for line in (real_data / "srf" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].endswith(".csv"):
            stated[cells[1][:-4]] = cells[3]
    compared = 0
    for platform, (name, columns) in FILES.items():
        for old, new in columns.items():
            center = float(stated[name].split(f"{old}:")[1].split()[0])
            assert response(platform, new).center == pytest.approx(center, abs=0.11), (platform, new)
            compared += 1
    assert compared == 3 * 13 + 7 + 2 * 9 + 2 * 7 + 4 * 4 + 8


def spectra(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (k,) and reflectance (k, pixels) of EnMAP's bands over Potsdam that were measured in every tile."""
    wavelengths = np.loadtxt(folder / "enmap_potsdam_srf.csv", delimiter=",", skiprows=1)[:, 0]
    tiles = [rasterio.open(file).read().reshape(len(wavelengths), -1) for file in sorted(folder.glob("images/*.tif"))]
    values = np.concatenate(tiles, 1).astype(float)
    whole = (values != -32768).all(1)
    return wavelengths[whole], values[whole] / 10000


# Root mean square errors in reflectance of bands made by weights, and of the source band of the nearest centre.
@pytest.mark.parametrize(
    ("source", "target", "band", "alone", "most"),
    [
        ("sentinel-2a", "landsat-8", "pan", "B03", 0.0015),
        ("sentinel-2a", "planetscope-psb.sd", "green_i", "B03", 0.0025),
        ("sentinel-2a", "terra", "B02", "B8A", 0.0015),
        ("landsat-7", "sentinel-2a", "B02", "blue", 0.0015),
        ("sentinel-2b", "planetscope-ps2-0d", "red", "B04", 0.0015),
    ],
)
def test_weights_make_bands_of_real_spectra(
    real_data: Path, source: str, target: str, band: str, alone: str, most: float
):
    wavelengths, values = spectra(real_data / "enmap-potsdam")
    tables = curves(real_data / "srf")

    def sensed(platform: str, name: str) -> np.ndarray:
        at, responses_ = tables[platform]
        shares = np.interp(wavelengths, at, responses_[name], 0, 0) * np.gradient(wavelengths)
        return shares @ values / shares.sum()

    truth = sensed(target, band)
    made = sum(share * sensed(source, name) for name, share in weights(source, target)[band].items())
    error, without = (np.sqrt(np.mean((each - truth) ** 2)) for each in (made, sensed(source, alone)))
    assert error < most
    assert error < without / 1.8
