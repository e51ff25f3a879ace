"""Spectral responses: the digest, the platforms' names, weights between bands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

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
    # and 500 and between 549 and 550, 50 nm apart; its energy is that of a boxcar of 50 nm.
    # Triangle over 500 to 600: middle 550; half its height lies at 525 and 575; area 50, energy 2 * 50 / 3: 50² / 33.3 = 75.
    wavelengths = np.arange(480.0, 621.0)
    triangle = np.clip(1 - abs(wavelengths - 550) / 50, 0, None)
    made = digest({"x": (GRID, {"box": 0.7 * box(500, 550)}), "y": (wavelengths, {"triangle": triangle})})
    assert made["bands"]["x"]["box"] == [524.5, 50.0, 50.0]
    assert made["bands"]["y"]["triangle"] == [550.0, 50.0, 75.0]
    # A table in steps of 10 nm describes the same triangle, whose corners it holds.
    coarse = digest({"y": (wavelengths[::10], {"triangle": triangle[::10]})})
    assert coarse["bands"]["y"]["triangle"] == [550.0, 50.0, 75.0]


def test_a_curve_is_nothing_where_its_table_has_a_gap():
    # The table stops at 549 with the response at its full height and goes on at 900 with nothing.
    wavelengths = np.r_[490:550, 900:910].astype(float)
    curve = np.where((wavelengths >= 500) & (wavelengths < 550), 1.0, 0.0)
    assert digest({"x": (wavelengths, {"box": curve})})["bands"]["x"]["box"] == [524.5, 50.0, 50.0]


def test_overlaps_are_cosines():
    # Boxcars of 50 nm that share 25: 25 / sqrt(50 * 50) = 0.5. A boxcar of 20 within one of 80: 20 / sqrt(1600) = 0.5.
    made = digest(
        {"x": (GRID, {"a": box(500, 550), "far": box(900, 950)}), "y": (GRID, {"b": box(525, 575)})},
    )
    assert made["overlaps"]["x y"] == {"a": {"b": 0.5}}
    within = digest({"x": (GRID, {"a": box(500, 520)}), "y": (GRID, {"b": box(480, 560)})})
    assert within["overlaps"]["x y"] == {"a": {"b": 0.5}}


def fitted(target: np.ndarray, *sources: np.ndarray) -> list[float] | None:
    """``best`` of curves on ``GRID``."""
    target, *unit = (curve / curve.sum() for curve in (target, *sources))
    gram = np.array([[a @ b for b in unit] for a in unit])
    found = best(gram, np.array([a @ target for a in unit]), float(target @ target))
    return None if found is None else found.tolist()


def test_weights_of_boxcars_are_those_of_their_geometry():
    # Two halves make a whole, half each; and thirds of a target that one source covers twice as far as the other.
    assert fitted(box(500, 540), box(500, 520), box(520, 540)) == pytest.approx([0.5, 0.5])
    assert fitted(box(500, 530), box(500, 520), box(520, 530)) == pytest.approx([2 / 3, 1 / 3])
    # A very wide band elsewhere gets nothing, though it would shorten the fit were the sum held at 1.
    assert fitted(box(500, 520), box(510, 530), box(900, 1200)) == pytest.approx([1.0, 0.0])
    # A band alone in covering the target gets all, whatever its width, up to the width that FIDELITY (0.3) allows:
    # cosine sqrt(20 / 200) = 0.316 and sqrt(20 / 260) = 0.277.
    assert fitted(box(500, 520), box(400, 600)) == pytest.approx([1.0])
    assert fitted(box(500, 520), box(400, 660)) is None
    assert fitted(box(500, 520), box(700, 720)) is None


@given(st.lists(st.tuples(st.integers(400, 2400), st.integers(5, 120)), min_size=2, max_size=8, unique=True))
def test_weights_are_shares(edges: list[tuple[int, int]]):
    curves = [box(left, left + width) + 0.01 * box(left - 9, left + width + 9) for left, width in edges]
    shares = fitted(curves[0], *curves[1:])
    if shares is None:
        return
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    for share, curve in zip(shares, curves[1:], strict=True):
        assert share == 0 or share > 0.019
        assert share == 0 or curve @ curves[0] > 0


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
    assert set(made["nir08"]) == {"B08", "B8A"}
    assert made["nir08"]["B8A"] > 0.7
    # Nothing in the visible or near infrared makes a short-wave band, and nothing of Landsat 8 a red edge one.
    assert not {"B11", "B12"} & set(weights("planetscope-psb.sd", "sentinel-2a"))
    assert not {"B05", "B06", "B07", "B09"} & set(weights("landsat-8", "sentinel-2a"))
    assert "B05" not in weights("sentinel-2b", "terra")  # 1240 nm, which Sentinel-2 leaves out


def test_names_of_platforms():
    assert known("Sentinel-2A") == "sentinel-2a"
    assert known("LANDSAT_8") == "landsat-8"
    assert planetscope("PS2", "0c46") == "planetscope-ps2-0d"
    assert planetscope("ps2", "101c") == "planetscope-ps2-0f"
    assert planetscope("PSB.SD", "2498") == "planetscope-psb.sd"
    assert {planetscope("PS2", group) for group in ("0d05", "0e19", "0f4c")} | {planetscope("PS2.SD")} <= set(
        platforms()
    )
    with pytest.raises(Refused, match="satellite '2277' with instrument 'PS3'"):
        planetscope("PS3", "2277")
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


@pytest.mark.parametrize(
    ("source", "target"),
    [("sentinel-2a", "landsat-8"), ("planetscope-psb.sd", "sentinel-2b"), ("sentinel-2a", "planetscope-ps2-0d")],
)
def test_weights_are_the_fit_of_the_curves_themselves(real_data: Path, source: str, target: str):
    """The digest's thousandths cost no more than a few hundredths of a weight."""
    found = curves(real_data / "srf")
    grid = np.arange(300.0, 2600.0)

    def unit(platform: str) -> dict[str, np.ndarray]:
        wavelengths, tables = found[platform]
        sampled = {band: np.zeros(grid.size) for band in tables}
        for band, table in tables.items():
            fine = np.interp(grid, wavelengths, table, 0, 0)
            near = np.abs(wavelengths[:, None] - grid).min(0) <= 5  # a gap in the table is far from every row of it
            sampled[band] = fine * near / (fine * near).sum()
        return sampled

    sources = {band: curve for band, curve in unit(source).items() if band != "pan"}
    for band, shares in weights(source, target).items():
        fit, _ = nnls(np.stack(list(sources.values()), 1), unit(target)[band])
        for name, share in zip(sources, fit / fit.sum(), strict=True):
            assert shares.get(name, 0) == pytest.approx(share, abs=0.03), (band, name)
