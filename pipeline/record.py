"""What one chunk has to say of itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date

from pipeline.lattice import Box
from pipeline.metrics import AngleSums, BandSums, PairSums


@dataclass(frozen=True)
class Failure:
    """A file that could not be read."""

    scene: str
    """Item id."""
    band: str
    """Band."""
    reason: str
    """Why, in a few words, without any path."""


@dataclass(frozen=True)
class Record:
    """The record of one finished chunk."""

    key: str
    """Name of the work (``job.key``)."""
    day: date
    """Solar day."""
    box: Box
    """Core, in steps of the lattice."""
    pixels: int
    """Pixels of the core."""
    scenes: tuple[str, ...]
    """Ids of the items that were read, in the order in which they were laid down."""
    weights: str
    """Hash of the model's weights; empty for a model that has none."""
    readings: Mapping[str, tuple[str, ...]]
    """How the pixels of each band came (``native``, ``repeated``, ``averaged``, ``warped``), over all scenes."""
    failures: tuple[Failure, ...]
    """Files that could not be read: nodata in this chunk."""
    shifts: Mapping[str, tuple[float, float, float]]
    """Scenes that were held against a reference: metres east, metres south, confidence from 0 to 1."""
    flags: Mapping[str, int]
    """Pixels that carry each flag."""
    bands: Mapping[str, BandSums]
    """Sums over the result, band by band."""
    consistency: Mapping[str, PairSums]
    """The result degraded to a band's own resolution beside what was measured there, over the pixels of the band whose
    support lies in the core."""
    before: Mapping[str, PairSums]
    """The same before the result was projected onto consistency; empty where it was not."""
    angles: Mapping[str, AngleSums]
    """Spectral angles of the same comparison, by resolution (such as ``20m``)."""
    seconds: Mapping[str, float]
    """Wall time of each stage."""
    peak_memory: int
    """Largest resident memory of the worker's process so far, bytes."""
    digest: str
    """SHA-256 over the stored numbers and flags of the core."""
    software: str
    """Version of fusecube."""
    turn: float = 0.0
    """Wall seconds since its worker finished the chunk before, or began the strip: less than its stages, which overlap."""
    gpu_memory: int = 0
    """Largest memory of the GPU so far, bytes; 0 without one."""

    @property
    def valid(self) -> int:
        """Pixels with a value in at least one band."""
        return self.pixels - self.flags.get("NODATA", 0)

    def to_json(self) -> str:
        """The record as one JSON object."""
        return json.dumps(asdict(self) | {"day": self.day.isoformat()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record that ``to_json`` wrote."""
        raw = json.loads(text)
        raw["day"] = date.fromisoformat(raw["day"])
        raw["box"] = Box(**raw["box"])
        raw["scenes"] = tuple(raw["scenes"])
        raw["readings"] = {band: tuple(ways) for band, ways in raw["readings"].items()}
        raw["shifts"] = {scene: tuple(found) for scene, found in raw["shifts"].items()}
        raw["failures"] = tuple(Failure(**f) for f in raw["failures"])
        raw["bands"] = {band: BandSums(**sums) for band, sums in raw["bands"].items()}
        raw["consistency"] = {band: PairSums(**sums) for band, sums in raw["consistency"].items()}
        raw["before"] = {band: PairSums(**sums) for band, sums in raw["before"].items()}
        raw["angles"] = {name: AngleSums(**sums) for name, sums in raw["angles"].items()}
        return cls(**raw)
