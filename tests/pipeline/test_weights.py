"""Weights and their cards: what is written comes back, and nothing else is taken for it."""

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from pipeline.errors import Refused
from pipeline.models.architectures import ARCHITECTURES
from pipeline.models.registry import build, sharpening, with_weights
from pipeline.models.weights import SHIPPED, Card, card_path, load, read_card, save, shipped, write_card
from pipeline.sensors import SENTINEL2

UP_TO_20 = tuple(band.name for band in SENTINEL2.bands if band.resolution <= 20)
ALL_BANDS = tuple(band.name for band in SENTINEL2.bands)
SMALL = {"width": 8, "blocks": 1}
CARD = Card(
    network="light",
    sensor="sentinel-2",
    sha256="",
    levels=("L1C", "L2A"),
    scenes=("here", "there"),
    training={"20m": {"steps": 7, "rate": 0.5}},
    scores={"20m": {"validation": 0.25}},
    options=SMALL,
    parent="ab",
    software="0.1.0",
    licence="Apache-2.0",
)


def small(bands=UP_TO_20, **changes):
    return sharpening("light", SENTINEL2, bands, precision="float32", **changes)


def taught(seed=0):
    """A small network with random weights."""
    torch.manual_seed(seed)
    return build(small(network=SMALL))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "mine.safetensors"
    save(path, taught().state_dict(), CARD)
    return path


def test_tensors_come_back_as_they_are_in_half_precision(file):
    tensors = load(file, read_card(file).sha256)
    wanted = taught().state_dict()
    assert tensors.keys() == wanted.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, wanted[name].half().float())
    assert file.stat().st_size < 2 * sum(t.numel() for t in wanted.values()) + 10_000  # two bytes a weight
    assert sorted(p.name for p in file.parent.iterdir()) == ["mine.json", "mine.safetensors"]  # no draft is left


def test_the_card_comes_back_with_the_hash_of_the_file(file):
    card = read_card(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert card == replace(CARD, sha256=digest)
    assert card.groups == ("20m",)
    fields = json.loads(card_path(file).read_text())
    assert fields["sha256"] == digest
    assert fields.keys() == Card.__dataclass_fields__.keys()
    assert save(file, taught().state_dict(), CARD) == card  # the same tensors, the same bytes


def test_options_in_the_card_rebuild_the_network_that_was_taught(file):
    model = with_weights(small(), file)
    assert model.option("network") == (("blocks", 1), ("width", 8))
    assert (model.weights, model.weights_file) == (read_card(file).sha256, file)
    assert model.option("precision") == "float32"
    network = build(model)
    for name, tensor in taught().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.half().float())


def test_a_changed_byte_is_refused(file):
    model = with_weights(small(), file)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Refused, match=r"weights mine\.safetensors have changed.*put the right file back, or train"):
        build(model)
    file.unlink()
    with pytest.raises(Refused, match=r"mine\.safetensors are not on this machine"):
        build(model)


def test_weights_without_a_card_are_refused(file):
    card_path(file).unlink()
    with pytest.raises(Refused, match=r"mine\.safetensors has no card \(mine\.json\) beside it; copy both"):
        with_weights(small(), file)
    file.unlink()
    with pytest.raises(Refused, match=r"there are no weights at .*mine\.safetensors; 'fusecube train' makes some"):
        with_weights(small(), file)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"levels": [], "scenes": []}', '{"levels": 1, "scenes": []}'])
def test_what_is_no_card_is_refused(file, text):
    card_path(file).write_text(text)
    with pytest.raises(Refused, match=r"mine\.json is no card of weights .*copy it again"):
        read_card(file)


def test_weights_of_another_network_are_refused(file):
    other = sharpening("dsen2", SENTINEL2, UP_TO_20)
    with pytest.raises(Refused, match=r"are of network 'light', the model is 'dsen2'; set model: light"):
        with_weights(other, file)


def test_weights_without_a_group_that_is_wanted_are_refused(file):
    with pytest.raises(Refused, match=r"are for sentinel-2, 20m; model 'light' needs sentinel-2, 20m and 60m; train"):
        with_weights(small(ALL_BANDS), file)
    with pytest.raises(Refused, match="needs sentinel-2, 60m"):
        with_weights(small(("B09",)), file)
    with_weights(small(("B05", "B02")), file)


def test_weights_for_another_sensor_are_refused(file):
    write_card(file, replace(read_card(file), sensor="landsat-8"))
    with pytest.raises(Refused, match="are for landsat-8"):
        with_weights(small(), file)


@pytest.mark.parametrize("options", [{}, SMALL | {"width": 9}, SMALL | {"blocks": 2}])
def test_tensors_of_another_shape_or_number_are_refused(file, options):
    write_card(file, replace(read_card(file), options=options))
    with pytest.raises(Refused, match=r"weights mine\.safetensors do not fit model 'light' \(at networks\.20m\."):
        build(with_weights(small(), file))


def test_a_file_that_has_more_groups_than_are_wanted_fits(tmp_path):
    torch.manual_seed(0)
    both = build(small(ALL_BANDS, network=SMALL))
    path = tmp_path / "both.safetensors"
    save(path, both.state_dict(), replace(CARD, training={"20m": {}, "60m": {}}))
    network = build(with_weights(small(), path))
    assert list(network.networks) == ["20m"]
    name = "networks.20m.tail.weight"
    assert torch.equal(network.state_dict()[name], both.state_dict()[name].half().float())


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_loading_never_unpickles(file, tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"x": Trap(sprung)}, file)
    write_card(file, replace(CARD, sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    model = with_weights(small(), file)
    with pytest.raises(SafetensorError):
        build(model)
    assert not sprung.exists()
    torch.load(BytesIO(file.read_bytes()), weights_only=False)
    assert sprung.exists()  # the trap is one


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="big is not finite in half precision"):
        save(path, {"big": torch.tensor([70000.0])}, CARD)  # the largest is 65504
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_weights_has_none_shipped():
    assert shipped("no-such-network") is None


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda p: p.stem)
def test_what_is_shipped_is_what_its_card_says(path):
    card = read_card(path)
    assert card.network == path.stem
    assert card.network in ARCHITECTURES
    assert shipped(card.network) == path
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(card.levels) <= {"L1C", "L2A"}
    assert card.licence
    assert card.scenes
    # scenes that evaluations are made on were never seen
    assert not [s for s in card.scenes if "t33uub" in s.lower() or "iceland" in s.lower()]
    bands = [b.name for b in SENTINEL2.bands if f"{b.resolution}m" in ("10m", *card.groups)]
    network = build(with_weights(sharpening(card.network, SENTINEL2, bands), path))
    assert set(network.networks) == set(card.groups)


def test_something_is_shipped():
    assert list(SHIPPED.glob("*.safetensors"))
