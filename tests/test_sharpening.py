"""Networks on the road: adapted to the scene, consistent where asked to be, the same however the work is cut."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import fusecube, specification

from flows.prepare import prepare
from flows.road import planned
from flows.spec import validate
from pipeline.errors import Refused
from pipeline.models.weights import card_path, read_card
from pipeline.report import write_report
from pipeline.summary import Totals, current, digest

COARSE = ("B01", "B05", "B06", "B07", "B8A", "B09", "B11", "B12")


def small(archive, weights, out, **changes):
    """A specification with the small network."""
    return specification(archive, out, model="light", weights=str(weights), adapt=0) | changes


def test_shipped_network_is_nearer_to_the_truth_than_bicubic(archive, tmp_path, go):
    """Taught on simulated land of other seeds among real scenes; the truth is that of the archive's own."""
    network, _ = go(specification(archive, tmp_path / "n.zarr", model="light", adapt=0, chunk=600))
    plain, _ = go(specification(archive, tmp_path / "b.zarr", model="bicubic", chunk=600))
    truth = next(archive.rglob("S2A_33UVT_20240601_SIM_L2A/truth.tif"))
    with rasterio.open(truth) as file:
        true = file.read().astype(float)
    errors = {}
    for name, store in (("network", network), ("plain", plain)):
        cube = xr.open_zarr(store.path).reflectance.isel(time=0)
        places = [list(cube.band.values).index(b) for b in COARSE]
        errors[name] = np.sqrt(np.nanmean((cube.values[places] - true[places]) ** 2))
    assert errors["network"] < 0.7 * errors["plain"]


def test_adapted_weights_are_kept_named_and_used_again(archive, weights, tmp_path, go):
    raw = small(archive, weights, tmp_path / "a.zarr", adapt=12, time="2024-06")
    store, result = go(raw)
    assert result.complete
    cards = {file.stem[:10]: read_card(file) for file in (store.path / "weights").glob("*.json")}
    assert sorted(cards) == ["2024-06-01", "2024-06-06"]
    shipped = read_card(weights).sha256
    for record in current(store):
        card = cards[str(record.day)]
        assert record.weights == card.sha256 != shipped
        assert card.parent == shipped
    page = write_report(store, tmp_path / "a.html").read_text()
    assert cards["2024-06-01"].sha256[:12] in page
    assert "adapted in 12 steps" in page
    _, work = planned(prepare(validate(raw)))
    assert not work.todo, "a run that goes on finds the weights, and with them its chunks"
    other, _ = go(raw | {"out": str(tmp_path / "other.zarr"), "chunk": 600})
    assert digest(other) == digest(store), "adapting is the same for the same scenes, and chunks do not matter"
    grown, again = go(raw | {"time": "2024-05/2024-07"})
    assert again.computed == 0
    assert digest(grown) == digest(store)


def test_growing_the_area_keeps_the_weights(archive, weights, tmp_path, go):
    raw = small(archive, weights, tmp_path / "a.zarr", adapt=12, chunk=120, area={"bbox": [13.555, 52.3, 13.58, 52.32]})
    before, _ = go(raw)
    kept = {record.weights for record in current(before)}
    grown, result = go(raw | {"area": {"bbox": [13.54, 52.293, 13.6, 52.33]}})
    assert {record.weights for record in current(grown)} == kept
    assert result.held > 0


def test_projected_result_gives_back_what_was_measured(archive, weights, tmp_path, go):
    store, _ = go(small(archive, weights, tmp_path / "a.zarr", consistent=True))
    total = Totals.of(current(store))
    assert set(total.consistency) == set(COARSE)
    for band in COARSE:
        assert total.consistency[band].rmse < 0.5e-4, f"{band}: more than half a digital number"
        assert total.consistency[band].rmse < total.before[band].rmse
    shutil.rmtree(tmp_path / "other.zarr", ignore_errors=True)
    other, _ = go(small(archive, weights, tmp_path / "other.zarr", consistent=True, chunk=120))
    assert digest(other) == digest(store)
    assert "before projection" in write_report(store, tmp_path / "a.html").read_text()


def test_bands_of_the_result_may_be_few(archive, weights, tmp_path, go):
    store, result = go(small(archive, weights, tmp_path / "a.zarr", bands=["B11", "B02"]))
    assert result.complete
    assert store.contents.bands == ("B11", "B02")
    whole, _ = go(small(archive, weights, tmp_path / "b.zarr"))
    few, every = (xr.open_zarr(s.path).reflectance for s in (store, whole))
    for band in ("B02", "B11"):
        np.testing.assert_array_equal(few.sel(band=band).values, every.sel(band=band).values)


