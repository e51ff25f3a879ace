"""Run specifications: YAML, validated, with errors that name the key and the remedy."""

import calendar
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from flows import strict
from flows.strict import Strict
from pipeline.access import REMOTE
from pipeline.encoding import encoding
from pipeline.errors import nearest
from pipeline.flags import Flag
from pipeline.objects import place

Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]

MASKABLE = tuple((flag.name or "").lower() for flag in Flag if flag not in (Flag.NODATA, Flag.MASKED, Flag.OUTSIDE))


class Area(Strict):
    """A place: exactly one of the four."""

    bbox: tuple[Longitude, Latitude, Longitude, Latitude] | None = Field(
        None, description="West, south, east, north in degrees."
    )
    geojson: Path | None = Field(None, description="File with a polygon in degrees; the result is clipped to it.")
    tile: str | None = Field(
        None, description="A whole Sentinel-2 tile, such as 33UUB.", pattern=r"^\d{2}[C-X][A-Z]{2}$"
    )
    scene: str | None = Field(None, description="The whole of one item, by its id.")

    @model_validator(mode="after")
    def _one(self) -> "Area":
        given = [name for name in ("bbox", "geojson", "tile", "scene") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of bbox, geojson, tile, scene (given: {', '.join(given) or 'none'})")
        if self.bbox and not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
            raise ValueError("bbox is west, south, east, north, with west < east and south < north")
        return self


class Grid(Strict):
    """The pixel grid of the result."""

    crs: str = Field("auto", description="EPSG:code of a CRS in metres; auto takes the one that most scenes have.")
    zones: Literal["auto", "each", "one"] = Field(
        "auto",
        description="Where scenes lie in several UTM zones: each is fused on its own pixels, then all are laid together; one "
        "reads all on one grid; auto: one where the scenes of that zone cover the area.",
    )
    resolution: int = Field(10, gt=0, description="Ground sampling distance in metres.")
    anchor: tuple[int, int] = Field(
        (0, 0),
        description="Easting and northing of a pixel corner, for files whose pixels are shifted against the CRS.",
    )


class Harmonise(Strict):
    """What makes images comparable; all off by default."""

    nbar: bool = Field(
        False, description="Bring reflectance to a view from above (c-factor); needs angles in the items."
    )
    platform: str | None = Field(
        None, description="Bands as this platform would see them, such as sentinel-2a or landsat-8."
    )
    coregister: Literal["off", "check", "correct"] = Field(
        "off", description="Hold each scene against the clearest of its tile; correct also puts it in its place."
    )


class Tls(Strict):
    """Certificates for a scheduler at a tls:// address, PEM files; they stay on this machine."""

    ca: Path = Field(description="Of the authority that signed the scheduler's certificate.")
    cert: Path = Field(description="That this client shows.")
    key: Path = Field(description="Of that certificate.")


class Slurm(Strict):
    """What a SLURM job is asked for with; what is left out is taken from Dask's jobqueue.yaml, then from SLURM."""

    queue: str | None = Field(None, description="Partition.")
    account: str | None = Field(None, description="Account that is charged.")
    walltime: str | None = Field(None, description="Time that a worker may run, such as 04:00:00.")
    cores: int | None = Field(None, gt=0, description="Cores of a worker; by default 1.")
    options: tuple[str, ...] = Field((), description="Further options of sbatch, such as --constraint=a100.")


class Kubernetes(Strict):
    """Where on a Kubernetes cluster the work runs."""

    namespace: str = Field("fusecube", description="Namespace of the pods.")
    image: str | None = Field(None, description="Image with fusecube; by default that of the manifest.")


class Cluster(Strict):
    """Where the work runs; nothing of it changes a pixel, and nothing of it enters a store."""

    kind: Literal["local", "cuda", "slurm", "kubernetes", "address"] = Field(
        "local", description="local, cuda, slurm, kubernetes, or the address of a scheduler (tcp://…, tls://…)."
    )
    address: str | None = Field(None, description="Of a scheduler that runs already.")
    tls: Tls | None = None
    workers: int | None = Field(
        None, gt=0, description="Processes; by default one a core, with GPUs one a GPU, on SLURM and Kubernetes one."
    )
    memory: str | None = Field(None, description="What a worker may take, such as 8 GB.")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto: GPUs where workers offer them.")
    readers: int | None = Field(None, gt=0, description="Windows read ahead at once; by default 1, for a GPU 8.")
    batch: int | None = Field(None, gt=0, description="Tiles that a GPU takes at once; by default what fits.")
    compile: bool = Field(False, description="Compile networks (torch.compile) for GPUs before the first chunk.")
    patience: float | None = Field(
        None, gt=0, description="Minutes to wait for the first worker; by default 2, on SLURM 60, on Kubernetes 15."
    )
    host: str | None = Field(None, description="Address that the scheduler binds to; by default 127.0.0.1.")
    dashboard: str | None = Field(None, description="Address of Dask's dashboard; by default 127.0.0.1 and any port.")
    slurm: Slurm | None = None
    kubernetes: Kubernetes | None = None

    @model_validator(mode="before")
    @classmethod
    def _address_as_kind(cls, value: Any) -> Any:
        if isinstance(value, dict) and "://" in str(value.get("kind")):
            return {"address": value["kind"]} | value | {"kind": "address"}
        if isinstance(value, dict) and value.get("address") is not None:
            return {"kind": "address"} | value
        return value

    @field_validator("address")
    @classmethod
    def _reachable_by_name(cls, value: str | None) -> str | None:
        try:
            parts = urlsplit(value or "tcp://host:8786")
            good = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port and not parts.path
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"{value!r} is no address of a scheduler; write tcp://host:8786 or tls://host:8786")
        return value

    @field_validator("memory", mode="before")
    @classmethod
    def _readable_memory(cls, value: Any) -> Any:
        if value is not None and not re.fullmatch(r"(?=.*[1-9])\d+(\.\d+)? ?[kMGT]i?B", str(value)):
            raise ValueError(f"{value!r} is no memory; write it such as 8 GB")
        return value

    @field_validator("dashboard")
    @classmethod
    def _port_of_a_dashboard(cls, value: str | None) -> str | None:
        port = re.fullmatch(r"[^/]*:(\d+)", value or ":0")
        if not port or int(port[1]) > 65535:
            raise ValueError(f"{value!r} is no address and port; write 127.0.0.1:8787, or 127.0.0.1:0 for any port")
        return value

    @model_validator(mode="after")
    def _one_story(self) -> "Cluster":
        for name, kinds in ONLY.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name} goes with {' or '.join(kinds)}, not with {self.kind}; leave it out")
        if self.kind == "address" and not self.address:
            raise ValueError("give the address of the scheduler, such as tcp://host:8786")
        if self.tls and not str(self.address).startswith("tls://"):
            raise ValueError("certificates need a tls:// address")
        if self.kind == "cuda" and self.device == "cpu":
            raise ValueError("cuda is for GPUs; with device: cpu the kind is local")
        if self.kind == "local" and self.device == "gpu" and (self.workers or 1) > 1:
            raise ValueError("local runs one process on one GPU; cuda runs one process on each")
        return self


