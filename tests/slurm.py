"""A real SLURM of one node for a test: its own munged, slurmctld and slurmd, on 127.0.0.1, gone at the end."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel")

CONFIGURATION = """
ClusterName=fusecube
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=5
NodeName={node} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def absent() -> str | None:
    """Why SLURM cannot be run here."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: slurmctld, slurmd, munge)"
    return None if os.geteuid() == 0 else "slurmd starts jobs as their users, so it must be run by root"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands find it."""
    node = socket.gethostname().partition(".")[0]
    ports = dict(zip(("controller", "daemon"), free_ports(2), strict=True))
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(node=node, folder=folder, cores=os.cpu_count() or 1, **ports))
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    with ExitStack() as stack:
        files = {f"{what}-file": folder / f"munge.{what}" for what in ("key", "seed", "log", "pid")}
        told = [f"--{name}={file}" for name, file in files.items()]
        _started(stack, ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *told], environment)
        _until(lambda: (folder / "munge.socket").exists(), "munged has not started", folder)
        _started(stack, ["slurmctld", "-D", "-f", str(configuration)], environment)
        _started(stack, ["slurmd", "-D", "-f", str(configuration), "-N", node], environment)
        _until(lambda: "idle" in _told(["sinfo", "--noheader", "--format=%t"], environment), "no node is idle", folder)
        try:
            yield environment
        finally:
            _told(["scancel", "--user=root"], environment)
            _until(lambda: not _told(["squeue", "--noheader"], environment), "jobs have not ended", folder)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _started(stack: ExitStack, command: list[str], environment: dict[str, str]) -> None:
    process = stack.enter_context(
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )
    stack.callback(process.terminate)


def _told(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False).stdout


def _until(true, otherwise: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
    for _ in range(200):
        if true():
            return
        time.sleep(0.1)
    logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("*.log")))
    raise RuntimeError(f"{otherwise}\n{logs}")
