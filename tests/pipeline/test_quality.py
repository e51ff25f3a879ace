"""Metrics against values by hand and against slow, plain formulas; figures are written."""

from math import log10, sqrt

import numpy as np
import pytest

from pipeline.degrade import degrade
from pipeline.figures import residuals, spectra
from pipeline.quality import (
    full_score,
    laplacian,
    power_spectrum,
    score,
    ssim,
    uiqi,
    values,
    vegetation_index,
)


def land(bands=2, edge=24, seed=0):
    """Reflectance in whole digital numbers, 0.1 to 0.5, so that sums in whole units are exact."""
    return np.random.default_rng(seed).integers(1000, 5000, (bands, edge, edge)) / 1e4


def test_an_image_beside_itself():
    found = score([land()], [land()], 2)
    assert found.ssim == pytest.approx(1)
    assert found.uiqi == pytest.approx(1)
    assert found.sam == 0
    assert found.cc == pytest.approx(1)
    assert found.scc == pytest.approx(1)
    assert found.ergas == found.rmse == 0


def test_a_known_error_by_hand():
    # band 0 of mean 0.2 and largest 0.3 misses by 0.01 everywhere, band 1 of mean 0.4 and largest 0.5 by 0.02
    checks = np.indices((16, 16)).sum(axis=0) % 2
    reference = np.stack([0.1 + 0.2 * checks, 0.3 + 0.2 * checks])
    estimate = reference + np.array([0.01, -0.02])[:, None, None]
    found = score([estimate], [reference], 2)
    assert found.rmse == pytest.approx(1e4 * sqrt((0.01**2 + 0.02**2) / 2))
    assert found.psnr == pytest.approx((10 * log10(0.3**2 / 0.01**2) + 10 * log10(0.5**2 / 0.02**2)) / 2)
    assert found.psnr_one == pytest.approx((10 * log10(1 / 0.01**2) + 10 * log10(1 / 0.02**2)) / 2)
    # both bands err by a twentieth of their mean
    assert found.ergas == pytest.approx(100 / 2 * 0.05)
    assert score([estimate], [reference], 6).ergas == pytest.approx(100 / 6 * 0.05)
    assert found.cc == found.scc == pytest.approx(1)
    # pixels (0.1, 0.3) as (0.11, 0.28) and (0.3, 0.5) as (0.31, 0.48), half each
    angles = [
        np.degrees(np.arccos((a * c + b * d) / sqrt((a * a + b * b) * (c * c + d * d))))
        for (a, b), (c, d) in (((0.1, 0.3), (0.11, 0.28)), ((0.3, 0.5), (0.31, 0.48)))
    ]
    assert found.sam == pytest.approx(np.mean(angles), abs=1e-5)


def test_windows_are_merged_not_averaged():
    estimate, reference = land(seed=0), land(seed=1)
    reference[:, :, :8] *= 0.5  # windows with means and largest values of their own
    whole = score([estimate], [reference], 2)
    cut = score([estimate[:, :, :8], estimate[:, :, 8:]], [reference[:, :, :8], reference[:, :, 8:]], 2)
    for name in ("psnr", "psnr_one", "ergas", "sam", "cc", "rmse"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), rel=1e-9), name


def test_window_metrics_are_weighted_by_pixels():
    estimate, reference = land(1, 24, seed=0), land(1, 24, seed=1)
    reference[0, 0, :2] = 0.6  # the largest in both windows, which is SSIM's range
    reference[0, 0, 16] = 0.6
    parts = [(slice(None), slice(None), slice(0, 12)), (slice(None), slice(0, 12), slice(12, 24))]
    one, other = (score([estimate[p]], [reference[p]], 2) for p in parts)
    together = score([estimate[p] for p in parts], [reference[p] for p in parts], 2)
    for name in ("ssim", "uiqi"):  # 24 x 12 pixels and 12 x 12
        a, b = getattr(one, name), getattr(other, name)
        assert a != pytest.approx(b, abs=1e-3)
        assert getattr(together, name) == pytest.approx((2 * a + b) / 3)


def test_the_range_of_ssim_is_the_references_largest_over_all_windows():
    estimate, reference = land(1, 16, seed=0), land(1, 16, seed=1)
    bright = reference.copy()
    bright[0, 3, 3] = 2.0
    found = score([estimate, estimate], [reference, bright], 2)
    a, b = ssim(estimate[0], reference[0], 2.0), ssim(estimate[0], bright[0], 2.0)
    assert found.ssim == pytest.approx((a + b) / 2)
    assert ssim(estimate[0], reference[0], 0.5) != pytest.approx(a, abs=1e-2)


