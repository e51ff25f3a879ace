"""A cluster of pods, by the Dask operator; the scheduler is a pod too and is forwarded to this machine."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any
from uuid import uuid4

import yaml
from distributed import Client

from pipeline.errors import Refused

STARTING = 15 * 60
"""Seconds in which Kubernetes must have started the scheduler: it may first have to fetch the image."""

IDLE = 60 * 60
"""Seconds without work after which the operator deletes a cluster whose client was killed."""


@contextmanager
def kubernetes(
    workers: int = 1, *, namespace: str, image: str | None = None, memory: str | None = None, gpu: bool = False
) -> Iterator[Client]:
    """A client of a new cluster in a namespace, deleted at the end; a pod that dies is started again.

    Parameters
    ----------
    workers
        Pods.
    namespace
        Where they run.
    image
        With fusecube; by default that of the manifest.
    memory
        Of a worker, such as ``8 GB``; by default that of the manifest.
    gpu
        Whether workers are given a GPU each and offer ``{"GPU": 1}``.

    Raises ``Refused`` where dask-kubernetes is not installed, or Kubernetes or the Dask operator does not do as asked.
    """
    try:
        from dask_kubernetes.operator import KubeCluster
        from dask_kubernetes.operator.kubecluster.kubecluster import reap_clusters
        from httpx import HTTPError
        from kr8s import APITimeoutError, NotFoundError, ServerError
    except ImportError:
        raise Refused(
            "cluster: kubernetes needs dask-kubernetes; install it by pip install 'fusecube[kubernetes]'."
        ) from None

    wanted = manifest(workers, image=image, memory=memory, gpu=gpu)
    try:
        cluster = KubeCluster(
            custom_cluster_spec=wanted,
            namespace=namespace,
            resource_timeout=STARTING,
            shutdown_on_close=True,
            quiet=True,
        )
    except (HTTPError, APITimeoutError, NotFoundError, ServerError, OSError, RuntimeError, ValueError) as error:
        atexit.unregister(reap_clusters)  # at the end it would reach for Kubernetes once more, and say so at length
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(
            f"Kubernetes has not started a cluster in namespace '{namespace}' ({reason}); see that kubectl reaches it and "
            "that the Dask operator runs (cluster/kubernetes.md)."
        ) from None
    with cluster, Client(cluster) as client:
        yield client


def manifest(workers: int, *, image: str | None = None, memory: str | None = None, gpu: bool = False) -> dict[str, Any]:
    """The ``DaskCluster`` of ``cluster/manifests``, with a name of its own, as asked for."""
    found = _read("cluster.yaml")
    del found["metadata"]["namespace"]
    found["metadata"]["name"] = f"fusecube-{uuid4().hex[:8]}"
    parts = found["spec"]
    if gpu:
        parts["worker"] = _read("gpu-workers.yaml")["spec"]["worker"]
    parts["worker"]["replicas"] = workers
    for part in (parts["scheduler"], parts["worker"]):
        for container in part["spec"]["containers"]:
            container["image"] = image or container["image"]
    if memory:
        amount = memory.replace(" ", "").removesuffix("B").replace("kB", "k")
        for container in parts["worker"]["spec"]["containers"]:
            for bound in container["resources"].values():
                bound["memory"] = amount
    parts["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = found["metadata"]["name"]
    parts["idleTimeout"] = IDLE
    return found


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((resources.files("cluster") / "manifests" / name).read_text(encoding="utf-8"))
