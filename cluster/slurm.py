"""A cluster of SLURM jobs, one a worker, by dask-jobqueue; the scheduler runs here, beside the client."""

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

import dask
from distributed import Client, Security

from cluster.environment import SETTINGS, exports
from cluster.local import DASHBOARD, HOST
from pipeline.errors import Refused

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster


@dataclass(frozen=True)
class Submission:
    """What each worker's job is submitted with; what is left out is taken from Dask's ``jobqueue.yaml``, then from SLURM."""

    cores: int = 1
    """Cores of a job."""
    memory: str | None = None
    """Memory of a job, such as ``8 GB``."""
    gpu: bool = False
    """Whether it asks for a GPU (``--gres=gpu:1`` unless an option names GPUs) and offers ``{"GPU": 1}``."""
    queue: str | None = None
    """Partition."""
    account: str | None = None
    """Account that is charged."""
    walltime: str | None = None
    """Time it may run, such as ``04:00:00``."""
    options: tuple[str, ...] = ()
    """Further options of sbatch."""

    @property
    def directives(self) -> list[str]:
        """Options, one for a GPU among them where a job asks for it."""
        asks = self.gpu and not any("gpu" in option for option in self.options)
        return [*self.options, *(["--gres=gpu:1"] if asks else [])]


@contextmanager
def slurm(
    submission: Submission, workers: int = 1, *, host: str = HOST, dashboard: str = DASHBOARD
) -> Iterator[Client]:
    """A client of a new cluster on SLURM, whose jobs are cancelled at the end; a worker that dies is asked for again.

    What passes between client, scheduler and workers is encrypted, with certificates made for this cluster, so that other
    users of the machines cannot send it work.

    Parameters
    ----------
    submission
        What each worker's job is submitted with.
    workers
        Jobs.
    host
        Address that the scheduler binds to; workers on other nodes must be able to reach it.
    dashboard
        Address and port that Dask's dashboard binds to.

    Raises ``Refused`` where SLURM or dask-jobqueue is not there, or SLURM would not take the job.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise Refused("cluster: slurm needs dask-jobqueue; install it by pip install 'fusecube[slurm]'.") from None
    if shutil.which("sbatch") is None:
        raise Refused("cluster: slurm finds no sbatch here; run on a machine from which SLURM jobs are submitted.")
    if not (submission.memory or _configured("memory")):
        raise Refused("cluster: slurm must know what a worker may take; give cluster.memory, such as 8 GB.")

    arguments = ["--dashboard-address", "127.0.0.1:0", *(["--host", HOST] if host == HOST else [])]
    arguments += ["--resources", "GPU=1"] if submission.gpu else []
    with (
        TemporaryDirectory(prefix=".fusecube-", dir=Path.cwd()) as folder,  # where jobs run, so all nodes should see it
        dask.config.set(SETTINGS),
        SLURMCluster(
            cores=1,  # threads of Dask; the cores are torch's
            processes=1,
            job_cpu=submission.cores,
            memory=submission.memory,
            queue=submission.queue,
            account=submission.account,
            walltime=submission.walltime,
            job_extra_directives=[*_configured("job-extra-directives"), *submission.directives],
            job_script_prologue=[*_configured("job-script-prologue"), *exports(submission.cores)],
            worker_extra_args=[*_configured("worker-extra-args"), *arguments],
            scheduler_options={"host": host, "dashboard_address": dashboard},
            security=_encrypted(Path(folder)),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        _tried(cluster)
        cluster.adapt(minimum_jobs=workers, maximum_jobs=workers)
        yield client


def _configured(key: str) -> list[str]:
    """What the site's ``jobqueue.yaml`` says."""
    return dask.config.get(f"jobqueue.slurm.{key}", None) or []


def _encrypted(folder: Path) -> Security:
    """Certificates of this cluster, in files that only this user reads."""
    files = {}
    for part, text in Security.temporary().get_tls_config_for_role("client").items():
        if part in ("ca_file", "cert", "key"):
            files[part] = str(folder / part)
            Path(files[part]).write_text(text)
    pairs = {f"tls_{role}_{p}": files[p] for role in ("client", "scheduler", "worker") for p in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=files["ca_file"], **pairs)


def _tried(cluster: "SLURMCluster") -> None:
    """Ask SLURM whether it would take the job, since what it says to one that is submitted would only be logged."""
    script = cluster.job_script()
    try:
        tried = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise Refused("SLURM has not answered for a minute; see that sinfo answers here.") from None
    if tried.returncode:
        said = " ".join(tried.stderr.replace("sbatch: error: ", "").split()).removeprefix("allocation failure: ")
        raise Refused(
            f"SLURM would not take a worker's job ({shorten(said, 200, placeholder=' …')}); see that sinfo answers here, and "
            "cluster.slurm, workers and memory."
        )
