"""What work costs: memory, seconds and bytes, each as a range; what cannot fit is refused before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, lcm

from pipeline.calibration import Calibration
from pipeline.dates import role
from pipeline.errors import Refused
from pipeline.job import Job
from pipeline.needs import OPENING, Needs

BASE_MEMORY = 470e6
"""Resident memory of a worker that has imported everything, and what piles up in gaps of its heap, bytes (measured: 0.43 GB
after giving back what is free, 0.46 to 0.51 at most, ``tests/benchmarks/memory.py``). A worker gives back what is free once it
holds more than was planned."""

READ_BYTES = 4
"""Bytes of a number as it was read: 32 bit."""

READING_BYTES = 11
"""Bytes beside it for each number of the input that is being read: as the file has it, decoded, and what is still missing."""

FILLED_BYTES = 5
"""Bytes beside it for each number while the model runs: where it is missing, and a copy with gaps filled."""

FUSED_BYTES = 4
"""Bytes of a number that the model gave: 32 bit."""

MEASURED_BYTES = 12
"""Bytes beside it while it is measured and written: stored, decoded in 64 bit, valid or not, and packed."""

FEATURE_BYTES = {"light": 500, "dsen2": 1390, "rdsr": 1870, "spr-net": 2430, "mpifnet": 2650}
"""Bytes of features a pixel of a tile while a network runs in bfloat16 (measured on a processor that gives back at once: by
how much one tile of 600 px raises a process's peak); of a network that is not among them, as of the largest that is."""

NETWORK_BYTES = {"light": 400, "dsen2": 2470, "rdsr": 2350, "spr-net": 4430, "mpifnet": 4290}
"""The same in a worker, which keeps what is free between layers and so is faster (``tests/benchmarks/features.py``)."""

GPU_BASE = 500e6
"""Bytes of a GPU that its context and libraries take (not measured)."""

MEMORY_SPREAD = (0.85, 1.15)
"""How far a peak of memory lies from what its parts add up to."""

SECONDS_PER_MEGAPIXEL = (0.3, 3.0)
"""Range, on one core, for a model without a network and 12 bands (measured: 0.6 to 0.7,
``tests/benchmarks/stages.py``); a ledger knows better."""

MACS_PER_SECOND = (4e10, 2.5e11)
"""Multiply-adds a second of a network on one core, from one without to one with bfloat16 (measured there with MPIFNet:
1.3e11, ``tests/benchmarks/throughput.py --model mpifnet``)."""

GPU_MACS_PER_SECOND = (2e12, 1e14)
"""The same on a GPU, from a small one to one of a data centre (not measured); a ledger knows better."""

TEACHING_MACS = 3 * 8 * 48**2 * 1e6
"""Of a step of adaptation, for each million multiply-adds a pixel: 8 patches of 48 px, forward and twice that backward."""

STORED = (0.3, 0.8)
"""Share of the bytes of a result that is left when it is compressed (measured: 0.22 to 0.57)."""

Range = tuple[float, float]
"""Low and high."""


@dataclass(frozen=True)
class Workers:
    """What a plan is priced for."""

    count: int = 1
    """Worker processes."""
    cores: int = 1
    """Cores of each."""
    readers: int = 1
    """Windows that each reads ahead at once."""
    gpu: bool = False
    """Whether each has a GPU for its networks."""
    batch: int = 1
    """Tiles that a GPU takes at once."""


@dataclass(frozen=True)
class WorkerMemory:
    """Bytes of a worker, part by part: while the model runs on a chunk, others are read and the one before is written."""

    base: float
    """Everything imported, nothing read."""
    reading: float
    """Windows that are read ahead."""
    model: float
    """The window in the model, and what the model gives."""
    writing: float
    """The chunk that is measured and written, with its window."""
    network: float
    """Features of a network over one tile; none where a GPU holds them."""

    @classmethod
    def of(cls, job: Job, workers: Workers) -> "WorkerMemory":
        """The memory of a worker for whole chunks of a job."""
        lattice, core = job.layout.lattice, job.layout.core
        edge = core + 2 * job.halo
        planes = [len(i.bands) * (role(i.dates).count or 1) for i in job.model.inputs]
        numbers = [
            count * (edge * lattice.pixels(i.resolution)) ** 2
            for count, i in zip(planes, job.model.inputs, strict=True)
        ]
        window = READ_BYTES * sum(numbers)
        given = (core * lattice.pixels()) ** 2 * len(job.model.output.bands)
        tile = (job.model.tile + 2 * job.model.reach) ** 2
        return cls(
            base=BASE_MEMORY,
            reading=workers.readers * (window + READING_BYTES * max(numbers)),
            model=window + FILLED_BYTES * sum(numbers) + FUSED_BYTES * given,
            writing=window + (FUSED_BYTES + MEASURED_BYTES + 2 * FUSED_BYTES * job.projected) * given,
            network=_of(NETWORK_BYTES, job) * tile if job.model.cost and not workers.gpu else 0.0,
        )

    @property
    def total(self) -> float:
        """All parts at once."""
        return self.base + self.reading + self.model + self.writing + self.network


@dataclass(frozen=True)
class Price:
    """What a plan costs, each as a range from low to high."""

    read: Range
    """Bytes to decode: each block once, or anew for every chunk."""
    requests: Range
    """Ranges to ask for, were the files remote."""
    written: Range
    """Bytes that the result takes on disk, compressed."""
    memory: Range
    """Peak memory of a worker in bytes."""
    gpu: Range | None
    """Peak memory of a GPU in bytes; ``None`` where none is used."""
    each: Range
    """Seconds of a worker for a whole chunk."""
    seconds: Range
    """Seconds for all chunks on all workers; adaptation and registration, which come before, not counted."""
    source: str
    """Where the seconds are known from."""


def price(job: Job, needs: Needs, files: int, workers: Workers, known: Calibration | None) -> Price:
    """The price of what a plan needs: from what earlier chunks took where that is known, else from measured ranges."""
    each = _seconds(job, needs, workers, known)
    rounds = needs.pixels / _pixels(job)
    share = min(workers.count, max(1, needs.chunks))
    return Price(
        read=(needs.needed, max(needs.needed, needs.decoded)),
        requests=(min(ceil(needs.blocks) + OPENING * files, needs.asked), needs.asked),
        written=_spread(needs.written, STORED),
        memory=known.memory if known and known.memory else memory(job, workers),
        gpu=gpu_memory(job, workers),
        each=each,
        seconds=_spread(rounds / share, each),
        source=known.source if known else "ranges measured on other machines",
    )


def memory(job: Job, workers: Workers) -> Range:
    """Peak memory of a worker in bytes."""
    return _spread(WorkerMemory.of(job, workers).total, MEMORY_SPREAD)


def gpu_memory(job: Job, workers: Workers) -> Range | None:
    """Peak memory of a GPU: its context, the weights, and the features of a batch of tiles, all in half precision or not."""
    if not (workers.gpu and job.model.cost):
        return None
    file = job.model.weights_file
    weights = file.stat().st_size if file.is_file() else 0
    features = workers.batch * _of(FEATURE_BYTES, job) * (job.model.tile + 2 * job.model.reach) ** 2
    return GPU_BASE + weights + features / 2, GPU_BASE + 2 * weights + features


def _of(known: Mapping[str, int], job: Job) -> int:
    """What is known of a job's network, or of the largest."""
    return known.get(job.model.name, max(known.values()))


def teaching_seconds(job: Job, days: int, cores: int, known: float | None = None) -> Range:
    """Expected time of adapting to so many days on all cores; ``known`` are seconds that a day took before."""
    if known:
        return _spread(known * days, MEMORY_SPREAD)
    work = TEACHING_MACS * job.model.cost * job.adapt * days / cores
    return work / MACS_PER_SECOND[1], work / MACS_PER_SECOND[0]


def _seconds(job: Job, needs: Needs, workers: Workers, known: Calibration | None) -> Range:
    """Of a worker for a whole chunk."""
    if known:
        return _spread(_pixels(job), known.seconds)
    work = job.model.cost * 1e6 * needs.tiled / needs.pixels * _pixels(job) if needs.pixels else 0.0
    low, high = SECONDS_PER_MEGAPIXEL
    slow, fast = GPU_MACS_PER_SECOND if workers.gpu else (workers.cores * rate for rate in MACS_PER_SECOND)
    return low * _pixels(job) / 1e6 + work / fast, high * _pixels(job) / 1e6 + work / slow


def _pixels(job: Job) -> int:
    """Pixels of a whole chunk."""
    return job.layout.core_pixels**2


def _spread(value: float, shares: Range) -> Range:
    return value * shares[0], value * shares[1]


@dataclass(frozen=True)
class Limits:
    """What there is, in bytes; ``None`` where it is not known."""

    memory: float | None = None
    """For a worker."""
    disk: float | None = None
    """Where the store goes."""
    gpu: float | None = None
    """On a worker's GPU."""


def check(job: Job, cost: Price, workers: Workers, limits: Limits) -> None:
    """Raise ``Refused`` where not even the low end of a price fits, saying which chunk would."""
    if limits.disk is not None and cost.written[0] > limits.disk:
        raise Refused(
            f"the result takes at least {_size(cost.written[0])} and its disk has {_size(limits.disk)} free, which no chunk "
            "size changes; free some, or name another place with out:, a smaller area or less time."
        )
    if limits.gpu is not None and cost.gpu and cost.gpu[0] > limits.gpu:
        raise Refused(
            f"a GPU needs at least {_size(cost.gpu[0])} for tiles of {job.model.tile} px and has {_size(limits.gpu)}, which no "
            "chunk size changes; take a smaller cluster.batch or model:, or cluster.device: cpu."
        )
    if limits.memory is not None and cost.memory[0] > limits.memory:
        edge = fitting(job, workers, limits.memory)
        remedy = f"chunk: {edge} would fit" if edge else "no chunk size would fit: take a smaller model"
        raise Refused(
            f"a worker needs at least {_size(cost.memory[0])} for chunks of {job.layout.core_pixels} px and may take "
            f"{_size(limits.memory)}; {remedy}, or give workers more memory (cluster.memory), or ask for fewer of them."
        )


def fitting(job: Job, workers: Workers, limit: float) -> int | None:
    """Edge in pixels of the largest chunk, whole steps and alignments of the model, whose worker stays below a limit in bytes
    for sure; ``None`` where none does."""
    n = job.layout.lattice.pixels()
    unit = lcm(n, job.model.align)

    def fits(units: int) -> bool:
        layout = replace(job.layout, core=units * unit // n)
        return memory(replace(job, layout=layout), workers)[1] <= limit

    low, high = 0, max(1, job.layout.core_pixels // unit)
    while low < high:  # memory grows with the chunk
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * unit or None


def _size(count: float) -> str:
    """Bytes in words.

    >>> _size(1234e6)
    '1.23 GB'
    """
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
