"""What work costs, by hand; what cannot fit is refused with the chunk that would; what earlier runs took is used."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction

import pytest

from pipeline import price as priced
from pipeline.calibration import calibrated
from pipeline.dates import Choice
from pipeline.encoding import encoding
from pipeline.errors import Refused
from pipeline.harmonise.steps import Harmony
from pipeline.job import Job, tasks
from pipeline.lattice import Box, Lattice, Layout
from pipeline.ledger import Ledger
from pipeline.models.registry import bicubic, identity
from pipeline.needs import needs_of, readings, registering
from pipeline.plan import plan
from pipeline.price import Limits, WorkerMemory, Workers, check, fitting, memory, price
from pipeline.record import Record
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENTINEL2

LEFT, TOP = 399960.0, 5799960.0
LATTICE = Lattice("EPSG:32633", Fraction(10), Fraction(60))
BANDS = ("B02", "B11")  # one of 10 m, one of 20 m


def scene(name: str = "A", edge: float = 109800.0, cloud: float = 0.0, platform: str = "sentinel-2a") -> Scene:
    extent = (LEFT, TOP - edge, LEFT + edge, TOP)
    assets = {band.name: Asset(f"{name}-{band.name}.tif") for band in SENTINEL2.bands} | {"SCL": Asset(f"{name}.tif")}
    when = datetime(2024, 6, 1, 10, tzinfo=UTC)
    degrees = (13.5, 52.3, 13.6, 52.4)
    return Scene(
        name, "sentinel-2", "L2A", when, degrees, "EPSG:32633", extent, assets, cloud, platform, "33UUU", processed="1"
    )


def job_of(chunk: int = 1200, pixels: int = 2400, model=None) -> Job:
    """A square of so many pixels at the corner of the scene."""
    area = LATTICE.box((LEFT, TOP - pixels * 10, LEFT + pixels * 10, TOP))
    model = model or identity(SENTINEL2, BANDS, 10)
    return Job("sharpen", model, Layout.over(LATTICE, area, chunk // 6), "L2A", encoding("uint16"))


def test_what_a_chunk_reads_and_writes_by_hand():
    job = job_of()  # identity has no halo: windows are cores of 1200, 600 and (classification, 20 m) 600 pixels
    needs = needs_of(job, next(iter(tasks(job, [scene()]))))
    assert needs.pixels == 1200**2
    assert needs.written == 1200**2 * (2 * 2 + 2)  # two bands and the flags, two bytes each
    assert needs.needed == 2 * 1200**2 + 2 * 600**2 + 1 * 600**2  # two bytes a number, one a class
    # 1200 pixels meet at most 3 blocks of 1024 (1 + 1024 + 175), 600 pixels 2
    assert needs.decoded == 2 * (3 * 1024) ** 2 + 2 * (2 * 1024) ** 2 + 1 * (2 * 1024) ** 2
    assert needs.asked == (2 + 9) + (2 + 4) + (2 + 4)  # a file's header and table, then its blocks
    assert needs.blocks == pytest.approx((1200 / 1024) ** 2 + 2 * (600 / 1024) ** 2)


def test_a_chunk_that_no_scene_touches_writes_nothing():
    far = replace(next(iter(tasks(job_of(), [scene()]))), given=tuple((Choice(None, (None,)),) for _ in range(2)))
    assert needs_of(job_of(), far).written == 0


def test_blocks_are_no_more_than_a_file_has():
    job = job_of(chunk=600, pixels=600)
    needs = needs_of(job, next(iter(tasks(job, [scene(edge=6000.0)]))))
    assert needs.decoded == needs.needed == 2 * 600**2 + 2 * 300**2 + 300**2  # files of one block, no longer than that
    assert needs.asked == 3 * (2 + 1)


def test_bands_that_harmonisation_adds_are_read_and_counted():
    # B08 as Sentinel-2C sees it is made from B08 and B8A of Sentinel-2A, both read on the grid of 10 m
    job = replace(job_of(model=identity(SENTINEL2, ("B08",), 10)), harmony=Harmony(platform="sentinel-2c"))
    task = next(iter(tasks(job, [scene()])))
    assert next(iter(readings(job, task))).bands == ("B08", "B8A")
    plain = needs_of(replace(job, harmony=Harmony()), task)
    assert needs_of(job, task).needed == plain.needed + 2 * 1200**2


def test_holding_a_scene_against_its_reference_reads_red_and_classes_of_both():
    one = registering([(scene("A", edge=6000.0), scene("B", edge=6000.0))])
    two = registering([(scene("A", edge=6000.0), scene("B", edge=6000.0))] * 2)
    # whole cells of 256 pixels, half over one another, in 600 pixels of red: at 0, 128, 256; so 9, each three bytes a pixel
    from pipeline.harmonise.coregister import CELL

    places = len(range(0, 600 - CELL + 1, CELL // 2)) ** 2
    assert one.needed == 2 * places * CELL**2 * (2 + 1)
    assert two == one.times(2)


def test_memory_by_hand():
    job = job_of()
    parts = WorkerMemory.of(job, Workers(readers=2))
    numbers = 1200**2 + 600**2  # inputs of 10 and of 20 m
    window = 4 * numbers
    assert parts.reading == 2 * (window + priced.READING_BYTES * 1200**2)
    assert parts.model == window + priced.FILLED_BYTES * numbers + priced.FUSED_BYTES * 2 * 1200**2
    assert parts.writing == window + (priced.FUSED_BYTES + priced.MEASURED_BYTES) * 2 * 1200**2
    assert parts.network == 0
    assert parts.total == parts.base + parts.reading + parts.model + parts.writing
    network = replace(job, model=replace(job.model, cost=1.0, tile=600, halo=12, name="light"))
    assert WorkerMemory.of(network, Workers()).network == priced.NETWORK_BYTES["light"] * 624**2
    assert WorkerMemory.of(network, Workers(gpu=True)).network == 0, "a GPU holds it"
    low, high = priced.gpu_memory(network, Workers(gpu=True, batch=4))
    assert high - priced.GPU_BASE == 2 * (low - priced.GPU_BASE) == 4 * priced.FEATURE_BYTES["light"] * 624**2


def test_the_range_of_a_price_holds_what_is_read_once_and_what_is_read_anew():
    job = job_of(chunk=300)
    work = plan(job, [scene()])
    cost = price(job, work.needs, work.files, Workers(2), None)
    assert cost.read == (work.needs.needed, work.needs.decoded)
    assert cost.requests[1] == work.needs.asked > cost.requests[0] >= 2 * 3 + (2400 / 1024) ** 2
    # 64 chunks of 0.09 megapixels on two workers
    assert cost.seconds == pytest.approx(tuple(64 * 0.09 * rate / 2 for rate in priced.SECONDS_PER_MEGAPIXEL))
    assert cost.each == pytest.approx(tuple(0.09 * rate for rate in priced.SECONDS_PER_MEGAPIXEL))
    assert cost.gpu is None


def test_a_limit_that_chunks_exceed_is_refused_with_the_largest_that_would_fit():
    job = job_of()
    fits = memory(job_of(chunk=660), Workers())[1]
    edge = fitting(job, Workers(), fits + 1)
    assert edge == 660, "a multiple of the lattice's 6 pixels"
    assert memory(job_of(chunk=666), Workers())[1] > fits + 1
    job = job_of(chunk=6000, pixels=6000)
    work = plan(job, [scene()])
    cost = price(job, work.needs, work.files, Workers(), None)
    check(job, cost, Workers(), Limits())
    check(job, cost, Workers(), Limits(memory=cost.memory[1], disk=cost.written[1]))
    small = 0.95 * cost.memory[0]
    with pytest.raises(Refused, match=f"chunks of 6000 px .* chunk: {fitting(job, Workers(), small)} would fit"):
        check(job, cost, Workers(), Limits(memory=small))
    with pytest.raises(Refused, match="no chunk size would fit"):
        check(job, cost, Workers(), Limits(memory=1e6))


def test_the_chunk_that_would_fit_is_one_that_the_model_can_take():
    aligned = replace(identity(SENTINEL2, BANDS, 10), align=600)
    job = job_of(chunk=2400, model=aligned)
    limit = memory(job_of(chunk=1350, model=aligned), Workers())[1]
    assert fitting(job, Workers(), limit) == 1200
    assert fitting(job, Workers(), memory(job_of(chunk=594, model=aligned), Workers())[1]) is None


def test_a_disk_or_a_gpu_that_is_too_small_is_refused():
    job = job_of()
    work = plan(job, [scene()])
    cost = price(job, work.needs, work.files, Workers(), None)
    written = 4 * 1200**2 * 6
    with pytest.raises(Refused, match="disk has .* free, which no chunk size changes"):
        check(job, cost, Workers(), Limits(disk=priced.STORED[0] * written - 1))
    check(job, cost, Workers(), Limits(disk=priced.STORED[0] * written + 1))
    with pytest.raises(Refused, match="a GPU needs at least 4 GB"):
        check(job, replace(cost, gpu=(4e9, 8e9)), Workers(), Limits(gpu=3.9e9))


def record(number: int, turn: float, peak: int = 0, pixels: int = 10_000) -> Record:
    blank: dict = {}
    return Record(
        key=f"{number:016x}",
        day=date(2024, 6, 1),
        box=Box(number, 0, number + 1, 1),
        pixels=pixels,
        scenes=(),
        weights="",
        readings=blank,
        failures=(),
        shifts=blank,
        flags=blank,
        bands=blank,
        consistency=blank,
        before=blank,
        angles=blank,
        seconds={"read": 1.0, "model": 3.0},
        peak_memory=peak,
        digest="",
        software="",
        turn=turn,
    )


def store(path, job: Job, records) -> None:
    """As much of a store as tells what it holds and what its chunks took."""
    path.mkdir()
    about = {
        "identity": job.identity,
        "layout": {"core": job.layout.core, "lattice": {"step": str(job.layout.lattice.step)}},
    }
    (path / "zarr.json").write_text(json.dumps({"attributes": {"fusecube": about}}))
    for one in records:
        Ledger(path).put(one)


def test_seconds_come_from_the_stores_own_ledger_then_from_those_beside_it(tmp_path):
    job, out = job_of(), tmp_path / "new.zarr"
    assert calibrated(job, out) is None
    # eleven turns of 0 (not known: the stages' four seconds), 1, … 10 seconds for 10,000 pixels: sorted 1 2 3 4 4 5 … 10
    store(tmp_path / "old.zarr", job, [record(n, float(n), 100 + n) for n in range(11)])
    store(tmp_path / "other.zarr", replace(job, model=bicubic(SENTINEL2, BANDS, 10)), [record(1, 1000.0)])
    store(tmp_path / "older.zarr", job, [])
    Ledger(tmp_path / "older.zarr").objects.put("ledger/2024-06-01/0_0_1_1/0.json", b'{"day": "2024-06-01"}')
    found = calibrated(job, out)  # a store of another version, whose records say other things, is passed over
    assert found.source == "11 chunks of old.zarr"
    assert found.seconds == pytest.approx((2e-4, 9e-4))  # second and second to last of eleven
    assert found.memory == (105, 110)
    assert calibrated(job_of(chunk=600), out).memory is None, "another chunk size says nothing of memory"
    assert calibrated(job, out, gpu=True) is None, "a processor says nothing of a GPU"
    store(out, job, [record(1, 2.0, 7)])
    assert calibrated(job, out).source == "1 chunk of new.zarr"
    work = plan(job, [scene()])
    cost = price(job, work.needs, work.files, Workers(2), calibrated(job, out))
    assert cost.each == pytest.approx((288.0, 288.0))  # 2 s for 10,000 pixels, so 288 s for 1200 x 1200
    assert cost.seconds == pytest.approx((576.0, 576.0))  # four chunks on two workers
    assert cost.source == "1 chunk of new.zarr"