def slow_ssim(x, y, peak):
    """Wang et al. 2004, eq. 13, pixel by pixel, the image mirrored beyond its edge."""
    d = np.arange(-5, 6)
    w = np.exp(-(d[:, None] ** 2 + d**2) / (2 * 1.5**2))
    w /= w.sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    wide = [np.pad(i, 5, mode="reflect") for i in (x, y)]
    found = []
    for r, c in np.ndindex(x.shape):
        a, b = (i[r : r + 11, c : c + 11] for i in wide)
        ma, mb = (w * a).sum(), (w * b).sum()
        va, vb, cov = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
        found.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(found)


def test_ssim_agrees_with_its_formula():
    x, y = land(2, 16)
    other = 0.5 * x + 0.5 * y
    for peak in (0.5, 2.0):
        assert ssim(x, other, peak) == pytest.approx(slow_ssim(x, other, peak), abs=1e-9)


def slow_uiqi(x, y):
    """Wang and Bovik 2002, eq. 1, window by window."""
    found = []
    for r in range(x.shape[0] - 7):
        for c in range(x.shape[1] - 7):
            a, b = (i[r : r + 8, c : c + 8].ravel() for i in (x, y))
            ma, mb = a.mean(), b.mean()
            cov = ((a - ma) * (b - mb)).mean()
            found.append(4 * cov * ma * mb / ((a.var() + b.var()) * (ma**2 + mb**2)))
    return np.mean(found)


def test_uiqi_agrees_with_its_formula():
    x, y = land(2, 20)
    for other in (y, x + 0.1, 2 * x, 0.7 * x + 0.3 * y, 1 - x):
        assert uiqi(x, other) == pytest.approx(slow_uiqi(x, other), rel=1e-9)


def test_uiqi_by_hand():
    x = land(1)[0]
    # twice the image: 2 1 2 / (1 + 4) of the means times 2 2 / (1 + 4) of the spreads
    assert uiqi(x, 2 * x) == pytest.approx(0.8 * 0.8)
    flat = np.full((10, 10), 0.2)
    assert uiqi(flat, flat) == 1
    assert uiqi(flat, 2 * flat) == pytest.approx(0.8)
    assert uiqi(0 * flat, 0 * flat) == 1


def test_laplacian_by_hand():
    image = np.full((6, 7), 0.3)
    np.testing.assert_allclose(laplacian(image), np.zeros((4, 5)), atol=1e-15)
    image[2, 3] += 1
    expected = np.zeros((4, 5))
    expected[0:3, 1:4] = -1  # around the pixel, which is (1, 2) without the border
    expected[1, 2] = 8
    np.testing.assert_allclose(laplacian(image), expected, atol=1e-14)


def test_spatial_correlation_is_of_the_detail():
    reference = land(1, 16)
    east = np.arange(16) / 10
    # a slope has no detail
    found = score([reference + east], [reference], 2)
    assert found.scc == pytest.approx(1)
    assert found.cc < 0.5
    assert score([1 - reference], [reference], 2).scc == pytest.approx(-1)


def test_red_edge_vegetation_index_by_hand():
    bands = np.array([[[0.1, 0.0, 0.3]], [[9.0, 9.0, 9.0]], [[0.3, 0.0, 0.1]]], np.float32)
    found = vegetation_index(bands, red_edge=0, near_infrared=2)
    # (0.3 - 0.1) / 0.4; nothing; (0.1 - 0.3) / 0.4
    assert found.shape == (1, 1, 3)
    np.testing.assert_allclose(found[0, 0], [0.5, np.nan, -0.5], rtol=1e-6)


def test_gaps_are_left_out():
    reference = land(2, 24)
    estimate = reference + 0.01
    clean = score([estimate], [reference], 2)
    estimate[0, 3, 4] = np.nan
    estimate[1, 5, 5] = 7
    reference[1, 5, 5] = np.nan
    found = values(score([estimate], [reference], 2))
    assert all(np.isfinite(v) for v in found.values())
    assert found["rmse"] == pytest.approx(100)
    assert found["psnr_one"] == pytest.approx(40)
    assert found["psnr"] == pytest.approx(clean.psnr, abs=0.01)
    # a gap is the same in both, so it can only look better
    for name in ("ssim", "uiqi", "cc", "scc"):
        assert found[name] == pytest.approx(getattr(clean, name), abs=0.01)
    assert found["sam"] == pytest.approx(clean.sam, rel=0.02)


@pytest.fixture
def pan():
    """A fine band and what is seen of it at half the sampling, by a sensor with MTF 0.3."""
    band = np.random.default_rng(3).uniform(0.1, 0.4, (48, 48))
    low = degrade(band[None], [0.3], 2)[0]
    return band, np.where(np.isnan(low), 0.2, low)


def test_without_distortion_every_part_is_zero(pan):
    band, low = pan
    found = full_score([np.stack([band, band])], [np.stack([low, low])], [band[None]], [0.3, 0.3, 0.3])
    assert found.d_lambda == pytest.approx(0, abs=1e-12)
    assert found.d_s == pytest.approx(0, abs=1e-12)
    assert found.consistency == pytest.approx(0, abs=1e-9)
    assert found.qnr == pytest.approx(1)


