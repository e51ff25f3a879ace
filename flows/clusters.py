"""From what a specification says of clusters to a client whose workers can do the work, and what they compute on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from distributed import Client

from cluster.checking import check, offering, on_gpus, threads, waited
from cluster.local import DASHBOARD, HOST
from flows.spec import Cluster, Kubernetes, Slurm
from pipeline.device import Equipment
from pipeline.errors import Refused
from pipeline.job import Job

PATIENCE = {"slurm": 60.0, "kubernetes": 15.0}
"""Minutes to wait for a worker, where others decide when it starts."""

FIRST = 2.0
"""Minutes to wait for the first worker elsewhere."""

AGAIN = 10.0
"""Minutes to wait there for another, once all have gone."""

REMEDIES = {
    "local": "see that the machine has memory and processes left",
    "cuda": "see that nvidia-smi lists GPUs that are free",
    "slurm": "see squeue and the jobs' slurm-*.out; workers on other nodes need cluster.host, an address here that they reach, "
    "and a long queue needs more cluster.patience",
    "kubernetes": "see kubectl get pods, or give more cluster.patience",
    "address": "start workers by 'dask worker' with its address",
}
"""What to do where no worker comes."""


@contextmanager
def connected(spec: Cluster, job: Job, where: str | Path) -> Iterator[tuple[Client, Equipment]]:
    """A client of the cluster that is asked for, and what its workers compute on; closed at the end.

    Parameters
    ----------
    spec
        What a specification says.
    job
        What the workers are to do; each must have the model's weights, unless they are adapted ones that the store holds.
    where
        The store, as ``Objects.at`` takes it; every worker must be able to reach it.

    Raises ``Refused``, before anything is written, where there is no such cluster, no worker comes, or one could not do
    the work.
    """
    with _client(spec) as client:
        minutes = spec.patience or PATIENCE.get(spec.kind, FIRST)
        waited(client, 60 * minutes, REMEDIES[spec.kind])
        place = str(where) if "://" in str(where) else str(Path(where).absolute())
        found = check(client, None if job.adapt else job.model, place)
        gpus = on_gpus(spec.device, found, offering(client))
        share = (spec.slurm.cores if spec.slurm else None) or (1 if spec.kind == "slurm" else threads(client, found))
        yield client, _equipment(spec, gpus, share)


def patience(spec: Cluster) -> float:
    """Seconds to wait for another worker where all have gone."""
    return 60 * (spec.patience or PATIENCE.get(spec.kind, AGAIN))


def _client(spec: Cluster) -> AbstractContextManager[Client]:
    """The client of each kind; imported here, since most need packages that few have."""
    host, dashboard = spec.host or HOST, spec.dashboard or DASHBOARD
    match spec.kind:
        case "local":
            from cluster.local import local

            if spec.device != "gpu":
                return local(spec.workers, memory=spec.memory, host=host, dashboard=dashboard)
            _gpu_here()
            return local(1, memory=spec.memory, host=host, dashboard=dashboard, resources={"GPU": 1})
        case "cuda":
            from cluster.cuda import cuda

            return cuda(spec.workers, memory=spec.memory, host=host, dashboard=dashboard)
        case "slurm":
            from cluster.slurm import Submission, slurm

            asked = spec.slurm or Slurm()
            job = Submission(
                asked.cores or 1,
                spec.memory,
                spec.device == "gpu",
                asked.queue,
                asked.account,
                asked.walltime,
                asked.options,
            )
            return slurm(job, spec.workers or 1, host=host, dashboard=dashboard)
        case "kubernetes":
            from cluster.kubernetes import kubernetes

            place = spec.kubernetes or Kubernetes()
            gpu = spec.device == "gpu"
            return kubernetes(
                spec.workers or 1, namespace=place.namespace, image=place.image, memory=spec.memory, gpu=gpu
            )
        case "address":
            from cluster.address import Certificates, address

            tls = Certificates(spec.tls.ca, spec.tls.cert, spec.tls.key) if spec.tls else None
            return address(str(spec.address), tls)


def _gpu_here() -> None:
    import torch

    if not torch.cuda.is_available():
        raise Refused(
            "device: gpu, but torch finds no GPU here; see that nvidia-smi lists one and that torch is a CUDA build, or take "
            "device: cpu."
        )


def _equipment(spec: Cluster, gpus: bool, share: int) -> Equipment:
    if not gpus:
        for name, asked_for in (("batch", spec.batch), ("compile", spec.compile)):
            if asked_for:
                raise Refused(
                    f"cluster.{name} is for GPUs: on processors networks take one tile at a time as they are, so that every "
                    "machine comes to the same bits; leave it out."
                )
        return Equipment(threads=share, readers=spec.readers or 1)
    asked = (("GPU", 1.0),)
    return Equipment(
        "cuda", threads=share, readers=spec.readers or 8, batch=spec.batch, compiled=spec.compile, resources=asked
    )
