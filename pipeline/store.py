"""The Zarr store: aligned writes of whole cores, metadata that xarray, rioxarray and CF readers understand.

::

    reflectance  (time, band, y, x)   scaled integers; one shard a core
    flags        (time, y, x)         why a pixel is what it is
    metrics/     (time, chunk_y, chunk_x[, band])
    preview/     a picture before and after
    overviews/   the same on larger pixels, each a group
    zones/       of a region over several zones: the store of each
    ledger/      one record a chunk (not Zarr)
    weights/     networks adapted to the scenes of a day, with their cards (not Zarr)
"""

import errno
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import zarr
from numpy.typing import NDArray
from obstore.exceptions import BaseError
from odc.geo.geobox import GeoBox
from zarr.abc.store import Store as ZarrStore
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from pipeline.encoding import Encoding
from pipeline.errors import Refused, StoreFull
from pipeline.flags import MEANINGS, Flag
from pipeline.job import Job
from pipeline.lattice import Box, Chunk, Lattice, Layout
from pipeline.lease import FOLDER as LEASE
from pipeline.ledger import Ledger
from pipeline.objects import Objects, named

INNER = 300
"""Edge of a Zarr chunk inside a shard, pixels: the divisor of the core's that is nearest to it."""

WEIGHTS = "weights"
"""Folder of adapted weights in a store."""

REGISTRATION = "registration"
"""Folder of where scenes lie beside their references, one small file a scene."""

ZONES = "zones"
"""Group of the stores of a region's zones."""

OVERVIEWS = "overviews"
"""Group of overviews, each named by how many pixels of the store lie across one of its own."""

OVERVIEWED = "overviewed"
"""Folder of what is noted of their shards, one empty object each."""

GROWING = "growing.json"
"""What says that a store is being made or grown, and what it shall hold then."""

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Contents:
    """What a store holds, kept among its attributes under ``fusecube``."""

    identity: Mapping[str, Any]
    """What decides its pixels (``Job.identity``)."""
    layout: Layout
    """Its lattice, area and cores."""
    days: tuple[date, ...]
    """Its times."""
    bands: tuple[str, ...]
    """Its bands."""
    encoding: Encoding
    """How its values are kept."""
    specification: Mapping[str, Any]
    """The run specification, without local paths."""
    scenes: tuple[str, ...]
    """Ids of all items that were found for it."""
    run: str
    """Id of the run, derived from specification and items."""
    software: str
    """Version of fusecube that made it."""
    warnings: tuple[str, ...] = ()
    """What a reader of the result should know."""

    def to_attrs(self) -> dict[str, Any]:
        """Plain values for JSON."""
        lattice = self.layout.lattice
        plain = asdict(self)
        plain["days"] = [day.isoformat() for day in self.days]
        plain["encoding"]["fill"] = str(self.encoding.fill)
        plain["layout"]["lattice"] = {
            "crs": lattice.crs,
            "resolution": str(lattice.resolution),
            "step": str(lattice.step),
            "anchor": [str(a) for a in lattice.anchor],
        }
        return json.loads(json.dumps(plain))

    @classmethod
    def from_attrs(cls, raw: dict[str, Any]) -> "Contents":
        """The contents that ``to_attrs`` wrote."""
        grid, plan = raw["layout"]["lattice"], raw["layout"]
        anchor = (Fraction(grid["anchor"][0]), Fraction(grid["anchor"][1]))
        lattice = Lattice(grid["crs"], Fraction(grid["resolution"]), Fraction(grid["step"]), anchor)
        layout = Layout(lattice, Box(**plan["area"]), Box(**plan["frame"]), plan["core"])
        stored = raw["encoding"]
        return cls(
            identity=raw["identity"],
            layout=layout,
            days=tuple(date.fromisoformat(day) for day in raw["days"]),
            bands=tuple(raw["bands"]),
            encoding=Encoding(stored["dtype"], stored["scale"], stored["offset"], float(stored["fill"])),
            specification=raw["specification"],
            scenes=tuple(raw["scenes"]),
            run=raw["run"],
            software=raw["software"],
            warnings=tuple(raw["warnings"]),
        )