def test_too_small_a_scene_is_sharpened_with_the_weights_as_they_are(tmp_path, weights, go):
    from pipeline.simulated.archive import simulate

    simulate(tmp_path / "small", size=120, dates=1, clouds=0.0, seed=3)
    store, result = go(small(tmp_path / "small", weights, tmp_path / "a.zarr", adapt=12, chunk=120))
    assert result.complete
    (file,) = (store.path / "weights").glob("*.json")
    card = read_card(file)
    assert all("too small" in lesson["kept"] for lesson in card.training.values())
    assert {record.weights for record in current(store)} == {read_card(weights).sha256}
    assert "too small or too cloudy" in write_report(store, tmp_path / "a.html").read_text()


def test_too_cloudy_a_scene_is_sharpened_with_the_weights_as_they_are(own_archive, weights, tmp_path, go):
    classes = next(own_archive.rglob("S2A_33UVT_20240601_SIM_L2A/SCL.tif"))
    with rasterio.open(classes, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(np.full((1, file.height, file.width), 9, np.uint8))  # cloud of high probability everywhere
    store, result = go(small(own_archive, weights, tmp_path / "a.zarr", adapt=12))
    assert result.complete
    assert {record.weights for record in current(store)} == {read_card(weights).sha256}


def test_a_scene_that_cannot_be_read_is_adapted_to_once_it_can(own_archive, weights, tmp_path, go):
    broken = next(own_archive.rglob("S2A_33UVT_20240601_SIM_L2A/B05.tif"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    raw = small(own_archive, weights, tmp_path / "a.zarr", adapt=12)
    store, result = go(raw)
    assert result.missed
    assert not list((store.path / "weights").glob("*.json"))
    broken.write_bytes(whole)
    store, result = go(raw)
    assert result.complete
    assert {record.weights for record in current(store)} != {read_card(weights).sha256}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "mpifnett"}, "did you mean 'mpifnet'"),
        ({"model": "spr-net", "weights": None}, "without weights for 'spr-net'"),
        ({"model": "mpifnet"}, "are of network 'light', the model is 'mpifnet'"),
        ({"weights": "nowhere.safetensors"}, "there are no weights at nowhere.safetensors"),
        ({"model": "bicubic"}, "has no weights to take or to adapt"),
        ({"grid": {"resolution": 20}}, "gives 10 m, the grid asks for 20 m"),
        ({"gates": "pooled", "model": "mpifnet", "weights": None, "chunk": 300}, "the nearest that fits is 600"),
    ],
)
def test_what_cannot_be_is_refused(archive, weights, tmp_path, changes, said):
    if changes.get("model") == "mpifnet" and "weights" in changes:
        from pipeline.models.weights import shipped

        if shipped("mpifnet") is None:
            pytest.skip("no weights of mpifnet are shipped")
    with pytest.raises(Refused, match=said):
        prepare(validate(small(archive, weights, tmp_path / "a.zarr") | changes))


def test_changed_weights_are_refused_in_a_sentence(archive, weights, tmp_path):
    own = tmp_path / "own.safetensors"
    shutil.copy(card_path(weights), card_path(own))
    own.write_bytes(weights.read_bytes()[:-2] + b"\0\1")
    spec = tmp_path / "a.json"
    spec.write_text(json.dumps(small(archive, own, tmp_path / "a.zarr")))  # JSON is YAML
    said = fusecube("run", spec)
    assert said.returncode == 2
    assert "the weights own.safetensors have changed" in said.stderr
    assert "Traceback" not in said.stderr
    assert not (tmp_path / "a.zarr").exists()


def test_weights_of_the_other_level_are_warned_of(archive, weights, tmp_path, go):
    raw = small(archive, weights, tmp_path / "a.zarr", level="L1C")
    assert any("were trained on L2A, the scenes are L1C" in w for w in prepare(validate(raw)).warnings)
    assert not prepare(validate(raw | {"level": "L2A"})).warnings
    store, _ = go(raw)
    assert "were trained on L2A, the scenes are L1C" in write_report(store, tmp_path / "a.html").read_text()
    spec = tmp_path / "a.json"
    spec.write_text(json.dumps(raw | {"out": str(tmp_path / "b.zarr"), "chunk": 600}))
    said = fusecube("run", spec)
    assert said.returncode == 0
    assert "warning: the weights of light were trained on L2A" in said.stderr


