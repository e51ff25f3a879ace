"""Quantities as stored numbers and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.encoding import ENCODINGS, encoding
from pipeline.errors import Refused
from pipeline.radiometry import decode
from pipeline.sensors import Coding

UINT16, FLOAT32 = ENCODINGS["uint16"], ENCODINGS["float32"]
HALF = 0.5e-4
"""Half a unit of the stored numbers."""

quick = settings(max_examples=80, deadline=None)


def within(width):
    """Values that the stored range holds, and NaN."""
    low, high = (float(np.nextafter(np.float32(v), np.float32(1))) for v in (-0.0999, 6.4535))
    held = st.floats(low, high, width=width) | st.just(float("nan"))
    return arrays(f"float{width}", array_shapes(min_dims=1, max_dims=3), elements=held)


# single precision: two roundings at 65535 units, 2^-9 of a unit each at most, and the value's own
@pytest.mark.parametrize(("width", "slack"), [(64, 1e-12), (32, 1e-6)])
@given(data=st.data())
@quick
def test_a_value_comes_back_within_half_a_unit(width, slack, data):
    values = data.draw(within(width))
    before = values.copy()
    numbers, beyond = UINT16.encode(values)
    assert numbers.dtype == np.uint16
    assert not beyond.any()
    np.testing.assert_array_equal(values, before)  # the argument is left alone
    back = UINT16.decode(numbers)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    known = ~np.isnan(values)
    assert (np.abs(back - values.astype(np.float64))[known] <= HALF + slack).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_beyond_the_range_are_clipped_and_reported(dtype):
    # stored = value x 10000 + 1000, held from 1 to 65535, 0 being the fill
    values = np.array([-0.1, -5, -0.0999, 0, 6.4535, 6.4536, 100, np.nan], dtype)
    numbers, beyond = UINT16.encode(values)
    assert numbers.tolist() == [1, 1, 1, 1000, 65535, 65535, 65535, 0]
    assert beyond.tolist() == [True, True, False, False, False, True, True, False]


@given(st.floats(-1e6, 1e6, width=32).filter(lambda v: v < -0.09996 or v > 6.45356))
@quick
def test_whatever_is_beyond_is_reported_at_the_nearer_end(value):
    numbers, beyond = UINT16.encode(np.array([value], np.float32))
    assert beyond.all()
    assert numbers[0] == (1 if value < 0 else 65535)


# 28000 is the brightest number that products hold before saturation; the store goes on to 65535 units
@pytest.mark.parametrize(("offset", "shift"), [(0.0, 1000), (-0.1, 0)])
def test_every_digital_number_of_sentinel2_survives_exactly(offset, shift):
    numbers = np.arange(1, 65535 - shift + 1).astype(np.uint16)
    assert numbers.max() >= 28000
    stored, beyond = UINT16.encode(decode(numbers, Coding(1e-4, offset, 0, 65535)))
    assert not beyond.any()
    np.testing.assert_array_equal(stored, numbers + shift)
    back = np.rint((UINT16.decode(stored) - offset) / 1e-4)
    np.testing.assert_array_equal(back, numbers)


def test_fill_is_the_only_stored_number_without_a_value():
    numbers = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(np.isnan(UINT16.decode(numbers)), numbers == 0)


@given(arrays("float32", (3, 4), elements=st.floats(width=32, allow_nan=True, allow_infinity=False)))
@quick
def test_float32_keeps_the_bits(values):
    numbers, beyond = FLOAT32.encode(values)
    assert numbers.dtype == np.float32
    assert not beyond.any()
    np.testing.assert_array_equal(FLOAT32.decode(numbers), values.astype(np.float64))


def test_encodings_by_name():
    assert encoding("uint16") is UINT16
    with pytest.raises(Refused, match="did you mean 'uint16'"):
        encoding("uint61")
