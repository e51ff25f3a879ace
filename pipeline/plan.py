"""What a run would do and cost, from metadata alone: no pixel is read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from pipeline.job import Job, Task, key, tasks
from pipeline.ledger import Ledger
from pipeline.models.declaration import FusionModel
from pipeline.scene import Scene

BLOCK = 1024
"""Edge of the internal blocks of the COGs of Earth Search, pixels; a file's own is known only once it is opened."""

BASE_MEMORY = 500e6
"""Resident memory of a worker that has imported everything and read nothing, bytes (measured: 0.40 GB)."""

SECONDS_PER_MEGAPIXEL = (0.5, 3.0)
"""Range, on one core, for a model without a network and 12 bands (measured: 0.6 to 0.7,
``tests/benchmarks/stages.py``); a ledger knows better."""


MACS_PER_SECOND = (4e10, 2.5e11)
"""Multiply-adds a second of a network on one core, from one without to one with bfloat16 (measured there with MPIFNet:
1.3e11, ``tests/benchmarks/throughput.py --model mpifnet``)."""

TEACHING_MACS = 3 * 8 * 48**2 * 1e6
"""Of a step of adaptation, for each million multiply-adds a pixel: 8 patches of 48 px, forward and twice that backward."""

NETWORK_BYTES = 2300
"""Bytes of features a pixel of a tile while a network runs, the largest of them (measured with MPIFNet: a worker's peak
was 2.43 GB, ``tests/benchmarks/throughput.py --model mpifnet``)."""


@dataclass(frozen=True)
class Plan:
    """The work and its price."""

    todo: tuple[Task, ...]
    """Tasks to run, neighbours together."""
    done: int
    """Tasks that the ledger holds already."""
    days: int
    """Days."""
    scenes: int
    """Scenes that touch at least one window."""
    needed_bytes: int
    """Bytes of the pixels in all windows, decoded."""
    read_bytes: int
    """Bytes that must be decoded to get them, whole blocks: the more so, the smaller a chunk beside a block."""
    requests: int
    """Ranges to ask for where the files are remote."""
    written_bytes: int
    """Bytes of the result before compression."""
    worker_bytes: int
    """Expected peak memory of a worker."""
    seconds: tuple[float, float]
    """Expected time on one worker, as a range."""

    @property
    def amplification(self) -> float:
        """Bytes decoded per byte needed."""
        return self.read_bytes / self.needed_bytes if self.needed_bytes else 1.0


def plan(job: Job, scenes: Sequence[Scene], ledger: Ledger | None) -> Plan:
    """The plan of a job, leaving out what the ledger of its store holds."""
    every = list(tasks(job, scenes))
    finished = ledger.done() if ledger else set()
    todo = tuple(task for task in every if key(job, task) not in finished)
    needed, decoded, requests = _reads(job, todo)
    n = job.layout.lattice.pixels()
    pixels = sum(t.chunk.core.width * t.chunk.core.height for t in todo) * n * n
    bands = len(job.model.output.bands)
    return Plan(
        todo=todo,
        done=len(every) - len(todo),
        days=len({task.day for task in every}),
        scenes=len({scene.id for task in every for scene in task.scenes}),
        needed_bytes=needed,
        read_bytes=decoded,
        requests=requests,
        written_bytes=pixels * (bands * (2 if job.encoding.dtype == "uint16" else 4) + 2),
        worker_bytes=_memory(job),
        seconds=_seconds(job, todo, pixels, ledger),
    )


def _reads(job: Job, todo: Iterable[Task]) -> tuple[int, int, int]:
    """Bytes needed, bytes decoded, ranges asked for, over all windows."""
    lattice = job.layout.lattice
    needed = decoded = requests = 0
    for task in todo:
        window = task.chunk.window(job.halo)
        for index, wanted in enumerate(job.model.inputs):
            n = lattice.pixels(wanted.resolution)
            for scene in task.scenes_of(index):
                rows = _blocks(window.height * n, _pixels(scene, 1, wanted.resolution))
                cols = _blocks(window.width * n, _pixels(scene, 0, wanted.resolution))
                files = len(wanted.bands)
                needed += 2 * files * window.height * window.width * n * n
                decoded += 2 * files * max(rows[1] * cols[1], window.height * window.width * n * n)
                requests += files * (2 + rows[0] * cols[0])
    return needed, decoded, requests


def _pixels(scene: Scene, axis: int, resolution: int) -> int:
    """Length of a scene's file in pixels, as its metadata has it."""
    if scene.extent is None:
        return 10980 * 10 // resolution
    return round((scene.extent[axis + 2] - scene.extent[axis]) / resolution)


def _blocks(window: int, file: int) -> tuple[int, int]:
    """Blocks that a window meets along one axis, on average over its places, and their length in pixels."""
    block = min(BLOCK, file)
    count = min(ceil(file / block), ceil(window / block + 0.5)) if file > block else 1
    return count, min(count * block, file)


def _memory(job: Job) -> int:
    """Bytes: inputs as read, filled and in 32 bit; output in 32 and 64 bit for its metrics; the network's tile."""
    lattice, core = job.layout.lattice, job.layout.core
    window = core + 2 * job.halo
    per_input = sum(len(i.bands) * (window * lattice.pixels(i.resolution)) ** 2 for i in job.model.inputs)
    output = len(job.model.output.bands) * (core * lattice.pixels()) ** 2
    return int(BASE_MEMORY + 12 * per_input + 24 * output + _network_memory(job.model))


def _network_memory(model: FusionModel) -> float:
    """Bytes of a network's features over one tile."""
    return NETWORK_BYTES * (model.tile + 2 * model.reach) ** 2 if model.cost else 0.0


def teaching_seconds(job: Job, days: int, cores: int) -> tuple[float, float]:
    """Expected time of adapting to so many days on all cores, as a range."""
    work = TEACHING_MACS * job.model.cost * job.adapt * days / cores
    return work / MACS_PER_SECOND[1], work / MACS_PER_SECOND[0]


def _tiled_pixels(job: Job, todo: Sequence[Task]) -> int:
    """Pixels of all tiles: a chunk smaller than a tile costs a whole one, and context tiles those beside it too."""
    n, tile = job.layout.lattice.pixels(), job.model.tile
    beside = 2 if job.model.global_context else 0
    counts = ((ceil(t.chunk.core.width * n / tile), ceil(t.chunk.core.height * n / tile)) for t in todo)
    return sum((cols + beside) * (rows + beside) * tile**2 for cols, rows in counts)


def _seconds(job: Job, todo: Sequence[Task], pixels: int, ledger: Ledger | None) -> tuple[float, float]:
    """One worker's time: as the ledger's chunks took it, else from measured ranges; adaptation, which all cores share,
    not counted."""
    known = [(record.pixels, sum(record.seconds.values())) for record in ledger.records()] if ledger and todo else []
    if known:
        rate = sum(s for _, s in known) / sum(p for p, _ in known)
        return 0.8 * rate * pixels, 1.3 * rate * pixels
    low, high = SECONDS_PER_MEGAPIXEL
    work = job.model.cost * 1e6 * _tiled_pixels(job, todo)
    return low * pixels / 1e6 + work / MACS_PER_SECOND[1], high * pixels / 1e6 + work / MACS_PER_SECOND[0]