class Store:
    """A store in a folder or a bucket, open for reading and for aligned writes."""

    def __init__(self, where: str | Path) -> None:
        self.objects = Objects.at(where)
        self.where = self.objects.where
        self.group = zarr.open_group(self.objects.zarr(), mode="r+")
        attributes: dict[str, Any] = dict(self.group.attrs)
        self.contents = Contents.from_attrs(attributes["fusecube"])
        self.ledger = Ledger(self.objects)

    @property
    def path(self) -> Path:
        """The store's folder; raises ``ValueError`` for one in a bucket."""
        if self.objects.folder is None:
            raise ValueError(f"{self.where} is no folder")
        return self.objects.folder

    @classmethod
    def create(cls, where: str | Path, contents: Contents) -> "Store":
        """Make an empty store; no chunk is written."""
        objects = Objects.at(where)
        with store_errors():
            objects.put(GROWING, b'{"stage": "draft"}')
            describe(objects, contents)
            objects.delete([GROWING])
        return cls(where)

    @classmethod
    def exists(cls, where: str | Path) -> bool:
        """Whether there is a store of fusecube at a place; raises ``Refused`` where something else is."""
        objects = Objects.at(where)
        try:
            if "fusecube" in json.loads(objects.get("zarr.json") or b"{}")["attributes"]:
                return True
        except (json.JSONDecodeError, KeyError, TypeError):
            pass
        if objects.exists(GROWING) or objects.bare(LEASE):
            return False
        raise Refused(f"{where} exists and is not a store of fusecube; name another place with out:.")

    def local(self, key: str, sha256: str) -> Path:
        """A file of the store on this machine: itself, or a copy of it that is made once and held against its hash."""
        copy = self.place(key, sha256)
        if not copy.exists() and self.objects.folder is None:
            found = self.objects.get(key)
            if found is None or hashlib.sha256(found).hexdigest() != sha256:
                raise Refused(f"{self.where} does not hold {key} as it was; delete it and run again.")
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = copy.with_name(f"{copy.name}.{os.getpid()}")
            draft.write_bytes(found)
            draft.replace(copy)
        return copy

    def place(self, key: str, sha256: str) -> Path:
        """Where ``local`` has a file of the store, whether or not it is there."""
        if self.objects.folder is not None:
            return self.objects.folder / key
        return Path(tempfile.gettempdir()) / f"fusecube-{os.getuid()}" / sha256 / Path(key).name

    def array(self, name: str) -> zarr.Array:
        """One of the store's arrays."""
        found = self.group[name]
        assert isinstance(found, zarr.Array)
        return found

    def write(self, chunk: Chunk, day: date, numbers: NDArray, flags: NDArray[np.uint16]) -> None:
        """Write a core's numbers (bands, rows, cols) and flags (rows, cols), whole shards and nothing else.

        Raises ``ValueError`` for a core that is not where the store's own chunks are (a neighbour written at the same time
        would be lost), ``StoreFull`` where the disk takes no more.
        """
        layout, time = self.contents.layout, self.contents.days.index(day)
        slot = layout.slot(chunk.row, chunk.col)
        if slot.intersection(layout.area) != chunk.core:
            raise ValueError(
                f"chunk {chunk} is not a core of the store, whose core ({chunk.row}, {chunk.col}) is {slot}: writing it "
                "would race with its neighbours; cut the work with the store's own layout."
            )
        rows, cols = layout.pixels_of(slot)
        inner_rows, inner_cols = layout.pixels_of(chunk.core)
        inside = (slice(inner_rows.start - rows.start, inner_rows.stop - rows.start),
                  slice(inner_cols.start - cols.start, inner_cols.stop - cols.start))  # fmt: skip
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        if numbers.shape[1:] != shape:  # the area ends within the core
            full = np.full((len(self.contents.bands), *shape), self.contents.encoding.fill, numbers.dtype)
            full[:, inside[0], inside[1]] = numbers
            why = np.full(shape, Flag.NODATA, np.uint16)
            why[inside] = flags
            numbers, flags = full, why
        with store_errors():
            self.array("reflectance")[time, :, rows, cols] = numbers
            self.array("flags")[time, rows, cols] = flags

    def consolidate(self) -> None:
        """Bring the one document of metadata up to date with groups that were made."""
        _consolidate(self.objects.zarr())
        self.group = zarr.open_group(self.objects.zarr(), mode="r+")

    def write_group(
        self,
        name: str,
        arrays: Mapping[str, tuple[Sequence[str], NDArray]],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Replace a group of small arrays, each given with the names of its dimensions; its attributes come last."""
        with self.new_group(name, attributes or {}) as group:
            for key, (dims, values) in arrays.items():
                _small(group, key, dims, values)

    @contextmanager
    def new_group(self, name: str, attributes: Mapping[str, Any]) -> Iterator[zarr.Group]:
        """A group in the place of one that there was, to be filled; its attributes come once it is."""
        with store_errors():
            group = self.group.create_group(name, overwrite=True)
            yield group
            if any("time" in (array.metadata.dimension_names or ()) for _, array in group.arrays()):  # type: ignore[union-attr]
                _labels(group, self.contents)
            group.attrs.update(dict(attributes))
            self.consolidate()


@contextmanager
def store_errors() -> Iterator[None]:
    """Errors of what lies below a store by their names: a full disk or bucket, a server that does not answer."""
    try:
        yield
    except BaseError as error:
        raise named(error, "the store") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(error.errno, "no space is left for the store") from error
        raise


def contents_of(
    job: Job,
    days: Sequence[date],
    specification: Mapping[str, Any],
    scenes: Sequence[str],
    run: str,
    software: str,
    warnings: Sequence[str] = (),
) -> Contents:
    """What the store of a job holds."""
    return Contents(
        identity=job.identity,
        layout=job.layout,
        days=tuple(days),
        bands=job.model.output.bands,
        encoding=job.encoding,
        specification=specification,
        scenes=tuple(sorted(scenes)),
        run=run,
        software=software,
        warnings=tuple(warnings),
    )


def describe(objects: Objects, contents: Contents) -> None:
    """Write all metadata of a store: arrays without chunks, coordinates, attributes; what makes it one comes last."""
    documents: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(documents), zarr_format=3, attributes=_root_attrs(contents))
    cube(group, contents, contents.layout.geobox)
    _consolidate(group.store)
    root = documents.pop("zarr.json")
    for key, document in documents.items():
        objects.put(key, document.to_bytes())
    objects.put("zarr.json", root.to_bytes())
    _consolidate(objects.zarr())  # with groups that were there before


def cube(group: zarr.Group, contents: Contents, box: GeoBox) -> None:
    """Arrays without chunks for what a store holds, on a grid of pixels, and their coordinates."""
    coding = contents.encoding
    height, width = box.shape
    core = contents.layout.core_pixels
    inner = min((n for n in range(1, core + 1) if core % n == 0), key=lambda n: (abs(n - INNER), n))
    common: dict[str, Any] = {"compressors": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")}
    bands, times = len(contents.bands), len(contents.days)
    fill = coding.fill if coding.dtype == "float32" else int(coding.fill)
    scaling = {} if coding.dtype == "float32" else {"scale_factor": coding.scale, "add_offset": coding.offset}
    mapped = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    group.create_array(
        "reflectance",
        shape=(times, bands, height, width),
        shards=(1, bands, core, core),
        chunks=(1, 1, inner, inner),
        dtype=coding.dtype,
        fill_value=fill,
        dimension_names=("time", "band", "y", "x"),
        attributes=mapped | scaling | _fill_attr(coding) | {"long_name": "reflectance", "units": "1"},
        **common,
    )
    group.create_array(
        "flags",
        shape=(times, height, width),
        shards=(1, core, core),
        chunks=(1, inner, inner),
        dtype="uint16",
        fill_value=int(Flag.NODATA),
        dimension_names=("time", "y", "x"),
        attributes=mapped
        | {
            "long_name": "why a pixel is what it is",
            **MEANINGS,
        },
        **common,
    )
    coordinates(group, contents, box)


def _fill_attr(coding: Encoding) -> dict[str, Any]:
    """CF's fill value; NaN needs none."""
    return {} if coding.dtype == "float32" else {"_FillValue": int(coding.fill)}


def _root_attrs(contents: Contents) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": f"fusecube {contents.identity['flow']}: {contents.identity['model']['name']}",
        "source": ", ".join(contents.scenes[:50]),
        "history": f"made by fusecube {contents.software}, run {contents.run}",
        "fusecube": contents.to_attrs(),
    }


