"""Where the seconds of a chunk go, without a network (identity): stage by stage, and the share of the wall time."""

import tempfile
import time
from pathlib import Path

from scenes import scene_id, tiled

from cluster.local import local
from flows.prepare import prepare
from flows.road import planned
from flows.spec import validate
from pipeline import __version__
from pipeline.engine import run
from pipeline.store import Store, contents_of
from pipeline.summary import Totals


def main() -> None:
    """Print seconds per stage and chunk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = tiled(folder, 2400)
        for chunk in (600, 1200):
            out = folder / f"{chunk}.zarr"
            raw = {"flow": "sharpen", "catalog": str(catalog), "time": "2000/2030", "chunk": chunk, "model": "identity"}
            prepared = prepare(validate(raw | {"area": {"scene": scene_id(catalog)}, "out": str(out)}))
            job, work = planned(prepared)
            days = sorted({t.day for t in work.todo})
            Store.create(out, contents_of(job, days, {}, [], "benchmark", __version__))
            with local() as client:
                start = time.perf_counter()
                outcome = run(client, out, job, work.todo)
                wall = time.perf_counter() - start
            total = Totals.of(outcome.written)
            parts = ", ".join(f"{stage} {s / total.chunks:.3f}" for stage, s in total.seconds.items())
            busy = sum(total.seconds.values()) / 2 / wall
            print(
                f"chunk {chunk}: wall {wall:.2f} s for {total.chunks} chunks; seconds a chunk: {parts}; busy {busy:.2f}"
            )


if __name__ == "__main__":
    main()