def test_training_and_evaluation_by_the_command_line(archive, tmp_path):
    source = {"catalog": str(archive / "catalog.json"), "level": "L2A", "windows": 1}
    teach = {
        "network": "light",
        "options": {"width": 8, "blocks": 1},
        "sources": [source],
        "steps": {"20m": 20, "60m": 10},
        "epoch": 10,
        "patch": 48,
        "out": str(tmp_path / "own.safetensors"),
    }
    spec = tmp_path / "train.json"
    spec.write_text(json.dumps(teach))
    said = fusecube("train", spec)
    assert said.returncode == 0, said.stderr
    card = read_card(tmp_path / "own.safetensors")
    assert card.levels == ("L2A",)
    assert card.training["20m"]["pixels"] == 20 * 8 * 48**2
    history = (tmp_path / "own.training" / "20m.history.csv").read_text().splitlines()
    assert len(history) == 3  # a heading, two epochs of ten steps

    trial = {
        "sources": [source | {"scenes": ["20240606"]}],
        "methods": [
            "bicubic",
            {"model": "light", "weights": str(tmp_path / "own.safetensors")},
            {"model": "light", "scratch": True, "adapt": 6, "options": {"width": 8, "blocks": 1}, "label": "fresh"},
        ],
        "groups": ["20m"],
        "seeds": 2,
        "out": str(tmp_path / "evaluation"),
    }
    spec = tmp_path / "evaluate.json"
    spec.write_text(json.dumps(trial))
    said = fusecube("evaluate", spec)
    assert said.returncode == 0, said.stderr
    text = (tmp_path / "evaluation" / "tables.md").read_text()
    assert "| bicubic |" in text
    assert "NDVI-RE" in text
    assert "QNR" in text
    assert "±" in text  # two seeds of what was taught
    names = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert {
        "tables.csv",
        "residual-S2A_33UVT_20240606_SIM_L2A-20m.png",
        "spectrum-S2A_33UVT_20240606_SIM_L2A-20m.png",
    } <= names


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_examples_are_valid(kind, tmp_path):
    from flows import evaluate, teach

    said = fusecube("init", kind)
    path = tmp_path / "example.yaml"
    path.write_text(said.stdout)
    assert {"train": teach, "evaluate": evaluate}[kind].load(path)


def test_the_evaluation_of_readme_is_valid():
    from flows import evaluate

    path = Path(__file__).parent / "benchmarks" / "sharpening.yaml"
    assert len(evaluate.load(path).methods) == 10


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("train", {"steps": {"20m": 0}}, "greater than 0"),
        ("train", {"steps": {}}, "steps"),
        ("train", {"options": {"wdith": 8}}, "did you mean 'width'"),
        ("train", {"options": {"width": 0}}, "a whole number from 1 to 1024"),
        ("train", {"patch": 50}, "the nearest is 48"),
        ("train", {"sources": [{"catalog": "x", "time": "yesterday"}]}, "is no date"),
        ("train", {"network": "mpif"}, "did you mean 'mpifnet'"),
        ("evaluate", {"methods": ["light", "light"]}, "two methods are called 'light'"),
        ("evaluate", {"methods": [{"model": "light", "scratch": True}]}, "needs adapt: steps"),
        ("evaluate", {"methods": [{"model": "bicubic", "adapt": 5}]}, "has nothing to teach"),
        ("evaluate", {"methods": [{"model": "light", "consistent": True}], "protocol": "dsen2"}, "needs protocol: mtf"),
    ],
)
def test_what_cannot_be_taught_or_tried_is_refused(kind, changes, said):
    from flows import evaluate, strict, teach

    base = {
        "train": {"network": "light", "sources": [{"catalog": "x"}], "steps": {"20m": 5}, "out": "a.safetensors"},
        "evaluate": {"sources": [{"catalog": "x"}], "methods": ["light"], "out": "a"},
    }[kind]
    model = {"train": teach.TrainSpec, "evaluate": evaluate.EvaluateSpec}[kind]
    strict.validate(model, base)
    with pytest.raises(Refused, match=said):
        strict.validate(model, base | changes)


def test_lazy_result_asks_for_adapted_weights(archive, weights, tmp_path):
    from pipeline.lazily import lazy

    prepared = prepare(validate(small(archive, weights, tmp_path / "a.zarr", adapt=5)))
    with pytest.raises(Refused, match="give adapt: 0"):
        lazy(prepared.job, prepared.scenes)
