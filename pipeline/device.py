"""What a worker computes on, and a network there: copies, precision, batches that fit its memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.inference import corners, tiled
from pipeline.models.declaration import FusionModel

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 16
"""Context tiles that a GPU is first given at once; halved until they fit."""

NAMES = {"cpu": "machine", "cuda": "GPU"}
"""What has the memory of a kind of device."""


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


class Runner:
    """A network where it runs, for one thread after the other.

    On a CPU the batch has a fixed shape, and so a chunk the same bits wherever it is computed. On a GPU a batch is as large
    as its memory allows, and cuDNN takes the fastest algorithms it finds: results may differ from worker to worker, by no
    more than rounding to ``bfloat16`` does (0.0003 of reflectance in the mean and 0.003 at most, on noise, on a CPU).

    Parameters
    ----------
    network
        What ``build`` made of the declaration; it is moved to the device.
    model
        The declaration.
    equipment
        What there is to run it on. Raises ``Refused`` where torch can use no GPU, or compile nothing, as asked.
    """

    def __init__(self, network: "nn.Module", model: FusionModel, equipment: Equipment) -> None:
        self.model = model
        self.device = _device(equipment)
        self.even = equipment.batch is None and self.device.type == "cuda"
        self.batch = equipment.batch or (BATCH if self.even else 1)
        self.network: Any = network.eval().to(self.device)
        self._alone = Lock()
        if equipment.compiled:
            self._compile()

    def apply(self, inputs: Sequence[NDArray[np.float32]], halo: int) -> NDArray[np.float32]:
        """The output over the core of a window, (bands, rows, cols); as ``pipeline.inference.tiled``.

        A batch that does not fit is halved, and stays so. Raises ``MemoryError`` where one tile does not fit.
        """
        with self._alone:
            return self._fitting(self.model, inputs, halo)

    def warm_up(self) -> None:
        """Run one tile, so that the first chunk does not pay for what libraries set up at the first call."""
        local = replace(self.model, halo=self.model.reach, global_context=False, blend=0)
        factors = [wanted.resolution // local.output.resolution for wanted in local.inputs]
        halo = local.halo + -local.halo % max(factors)
        edge = local.tile + 2 * halo
        sizes = [(len(wanted.bands), edge // f, edge // f) for wanted, f in zip(local.inputs, factors, strict=True)]
        self._fitting(local, [np.zeros(size, np.float32) for size in sizes], halo)

    @property
    def gpu_memory(self) -> int:
        """Most bytes of the GPU that were in use at once so far; 0 on a CPU."""
        if self.device.type == "cpu":
            return 0
        import torch

        return int(torch.cuda.max_memory_allocated(self.device))

    def _fitting(self, model: FusionModel, inputs: Sequence[NDArray[np.float32]], halo: int) -> NDArray[np.float32]:
        while True:
            try:
                return self._computed(model, inputs, halo)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                reason = _line(error)
            self._halve(reason)  # out here, where the error no longer holds the tensors of what failed

    def _computed(self, model: FusionModel, inputs: Sequence[NDArray[np.float32]], halo: int) -> NDArray[np.float32]:
        import torch

        rows, cols = (model.inputs[0].resolution // model.output.resolution * n - 2 * halo for n in inputs[0].shape[1:])
        batch = even(len(corners(model, rows, cols)), self.batch) if self.even else self.batch
        host = [torch.from_numpy(np.require(x, requirements="W")) for x in inputs]
        if self.device.type == "cpu":
            return tiled(self.network, model, host, halo, batch).numpy()
        # torch hands pinned memory to nobody else before the copies from it have ended
        window = [x.pin_memory().to(self.device, non_blocking=True) for x in host]
        found = tiled(self.network, model, window, halo, batch)
        back = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        back.copy_(found, non_blocking=True)
        torch.cuda.synchronize(self.device)
        return back.numpy()

    def _halve(self, reason: str) -> None:
        if self.batch == 1:
            raise MemoryError(
                f"one tile of model '{self.model.name}', {self.model.tile} px and {self.model.reach} px around it, does not "
                f"fit the memory of this worker's {NAMES[self.device.type]} ({reason}); take one with more, or a smaller model."
            )
        self.batch //= 2
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _compile(self) -> None:
        import torch

        self.network = torch.compile(self.network, dynamic=False)
        try:
            self.warm_up()
        except RuntimeError as error:
            raise Refused(
                f"torch.compile does not work on this worker ({_line(error)}); ask for networks that are not compiled."
            ) from error


def fastest() -> "torch.device":
    """The GPU of this process where torch can use one, else the CPU: for teaching, which no cluster spreads."""
    import torch

    return _device(Equipment("cuda" if torch.cuda.is_available() else "cpu"))


def even(tiles: int, most: int) -> int:
    """Tiles a batch, so that there are as few batches as there must be, all alike and filled up as little as can be.

    >>> even(9, 16), even(9, 8), even(16, 4)
    (9, 5, 4)
    """
    return -(-tiles // -(-tiles // most))


def _device(equipment: Equipment) -> "torch.device":
    import torch

    if equipment.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise Refused(
            "a GPU was asked for, and this worker has none that torch can use; see whether nvidia-smi lists one and torch is "
            "a CUDA build there, or ask for a cluster without GPUs."
        )
    torch.backends.cudnn.benchmark = True  # shapes are few: the fastest algorithm for each is looked for once
    return torch.device("cuda", 0)


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, as torch, its allocator on the CPU, or a library of the GPU says it."""
    import torch

    said = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def _line(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
