"""Peak memory of a worker against the number of chunks and against the plan, and resident memory of the scheduler's process.

One worker, a model without a network. The client and the scheduler share this process, as they do under ``fusecube run``.
"""

import argparse
import tempfile
from pathlib import Path

import psutil
from jobs import made
from scenes import tiled

from cluster.local import local
from pipeline.engine import run
from pipeline.events import Done, Trouble
from pipeline.price import WorkerMemory, Workers

PER_EDGE = (3, 9, 27)
"""Chunks along an edge of each scene: 9, 81 and 729 in all."""


def main() -> None:
    """Print the peaks and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk", type=int, default=300)
    parser.add_argument("--model", default="identity")
    parser.add_argument("--repeat", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for turn in range(given.repeat):
            peaks = [measured(Path(name) / str(turn), given, count) for count in PER_EDGE]
            print(f"largest over smallest peak of a worker: {max(peaks) / min(peaks):.3f}", flush=True)


def measured(folder: Path, given: argparse.Namespace, count: int) -> int:
    """The peak of the one worker over ``count`` x ``count`` chunks, in bytes; the rest is printed."""
    folder.mkdir(exist_ok=True)
    work = made(tiled(folder, given.chunk * count), folder / f"{count}.zarr", chunk=given.chunk, model=given.model)
    said = WorkerMemory.of(work.job, Workers()).total
    process, resident = psutil.Process(), []
    peaks: list[int] = []

    def watch(told: Done | Trouble) -> None:
        """Look at both processes after every chunk."""
        assert isinstance(told, Done), told
        peaks.append(told.peak_memory)
        resident.append(process.memory_info().rss)

    with local(1) as client:
        outcome = run(client, work.store.where, work.job, work.plan.todo, watch=watch)
    assert outcome.computed == count**2, outcome
    tenth = [f"{peaks[len(peaks) * i // 10 - (i == 10)] / 1e6:.0f}" for i in range(0, 11, 2)]
    print(
        f"{count**2} chunks of {given.chunk} px: peak of the worker {max(peaks) / 1e6:.0f} MB, {max(peaks) / said:.3f} of what "
        f"the plan says ({said / 1e6:.0f} MB), on the way {' '.join(tenth)} MB; client and scheduler "
        f"{resident[0] / 1e6:.0f} MB after the first chunk, {resident[-1] / 1e6:.0f} after the last, "
        f"{max(resident) / 1e6:.0f} at most",
        flush=True,
    )
    return max(peaks)


if __name__ == "__main__":
    main()
