"""Blocks of the models: cubic upsampling on the global grid, the order of bands."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.models.layers import BandOrder, GridResize, keys_weights, ratios
from pipeline.models.registry import identity
from pipeline.sensors import SENTINEL2

RATIOS = (2, 3, 6)
REACH = 2
"""Coarse pixels that the interpolation reaches."""


def resized(image, ratio):
    """(rows, cols) or (bands, rows, cols) through the layer."""
    bands = image if image.ndim == 3 else image[None]
    out = GridResize(ratio)(torch.from_numpy(bands)[None])[0].numpy()
    return out if image.ndim == 3 else out[0]


def inner(image, ratio):
    edge = REACH * ratio
    return image[..., edge:-edge, edge:-edge]


@given(st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_weights_reproduce_quadratics(t):
    weights, taps = np.array(keys_weights(t)), np.array([-1, 0, 1, 2])
    for power in range(3):
        assert (weights * taps**power).sum() == pytest.approx(t**power, abs=1e-14)


def test_weights_by_hand():
    # halfway between two pixels a cubic convolution with a = -1/2 gives -1/16, 9/16, 9/16, -1/16
    assert keys_weights(0.5) == [-0.0625, 0.5625, 0.5625, -0.0625]
    assert keys_weights(0) == [0, 1, 0, 0]


@pytest.mark.parametrize("ratio", RATIOS)
def test_same_as_pillows_bicubic_away_from_the_border(ratio):
    image = np.random.default_rng(ratio).random((13, 17), np.float32)
    expected = np.asarray(Image.fromarray(image).resize((17 * ratio, 13 * ratio), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(inner(resized(image, ratio), ratio), inner(expected, ratio), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_reproduces_quadratics(ratio):
    def surface(y, x):
        return 0.3 + 0.2 * x - 0.7 * y + 0.05 * x * y + 0.11 * x**2 - 0.02 * y**2

    fine = (np.arange(12 * ratio) + 0.5) / ratio - 0.5  # centres of fine pixels, in coarse ones
    coarse = np.arange(12.0)
    out = resized(surface(coarse[:, None], coarse), ratio)
    np.testing.assert_allclose(inner(out, ratio), inner(surface(fine[:, None], fine), ratio), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_beyond_the_edge_the_last_pixel_goes_on(ratio):
    image = np.random.default_rng(0).random((6, 7))
    extended = resized(np.pad(image, REACH, mode="edge"), ratio)
    np.testing.assert_array_equal(resized(image, ratio), inner(extended, ratio))


spans = st.tuples(st.integers(0, 25), st.integers(5, 30)).filter(lambda s: s[1] - s[0] >= 5)


@given(st.sampled_from(RATIOS), spans, spans)
@settings(max_examples=60, deadline=None)
def test_a_window_gives_the_bits_of_the_whole(ratio, rows, cols):
    image = np.random.default_rng(1).random((3, 30, 30), np.float32)
    whole = resized(image, ratio)[:, rows[0] * ratio : rows[1] * ratio, cols[0] * ratio : cols[1] * ratio]
    window = resized(image[:, rows[0] : rows[1], cols[0] : cols[1]], ratio)
    assert window.dtype == np.float32
    np.testing.assert_array_equal(inner(window, ratio), inner(whole, ratio))


def test_ratio_one_is_the_input_itself():
    x = torch.rand(1, 2, 4, 5)
    assert GridResize(1)(x) is x


def test_bands_come_in_the_order_of_the_output():
    # inputs by resolution, 10 m first: (B04, B02), (B8A, B05), (B01); each tensor holds the number of its band
    bands = ["B8A", "B04", "B01", "B05", "B02"]
    model = identity(SENTINEL2, bands, 10)
    assert [wanted.bands for wanted in model.inputs] == [("B04", "B02"), ("B8A", "B05"), ("B01",)]
    assert ratios(model) == [1, 2, 6]
    numbers = {name: float(index) for index, name in enumerate(bands)}
    tensors = []
    for wanted in model.inputs:
        planes = torch.tensor([numbers[name] for name in wanted.bands])
        tensors.append(planes.reshape(1, -1, 1, 1).expand(2, -1, 3, 4))
    out = BandOrder(model)(tensors)
    assert out.shape == (2, 5, 3, 4)
    assert out[1, :, 2, 3].tolist() == [0, 1, 2, 3, 4]
