"""How windows of one band of one scene are read: what ``warp`` makes of a file, and what is said where there is none.

``BandReader`` is the reader class that stackstac is given (stackstac opens nothing itself then). The file's own header,
read here on the worker, decides how its pixels come; what the item's metadata said of its grid does not.
"""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.access import ANEW, LAYER, may_pass, open_raster, split_layer
from pipeline.errors import Refused
from pipeline.warp import PLAIN, Numbers, Target, onto

ABSENT = "absent:"
"""Address of a band that the item does not list: read as nodata, and named in the journal."""

NOT_LISTED = "the item lists no such asset"
"""Why such a band could not be read."""


@dataclass
class Journal:
    """What became of each file that a window was read from."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """Address to how its pixels came: ``native``, ``repeated``, ``averaged`` or ``warped``."""
    failures: dict[str, str] = field(default_factory=dict)
    """Address to why it could not be read."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards both."""

    def note(self, address: str, outcome: str) -> None:
        """Keep how a file's pixels came."""
        with self.lock:
            self.outcomes[address] = outcome

    def fail(self, address: str, reason: str) -> None:
        """Keep why a file could not be read."""
        with self.lock:
            self.failures[address] = reason

    def add(self, other: "Journal") -> None:
        """Keep all that another journal holds."""
        with self.lock:
            self.outcomes |= other.outcomes
            self.failures |= other.failures

    def __dask_tokenize__(self) -> int:
        return id(self)


class BandReader:
    """Reads windows of one band of a file onto a grid: stackstac's ``Reader`` protocol.

    A file that cannot be read is nodata, named in the journal; without a journal it raises ``OSError``.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: RasterSpec,
        resampling: Resampling,
        dtype: np.dtype,
        fill_value: int | float,
        journal: Journal | None = None,
        numbers: Numbers = PLAIN,  # what its numbers mean
        **unused: Any,  # scale_offset, gdal_env, errors_as_nodata: stackstac's own ways of doing what is done here
    ) -> None:
        self.url = url
        self.spec = spec
        self.resampling = resampling
        self.dtype = np.dtype(dtype)
        self.fill = np.asarray(fill_value, self.dtype)
        self.journal = journal
        self.numbers = numbers

    def read(self, window: Window, **unused: Any) -> NDArray[Any]:
        """Pixels of a window of the grid, (rows, cols)."""
        grid = self.spec.transform
        target = Target(
            crs=f"EPSG:{self.spec.epsg}",
            left=grid.c + window.col_off * grid.a,
            top=grid.f + window.row_off * grid.e,
            resolution=grid.a,
            shape=(int(window.height), int(window.width)),
        )
        try:
            pixels, outcome = self._pixels(target)
        except (RasterioError, OSError, Refused) as error:
            reason = explain(error, self.url)
            if self.journal is None:
                raise OSError(reason) from None
            self.journal.fail(self.url, reason)
            return np.full(target.shape, self.fill)
        if self.journal is not None:
            self.journal.note(self.url, outcome)
        return pixels.astype(self.dtype, copy=False)

    def _pixels(self, target: Target) -> tuple[NDArray[Any], str]:
        """Pixels of the file on the target grid, and the way they came; tried three times where that may help."""
        if self.url.startswith(ABSENT):
            raise FileNotFoundError(NOT_LISTED)
        try:
            return self._once(target)
        except RasterioError as error:
            if not may_pass(error, self.url):
                raise
        with rasterio.Env(**ANEW):
            try:
                return self._once(target)
            except RasterioError:
                time.sleep(1.0)
                return self._once(target)

    def _once(self, target: Target) -> tuple[NDArray[Any], str]:
        *_, index = split_layer(self.url)
        with open_raster(self.url) as source:
            if index > source.count:
                raise OSError(f"the file has {source.count} bands where number {index} is wanted")
            held = source.dtypes[index - 1]
            if self.numbers.decode is None and not np.can_cast(held, self.dtype):
                raise OSError(f"the file holds {held} where {self.dtype} digital numbers are expected")
            return onto(
                source,
                target,
                self.fill,
                self.resampling,
                nodata=float(self.fill),
                index=index,
                numbers=self.numbers,
            )

    def close(self) -> None:
        """Nothing is held open between reads."""


def explain(error: Exception, address: str) -> str:
    """One line that says why a file could not be read, without its place on this machine or any address."""
    text = re.sub(r"/vsi\w+/[^\s'\",]*", "the file", " ".join(str(error).split()))  # as GDAL calls what it reads from
    place = address.partition(LAYER)[0]
    for part in (address, place, place.rsplit("/", 1)[-1]):
        text = text.replace(part, "the file")
    if isinstance(error, FileNotFoundError) and ABSENT in address:
        return text
    if "No such file" in text or "does not exist" in text or "HTTP response code: 404" in text:
        return "the file is missing"
    if "/" in text or "\\" in text:  # a path of this machine, or an address, that GDAL spelled in its own way
        text = re.split(r"[/\\]", text, maxsplit=1)[0].rsplit(" ", 1)[0].rstrip(" '\"`:")
    return re.sub(r"\?\S*=\S*", "", text)[:200] or type(error).__name__