def coordinates(group: zarr.Group, contents: Contents, box: GeoBox) -> None:
    """Coordinates of a grid of pixels, of the days and of the bands, in place of those that were there."""
    crs = pyproj.CRS.from_user_input(contents.layout.lattice.crs)
    y = box.affine.f + box.affine.e * (np.arange(box.shape[0]) + 0.5)
    x = box.affine.c + box.affine.a * (np.arange(box.shape[1]) + 0.5)
    for name, centres in (("y", y), ("x", x)):
        axis = {"units": "m", "standard_name": f"projection_{name}_coordinate", "axis": name.upper()}
        _small(group, name, (name,), centres, axis)
    _labels(group, contents)
    transform = " ".join(str(v) for v in box.affine.to_gdal())
    _small(group, "spatial_ref", (), np.array(0, np.int64), crs.to_cf() | {"GeoTransform": transform})


def _labels(group: zarr.Group, contents: Contents) -> None:
    """Coordinates of the days and the bands."""
    times = np.array([(day - EPOCH).days for day in contents.days], np.int64)
    calendar = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
    _small(group, "time", ("time",), times, calendar | {"long_name": "solar day of acquisition"})
    shape, names = (len(contents.bands),), ("band",)
    band = group.create_array("band", shape=shape, dtype="str", dimension_names=names, overwrite=True)
    band[:] = np.array(contents.bands)


def _small(
    group: zarr.Group, name: str, dims: Sequence[str], values: NDArray, attributes: Mapping[str, Any] | None = None
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        dimension_names=tuple(dims),
        attributes=dict(attributes or {}),
        overwrite=True,
    )
    array[...] = values


def _consolidate(store: ZarrStore) -> None:
    """One document of metadata, so that opening lists nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", r"Object at .+ is not recognized")  # ours, beside the arrays
        zarr.consolidate_metadata(store)
