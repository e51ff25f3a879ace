"""Where the seconds of a chunk go, without a network (identity): stage by stage, and the turn of a chunk as a whole."""

import tempfile
import time
from pathlib import Path

from jobs import made
from scenes import tiled

from cluster.local import local
from pipeline.engine import run
from pipeline.summary import Totals


def main() -> None:
    """Print seconds per stage and chunk; stages overlap, so a turn is less than their sum."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = tiled(folder, 2400)
        for chunk in (600, 1200):
            work = made(catalog, folder / f"{chunk}.zarr", chunk=chunk, model="identity")
            with local(1) as client:
                start = time.perf_counter()
                outcome = run(client, work.store.where, work.job, work.plan.todo)
                wall = time.perf_counter() - start
            assert not outcome.troubles, outcome.troubles
            records = list(work.store.ledger.records())
            total = Totals.of(records)
            parts = ", ".join(f"{stage} {s / total.chunks:.3f}" for stage, s in total.seconds.items())
            turn = sum(record.turn for record in records) / total.chunks
            print(
                f"chunk {chunk}: one worker, {wall:.2f} s for {total.chunks} chunks; seconds a chunk: {parts}; turn {turn:.3f}"
            )


if __name__ == "__main__":
    main()
