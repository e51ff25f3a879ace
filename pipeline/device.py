"""What a worker computes on, and a network there: copies, precision, batches that fit its memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.inference import count_tiles, tiled
from pipeline.models.declaration import FusionModel

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 16
"""Context tiles that a GPU is first given at once; halved until they fit."""


@dataclass(frozen=True)
class Equipment:
    """What each worker of a cluster has, as plain data: it travels with a job and loads no torch."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks run. A process with several GPUs in sight takes the first: one process a GPU is the rule."""
    threads: int | None = None
    """Threads of a layer on the CPU, and of compression; None: as many as the worker has."""
    readers: int = 1
    """Chunks read ahead at once."""
    batch: int | None = None
    """Context tiles computed together; None: one on a CPU, on a GPU as many as a window has and memory holds."""
    compiled: bool = False
    """Whether networks go through ``torch.compile``, which takes a minute or so for every shape of a batch."""
    resources: tuple[tuple[str, float], ...] = ()
    """What a task takes of its worker's Dask resources."""

    @classmethod
    def gpu(cls, threads: int | None = None, readers: int = 2, batch: int | None = None, compiled: bool = False) -> "Equipment":
        """A worker with a GPU of its own: tasks ask for the resource ``GPU`` and go nowhere else."""
        return cls("cuda", threads, readers, batch, compiled, (("GPU", 1.0),))


class Runner:
    """A network where it runs, used by one thread at a time.

    On a CPU the batch has a fixed shape, and so a chunk the same bits wherever it is computed. On a GPU a batch is as large as
    memory allows, and cuDNN takes the fastest algorithm it finds: the last digits may differ from worker to worker.

    Parameters
    ----------
    network
        What ``build`` made of the declaration; it is moved to the device.
    model
        The declaration.
    equipment
        What there is to run it on. Raises ``Refused`` where a GPU is asked for and torch can use none.
    """

    def __init__(self, network: "nn.Module", model: FusionModel, equipment: Equipment) -> None:
        import torch

        self.model = model
        self.device = _device(equipment)
        self.batch = equipment.batch or (BATCH if self.device.type == "cuda" else 1)
        self.fixed = equipment.batch is not None or self.device.type == "cpu"
        self.network: Any = network.eval().to(self.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes are few and fixed
        if equipment.compiled:
            self.network = torch.compile(self.network, dynamic=False)

    def apply(self, inputs: Sequence[NDArray[np.float32]], halo: int) -> NDArray[np.float32]:
        """The output over the core of a window, (bands, rows, cols); see ``pipeline.inference.tiled``.

        A batch that does not fit is halved, and stays so. Raises ``MemoryError`` where one tile does not fit.
        """
        while True:
            try:
                return self._apply(inputs, halo)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                reason = str(error).split("\n")[0]
            self._halve(reason)  # out here, where the error no longer holds the tensors of what failed

    def _apply(self, inputs: Sequence[NDArray[np.float32]], halo: int) -> NDArray[np.float32]:
        import torch

        host = [torch.from_numpy(np.require(x, requirements="W")) for x in inputs]
        tiles = count_tiles(self.model, inputs, halo)
        batch = self.batch if self.fixed else _even(tiles, self.batch)
        if self.device.type == "cpu":
            return tiled(self.network, self.model, host, halo, batch).numpy()
        # torch gives pinned memory to nobody else until the copies from it have ended
        there = [x.pin_memory().to(self.device, non_blocking=True) for x in host]
        found = tiled(self.network, self.model, there, halo, batch)
        back = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        back.copy_(found, non_blocking=True)
        torch.cuda.synchronize(self.device)
        return back.numpy()

    def _halve(self, reason: str) -> None:
        if self.batch == 1:
            raise MemoryError(
                f"one tile of model '{self.model.name}' ({self.model.tile} px and a halo of {self.model.reach} px on each side) "
                f"does not fit the memory of {self.device.type} ({reason}); use a device with more, or another model."
            )
        self.batch //= 2
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def gpu_memory(self) -> int:
        """Most bytes of the GPU that were in use so far; 0 on a CPU."""
        if self.device.type == "cpu":
            return 0
        import torch

        return int(torch.cuda.max_memory_allocated(self.device))

    def warm_up(self) -> None:
        """Run one tile, so that the first chunk does not pay for what libraries set up at the first call."""
        local = replace(self.model, halo=self.model.reach, global_context=False, blend=0)
        factors = [wanted.resolution // local.output.resolution for wanted in local.inputs]
        halo = local.halo + -local.halo % max(factors)
        edge = local.tile + 2 * halo
        sizes = [(len(wanted.bands), edge // f, edge // f) for wanted, f in zip(local.inputs, factors, strict=True)]
        Runner.apply(self, [np.zeros(size, np.float32) for size in sizes], halo)


def _even(tiles: int, most: int) -> int:
    """Tiles a batch, so that as few batches as there must be are filled alike."""
    return -(-tiles // -(-tiles // most))