ONLY = {
    "address": ("address",),
    "tls": ("address",),
    "slurm": ("slurm",),
    "kubernetes": ("kubernetes",),
    "workers": ("local", "cuda", "slurm", "kubernetes"),
    "memory": ("local", "cuda", "slurm", "kubernetes"),
    "host": ("local", "cuda", "slurm"),
    "dashboard": ("local", "cuda", "slurm"),
}
"""Entries of a cluster that go with some kinds only."""


class Spec(Strict):
    """A run specification."""

    flow: str = Field(description="What to make: sharpen.")
    catalog: str = Field(
        description="A STAC API or static catalog (https://…), or a path to catalog.json or an item collection."
    )
    area: Area
    time: str = Field(
        description="A date or two with a slash between: 2017-05, 2017-05-01/2017-06-01; both ends count."
    )
    model: str = Field("light", description="How to fuse: a network (light, mpifnet, dsen2), bicubic or identity.")
    weights: Path | None = Field(None, description="Weights of the network; by default those that come with fusecube.")
    adapt: int | None = Field(
        None,
        ge=0,
        description="Steps for which a network is first taught the very scenes it will sharpen; by default 600, 0 for none.",
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="In which a network's convolutions run.")
    gates: Literal["fixed", "pooled"] = Field(
        "fixed", description="Global gates of a network: fixed, or pooled over context tiles of 600 px."
    )
    consistent: bool = Field(
        False, description="Project the result so that, degraded, it gives back every band as it was measured."
    )
    level: Literal["L1C", "L2A"] | None = Field(None, description="Processing level; by default the highest there is.")
    bands: tuple[str, ...] | None = Field(
        None, description="Bands of the result; by default all of the sensor.", min_length=1
    )
    scenes: tuple[str, ...] = Field((), description="Only these item ids.")
    max_cloud: float = Field(100, ge=0, le=100, description="Highest cloud cover of a scene in percent.")
    grid: Grid = Grid()
    chunk: int = Field(1200, gt=0, description="Edge of a chunk in pixels of the result, whole steps of the lattice.")
    mask: tuple[str, ...] = Field((), description="Flags whose pixels are written as nodata, such as cloud, shadow.")
    dilate: int = Field(0, ge=0, le=2000, description="Metres by which clouds and shadows are dilated; mask: near.")
    harmonise: Harmonise = Harmonise()
    encoding: str = Field("uint16", description="uint16 (1e-4 reflectance) or float32.")
    cluster: Cluster = Cluster()
    out: Path | str = Field(description="Where the Zarr store goes: a folder of this machine, or s3://bucket/name.")

    @field_validator("time", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        return time_as_text(value)

    @field_validator("time")
    @classmethod
    def _readable_time(cls, value: str) -> str:
        period(value)
        return value

    @field_validator("bands")
    @classmethod
    def _each_band_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and len(set(value)) < len(value):
            raise ValueError("a band is named twice")
        return value

    @field_validator("mask")
    @classmethod
    def _known_flags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in MASKABLE:
                raise ValueError(f"there is no flag '{name}': {nearest(name, MASKABLE)}")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        encoding(value)  # refuses with the nearest name
        return value

    @field_validator("out", mode="before")
    @classmethod
    def _place(cls, value: Any) -> Path | str:
        if not isinstance(value, str | Path):
            raise ValueError("name a folder, or s3://bucket/name")
        found = place(value)
        if isinstance(found, str) and found.count("/") < 3:
            raise ValueError(f"{found} is a whole bucket; name a place in it, such as {found}/berlin.zarr")
        return found

    @field_validator("cluster", mode="before")
    @classmethod
    def _cluster_by_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    def published(self) -> dict[str, Any]:
        """The specification as a store keeps it: no path of this machine, no credentials, nothing about where it ran."""
        plain = self.model_dump(mode="json", exclude={"out", "cluster"}, exclude_none=True)
        if self.weights:
            plain["weights"] = self.weights.name
        parts = urlsplit(self.catalog)
        if parts.scheme in REMOTE:
            plain["catalog"] = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        else:
            plain["catalog"] = Path(self.catalog).name
        if self.area.geojson:
            plain["area"] = {"geojson": self.area.geojson.name}
        return plain


def time_as_text(value: Any) -> Any:
    """A time as it was written: YAML reads 2017 and 2017-05-27 as a number and a date."""
    return str(value) if isinstance(value, int | date) else value


def period(text: str) -> tuple[datetime, datetime]:
    """First and last moment (UTC) of a date such as ``2017``, ``2017-05`` or ``2017-05-27``, or of two with a slash.

    >>> period("2017-05")[1].isoformat()
    '2017-05-31T23:59:59.999999+00:00'
    """
    first, _, last = text.partition("/")
    start, end = _span(first)[0], _span(last or first)[1]
    if end < start:
        raise ValueError(f"time {text!r} ends before it begins")
    return start, end


def _span(text: str) -> tuple[datetime, datetime]:
    """First and last moment of one date, or the moment itself where a time of day is given."""
    text = text.strip()
    try:
        parts = [int(part) for part in text.split("-")]
    except ValueError:
        parts = []
    try:
        if 1 <= len(parts) <= 3:
            year, month, day = [*parts, 1, 1][:3]
            start = datetime(year, month, day, tzinfo=UTC)
            month_days = calendar.monthrange(year, month)[1]
            days = {1: 366 if calendar.isleap(year) else 365, 2: month_days, 3: 1}[len(parts)]
            return start, start + timedelta(days=days, microseconds=-1)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC),) * 2
    except ValueError:
        raise ValueError(f"time {text!r} is no date; write 2017-05-27, 2017-05 or 2017-05-01/2017-06-01") from None


def load(path: Path, changes: tuple[str, ...] = ()) -> Spec:
    """Read and validate a run specification (``strict.load``)."""
    return strict.load(Spec, path, changes)


def validate(raw: dict[str, Any]) -> Spec:
    """The run specification of plain values (``strict.validate``)."""
    return strict.validate(Spec, raw)