def test_distortions_by_hand(pan):
    band, low = pan
    # a band twice as bright as it was measured: UIQI with the other, and with the fine one, is 0.64 where it was 1
    found = full_score([np.stack([band, 2 * band])], [np.stack([low, low])], [band[None]], [0.3, 0.3, 0.3])
    assert found.d_lambda == pytest.approx(0.36)
    assert found.d_s == pytest.approx((0 + 0.36) / 2)
    assert found.qnr == pytest.approx(0.64 * 0.82)
    inner = low[2:-2, 2:-2]
    assert found.consistency == pytest.approx(1e4 * sqrt((inner**2).mean() / 2))


def test_distortions_are_beside_what_was_measured(pan):
    band, low = pan
    # measured one twice as bright as the other and as the fine one, and given alike: 1 instead of 0.64
    found = full_score([np.stack([band, band])], [np.stack([low, 2 * low])], [band[None]], [0.3, 0.3, 0.3])
    assert found.d_lambda == pytest.approx(0.36)
    assert found.d_s == pytest.approx((0 + 0.36) / 2)


def test_every_band_is_held_against_its_own_optics(pan):
    band, _ = pan
    mtf = [0.22, 0.38, 0.3]
    seen = np.nan_to_num(degrade(np.stack([band, band]), mtf[:2], 2), nan=0.2)
    found = full_score([np.stack([band, band])], [seen], [band[None]], mtf)
    assert found.consistency == pytest.approx(0, abs=1e-9)
    low = degrade(band[None], [0.3], 2)[0]
    inner = (slice(2, -2),) * 2
    expected = np.mean([abs(1 - uiqi(s[inner], low[inner])) for s in seen])
    assert found.d_s == pytest.approx(expected)
    assert expected > 1e-3


def test_full_scores_are_means_over_windows_and_take_the_mean_of_the_fine_bands(pan):
    band, low = pan
    good, bad = (np.stack([band, band]), np.stack([band, 2 * band]))
    seen, fine = np.stack([low, low]), np.stack([0.5 * band, 1.5 * band])
    found = full_score([good, bad], [seen, seen], [fine, fine], [0.3, 0.3, 0.3])
    assert found.d_lambda == pytest.approx(0.18)
    assert found.d_s == pytest.approx(0.09)


def test_a_blurred_result_is_inconsistent(pan):
    band, low = pan
    flat = np.full_like(band, band.mean())
    found = full_score([np.stack([flat, flat])], [np.stack([low, low])], [band[None]], [0.3, 0.3, 0.3])
    assert found.consistency == pytest.approx(1e4 * np.sqrt(((low - band.mean())[2:-2, 2:-2] ** 2).mean()), rel=1e-6)
    assert found.d_s > 0.5


@pytest.mark.parametrize("axis", [0, 1])
def test_spectrum_of_a_wave_peaks_at_its_frequency(axis):
    edge, cycles = 64, 11
    wave = np.sin(2 * np.pi * cycles * np.arange(edge) / edge)
    image = 0.3 + 0.1 * (wave if axis else wave[:, None]) * np.ones((edge, edge))
    power = power_spectrum(image)
    assert power.shape == (edge // 2,)
    assert power.argmax() == cycles
    assert power[:8].max() < 1e-3 * power[cycles]  # not even the mean


def test_spectrum_is_a_mean_over_circles():
    image = np.random.default_rng(0).standard_normal((64, 64))
    power = power_spectrum(image)
    # white noise has the same power at every frequency: 64² pixels times the mean square of the window, (3/8)²
    assert power[4:].mean() == pytest.approx(64**2 * (3 / 8) ** 2, rel=0.1)
    assert power[16:].mean() == pytest.approx(power[4:16].mean(), rel=0.3)
    assert power_spectrum(image[:, :40]).shape == (20,)


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_figures_are_written(tmp_path):
    reference = land(2, 24)
    reference[0, 4:6, 7] = np.nan
    estimates = {f"method {i}": land(2, 24, seed=i + 1) for i in range(5)}
    residuals(tmp_path / "residuals.png", "Residuals", estimates, reference)
    spectra(tmp_path / "spectra.png", "Spectra", estimates, reference, spacing=20)
    assert is_png(tmp_path / "residuals.png")
    assert is_png(tmp_path / "spectra.png")


def test_figures_leave_out_pixels_without_a_reference(tmp_path):
    reference = land(2, 24)
    reference[:, 4:6, 7] = np.nan
    residuals(tmp_path / "residuals.png", "Residuals", {"one": land(2, 24, seed=1)}, reference)
    assert is_png(tmp_path / "residuals.png")
