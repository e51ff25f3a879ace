"""A network where it runs: what is refused, batches that fit, and the same result on any device."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.device import BATCH, Equipment, Runner, even, fastest
from pipeline.errors import Refused
from pipeline.inference import infer
from pipeline.models.registry import bicubic, build, sharpening, untrained_residual
from pipeline.sensors import SENTINEL2

BANDS = ("B05", "B02", "B09", "B08", "B12")
MODEL = replace(untrained_residual(SENTINEL2, BANDS, 10, width=8, blocks=2), tile=36)
HALO = 18
CORE = 84
"""Nine tiles."""

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
without = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def window(model=MODEL, core=CORE, halo=HALO):
    rng = np.random.default_rng(0)
    edge = core + 2 * halo
    return [rng.random((len(i.bands), *[edge * 10 // i.resolution] * 2), np.float32) for i in model.inputs]


class Small(nn.Module):
    """A network around another that has no memory for more than some tiles."""

    def __init__(self, within, most, error=torch.cuda.OutOfMemoryError):
        super().__init__()
        self.within, self.most, self.error = within, most, error
        self.seen = []

    def forward(self, *inputs):
        self.seen.append(len(inputs[0]))
        if len(inputs[0]) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes.\nno trace")
        return self.within(*inputs)


def test_equipment_is_plain_data():
    one = Equipment("cuda", 2, 3, 4, True, (("GPU", 1.0),))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  its own
    assert hash(one) == hash(replace(one))
    code = "import pipeline.device, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@without
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(
        Refused, match="a GPU was asked for, and this worker has none that torch can use; see .*nvidia-smi"
    ):
        Runner(build(MODEL), MODEL, Equipment("cuda"))


@without
def test_teaching_takes_what_there_is():
    assert fastest() == torch.device("cpu")


def test_on_a_cpu_tiles_are_computed_one_by_one_in_32_bits_unless_asked():
    network = Small(build(MODEL), most=9)
    found = Runner(network, MODEL, Equipment()).apply(window(), HALO)
    assert network.seen == [1] * 9
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, infer(build(MODEL), MODEL, window(), HALO))


@pytest.mark.parametrize("batch", [2, 4, 9])
def test_batches_asked_for_have_that_shape_and_the_same_result(batch):
    network = Small(build(MODEL), most=9)
    found = Runner(network, MODEL, Equipment(batch=batch)).apply(window(), HALO)
    assert network.seen == [batch] * -(-9 // batch)  # the last is filled up
    np.testing.assert_allclose(found, infer(build(MODEL), MODEL, window(), HALO), rtol=0, atol=1e-6)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(error):
    network = Small(build(MODEL), most=3, error=error)
    runner = Runner(network, MODEL, Equipment(batch=8))
    found = runner.apply(window(), HALO)
    assert network.seen == [8, 4, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(found, infer(build(MODEL), MODEL, window(), HALO), rtol=0, atol=1e-6)
    network.seen.clear()
    runner.apply(window(), HALO)
    assert network.seen == [2] * 5
    network.most = 1
    runner.apply(window(), HALO)
    assert runner.batch == 1


def test_memory_that_ran_out_midway_leaves_no_trace_in_the_result():
    class Midway(Small):
        def forward(self, *inputs):
            self.most = 1 if len(self.seen) >= 2 else 9
            return super().forward(*inputs)

    found = Runner(Midway(build(MODEL), most=9), MODEL, Equipment(batch=2)).apply(window(), HALO)
    np.testing.assert_allclose(found, infer(build(MODEL), MODEL, window(), HALO), rtol=0, atol=1e-6)


def test_one_tile_that_does_not_fit_is_named_with_its_size_and_the_memory():
    runner = Runner(Small(build(MODEL), most=0), MODEL, Equipment(batch=4))
    with pytest.raises(MemoryError) as told:
        runner.apply(window(), HALO)
    said = str(told.value)
    assert "one tile of model 'untrained-residual', 36 px and 18 px around it, does not fit the memory" in said
    assert "you tried to allocate 80 bytes)" in said
    assert "\n" not in said


def test_other_errors_of_a_network_are_not_taken_for_memory():
    class Broken(nn.Module):
        def forward(self, *inputs):
            raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        Runner(Broken(), MODEL, Equipment(batch=4)).apply(window(), HALO)


def test_batches_are_filled_alike():
    for tiles in range(1, 40):
        for most in range(1, 20):
            batch = even(tiles, most)
            assert batch <= most
            assert -(-tiles // batch) == -(-tiles // most)  # no more batches
            assert batch == 1 or -(-tiles // (batch - 1)) > -(-tiles // most)  # and none smaller would do


def test_inputs_are_left_alone_and_may_be_read_only():
    inputs = window()
    for x in inputs:
        x.flags.writeable = False
    before = [x.copy() for x in inputs]
    Runner(build(MODEL), MODEL, Equipment()).apply(inputs, HALO)
    for x, y in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_network_that_cannot_be_compiled_is_refused(monkeypatch):
    def compiled(network, dynamic):
        def call(*inputs):
            raise RuntimeError("no C compiler was found\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(Refused, match=r"torch.compile does not work on this worker \(no C compiler was found\); ask"):
        Runner(build(MODEL), MODEL, Equipment(compiled=True))


def test_a_network_is_compiled_where_asked_alone(monkeypatch):
    calls = []

    def compiled(network, dynamic):
        assert dynamic is False
        calls.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compiled)
    Runner(build(MODEL), MODEL, Equipment())
    assert not calls
    Runner(build(MODEL), MODEL, Equipment(compiled=True)).apply(window(), HALO)
    assert len(calls) == 1


def test_a_cpu_has_no_memory_of_a_gpu():
    assert Runner(build(MODEL), MODEL, Equipment()).gpu_memory == 0


TOLERANCE = 1e-3
"""Reflectance: ``bfloat16`` keeps 8 bits of the features, whose sum is the correction to the interpolation (1e-4 on a CPU)."""


@gpu
@pytest.mark.parametrize("gates", ["fixed", "pooled"])
def test_a_gpu_gives_the_result_of_a_cpu(gates):
    torch.manual_seed(0)
    model = sharpening("mpifnet", SENTINEL2, BANDS, gates=gates, network={"width": 8})
    model = replace(model, tile=60, halo=model.reach + (60 if gates == "pooled" else 0))
    halo = -(-model.halo // 6) * 6
    network, inputs = build(model), window(model, 120, halo)
    slow = Runner(network, model, Equipment()).apply(inputs, halo)
    runner = Runner(network, model, Equipment("cuda"))
    np.testing.assert_allclose(runner.apply(inputs, halo), slow, rtol=0, atol=TOLERANCE)
    assert runner.gpu_memory > 0


@gpu
def test_a_gpu_interpolates_in_32_bits():
    model = replace(bicubic(SENTINEL2, BANDS, 10), tile=36)
    slow = Runner(build(model), model, Equipment()).apply(window(model), HALO)
    fast = Runner(build(model), model, Equipment("cuda")).apply(window(model), HALO)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-6)


@gpu
def test_chunks_on_a_gpu_do_not_see_each_others_pinned_memory():
    runner = Runner(build(MODEL), MODEL, Equipment("cuda"))
    many = [[x + np.float32(i) for x in window()] for i in range(6)]
    found = [runner.apply(inputs, HALO) for inputs in many]  # all are held: none may be overwritten by the next
    for inputs, one in zip(many, found, strict=True):
        np.testing.assert_allclose(one, runner.apply(inputs, HALO), rtol=0, atol=1e-5)


@gpu
def test_batches_on_a_gpu_are_halved_until_they_fit():
    network = Small(build(MODEL), most=2)
    runner = Runner(network, MODEL, Equipment("cuda"))
    runner.apply(window(), HALO)
    assert network.seen[0] == min(9, BATCH)
    assert runner.batch == 2
