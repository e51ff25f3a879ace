"""What must hold of every worker before anything is written: one sentence, naming the worker, where it does not."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from socket import gethostname
from typing import Any

import dask.system
from distributed import Client

import pipeline
from pipeline.errors import Refused
from pipeline.models.declaration import FusionModel
from pipeline.models.weights import checked
from pipeline.objects import Objects
from pipeline.post import one_task


@dataclass(frozen=True)
class Found:
    """What a worker says of itself."""

    host: str
    """Name of its machine."""
    cores: int
    """Cores that it may use."""
    gpu: bool
    """Whether it offers a GPU and torch finds one."""
    begun: bool
    """Whether it sees a store where the run's is."""


def waited(client: Client, seconds: float, remedy: str) -> None:
    """Wait for a first worker; raises ``Refused`` with the remedy where none comes in time."""
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        place = client.scheduler_info()["address"]
        raise Refused(f"no worker has come to the scheduler at {place} in {seconds:g} s; {remedy}.") from None


def check(client: Client, model: FusionModel | None, where: str) -> dict[str, Found]:
    """What each worker says of itself, by its address, where all can do the work.

    Parameters
    ----------
    client
        A client of the cluster, with a worker at least.
    model
        What workers must have the weights of; ``None`` where the store brings them.
    where
        The store, as ``Objects.at`` takes it.

    Raises ``Refused`` where a worker has not this fusecube, not the model's weights, or no way to the store, or would take
    several chunks at once.
    """
    # by a function that every Python has: fusecube's own need not be there, or be another
    for worker, version in client.run(resolve_name, "pipeline:__version__", on_error="return").items():
        if isinstance(version, Exception):
            raise Refused(f"worker {worker} has no fusecube; install fusecube {pipeline.__version__} where it runs.")
        if version != pipeline.__version__:
            raise Refused(
                f"worker {worker} has fusecube {version}, and this is {pipeline.__version__}; install the same on both."
            )
    for worker, count in client.nthreads().items():
        try:
            one_task(count)
        except Refused as error:
            raise Refused(f"worker {worker}: {error}") from None
    begun = Objects.at(where).exists(MARK)
    found = {}
    for worker, answer in client.run(look, model, where, offering(client), on_error="return").items():
        if isinstance(answer, Exception):
            raise Refused(f"worker {worker}: {' '.join(str(answer).split())[:300] or type(answer).__name__}")
        if answer.begun != begun:
            raise Refused(
                f"worker {worker} on {answer.host} sees another folder than this machine at {where}; put the store where all "
                "machines see it: a shared folder or s3://…."
            )
        found[worker] = answer
    return found


MARK = "zarr.json"
"""Object that is there once a store has been begun."""


def look(model: FusionModel | None, where: str, offering: tuple[str, ...], dask_worker: Any = None) -> Found:
    """On a worker: what it finds around itself. Raises ``Refused`` or ``OSError`` with what is missing."""
    if model is not None and model.weights:
        checked(model.weights_file, model.weights)
    objects = Objects.at(where)
    begun = objects.exists(MARK)
    if objects.folder is not None:
        nearest = next(p for p in (objects.folder, *objects.folder.absolute().parents) if p.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise Refused(f"the store's folder {nearest} cannot be written to; see to its permissions.")
    return Found(gethostname(), dask.system.CPU_COUNT, dask_worker.address in offering and _cuda(), begun)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def offering(client: Client) -> tuple[str, ...]:
    """Addresses of the workers that offer a GPU."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return tuple(name for name, about in workers.items() if about["resources"].get("GPU"))


def on_gpus(device: str, found: Mapping[str, Found], offering: tuple[str, ...]) -> bool:
    """Whether the work goes to GPUs; raises ``Refused`` where it must and cannot.

    Parameters
    ----------
    device
        ``gpu``, ``cpu``, or ``auto``: GPUs where workers offer them and have them.
    found
        What the workers say of themselves.
    offering
        Workers that offer a GPU.
    """
    without = [worker for worker in offering if not (worker in found and found[worker].gpu)]
    if device == "gpu" and not offering:
        raise Refused(
            "device: gpu, but no worker offers a GPU; start workers by 'dask worker … --resources GPU=1 --nthreads 1' where "
            "there is one, or take device: cpu."
        )
    if device == "gpu" and without:
        raise Refused(
            f"worker {without[0]} offers a GPU, but torch finds none there; see that nvidia-smi lists one and that torch is a "
            "CUDA build, or start the worker without --resources GPU=1."
        )
    return device != "cpu" and bool(offering) and not without


def threads(client: Client, found: Mapping[str, Found]) -> int:
    """Cores that a chunk may use, so that the workers of a machine share it: the least of all machines."""
    busy: Counter[str] = Counter()
    for worker, count in client.nthreads().items():
        if worker in found:
            busy[found[worker].host] += count
    return max(1, min(answer.cores // busy[answer.host] for answer in found.values()))
