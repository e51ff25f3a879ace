"""Where a store keeps its objects: a folder of this machine or a prefix of an S3 bucket, alike.

Credentials and endpoint of a bucket come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …) and from
nowhere else, so that an address is all that a worker needs to open a store again.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from pipeline.errors import Refused, StoreFull

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

FULL = ("os error 28", "os error 122", "os error 27", "507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded")
"""What a disk or a server says that takes no more."""

REFUSALS = (
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "status code: 401",
    "code: 403",
)
"""What a server says to credentials that it does not take."""

AT_ONCE = 16
"""Objects that are read or copied at the same time."""

CONNECTED = timedelta(seconds=10)
"""Time for a server to take a connection."""

ANSWERED = timedelta(minutes=5)
"""Time for a request and its answer: shards are tens of megabytes, and networks differ."""

RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
"""How often a request is made again, and how long after the first."""


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    key: str
    """Its name within the store."""
    modified: datetime
    """When it was last written."""
    size: int
    """Bytes."""


class NoAccess(Refused, OSError):
    """A bucket that is not there, or not for these credentials."""


class Objects:
    """The objects below one place.

    Every method raises ``OSError`` in one line that names the store, ``StoreFull`` where there is no space left.
    """

    def __init__(self, where: str, folder: Path | None, store: Any) -> None:
        self.where = where
        self.folder = folder
        self._store = store

    @classmethod
    def at(cls, where: "str | Path") -> "Objects":
        """The place that a user names, see ``place``."""
        found = place(where)
        if isinstance(found, Path):
            return cls(str(where), found, None)
        environment = ((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
        return cls(found, None, _bucket(found, tuple(sorted(environment))))

    def __reduce__(self) -> tuple:
        return Objects.at, (self.where,)  # whoever takes it elsewhere opens it with the credentials there

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.where.rstrip("/").rpartition("/")[2]

    def bare(self, *but: str) -> bool:
        """Whether nothing is there, but for what lies below some names."""
        if self.folder is None:
            return all(entry.key.split("/")[0] in but for entry in self.entries(""))
        return not self.folder.exists() or (
            self.folder.is_dir() and all(found.name in but for found in self.folder.iterdir())
        )

    def get(self, key: str) -> bytes | None:
        """An object's bytes, ``None`` where there is none."""
        with self._told():
            try:
                return bytes(obstore.get(self._reading(), key).bytes())
            except (NotFoundError, FileNotFoundError):
                return None

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        with self._told():
            try:
                obstore.head(self._reading(), key)
            except (NotFoundError, FileNotFoundError):
                return False
            return True

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._told():
            obstore.put(self._writing(), key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object where there is none; whether it was written: of several at once, with bytes of their own, one is."""
        with self._told():
            try:
                obstore.put(self._writing(), key, data, mode="create")
                return True
            except (AlreadyExistsError, FileExistsError):
                pass
        # a server whose answer was lost is asked again, and then has these very bytes
        return self.folder is None and self.get(key) == data

    def each(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Keys with their objects, as ``get`` gives them, in order; some are read ahead."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for some in _batches(keys, 4 * AT_ONCE):
                yield from zip(some, pool.map(self.get, some), strict=True)

    def copy(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Give objects, each with its key and a new one, a second name; what had that name is gone."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for some in _batches(pairs, 64 * AT_ONCE):
                list(pool.map(self._copy, *zip(*some, strict=True)))

    def _copy(self, source: str, target: str) -> None:
        with self._told():
            try:
                obstore.copy(self._reading(), source, target)
            except BaseError:
                if self.folder is None:
                    raise
                obstore.put(self._writing(), target, obstore.get(self._reading(), source).bytes())  # without hard links

    def delete(self, keys: Iterable[str]) -> None:
        """Take objects away; those that are not there are left out."""
        for some in _batches(keys, 1000):
            with self._told():
                if self.folder is None:
                    obstore.delete(self._store, list(some))
                    continue
                for key in some:
                    (self.folder / key).unlink(missing_ok=True)

    def clear(self, prefix: str) -> None:
        """Take away everything below a prefix."""
        if self.folder is not None:
            if (self.folder / prefix).is_dir():
                shutil.rmtree(self.folder / prefix)
            return
        self.delete(entry.key for entry in self.entries(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All objects below a prefix (whole parts of a name), in no particular order."""
        if self.folder is not None and not (self.folder / prefix).is_dir():
            return
        with self._told():
            for batch in obstore.list(self._reading(), prefix or None, chunk_size=1000):
                for found in batch:
                    yield Entry(found["path"], found["last_modified"], found["size"])

    def zarr(self) -> Any:
        """The place as Zarr sees it."""
        from zarr.storage import LocalStore as Folder
        from zarr.storage import ObjectStore

        return Folder(self.folder) if self.folder is not None else ObjectStore(self._store)

    def within(self, name: str) -> "Objects":
        """The place below this one."""
        return Objects.at(f"{self.where}/{name}") if self.folder is None else Objects.at(self.folder / name)

    def _reading(self) -> Any:
        if self.folder is None:
            return self._store
        if not self.folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is nothing", self.where)
        return LocalStore(self.folder)

    def _writing(self) -> Any:
        return self._store if self.folder is None else LocalStore(self.folder, mkdir=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the library by their names, in one line."""
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system's own
            raise named(error, self.where) from None


def place(where: "str | Path") -> "Path | str":
    """A folder of this machine as a path, ``s3://bucket/prefix`` as text; raises ``Refused`` for any other address."""
    text = str(where)
    parts = urlsplit(text)
    if parts.scheme == "s3":
        name = parts.path.strip("/")
        if "@" in parts.netloc:
            raise Refused("credentials do not go into an address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
        if not parts.netloc or parts.query or parts.fragment:
            raise Refused(f"'{text}' names no place in a bucket; write it such as s3://bucket/berlin.zarr.")
        return f"s3://{parts.netloc}/{name}".rstrip("/")
    if "://" in text or text.startswith("s3:/"):
        raise Refused(
            f"'{text.split('@')[-1]}' is no place for a store: name a folder of this machine, or s3://bucket/name."
        )
    return Path(where)


def named(error: Exception, where: str) -> OSError:
    """An error of the library for a store as one sentence: what is the matter, and what to do; no credential is in it."""
    said = " ".join(str(error).split()).partition("Debug source")[0]
    if any(sign in said for sign in FULL):
        return StoreFull(errno.ENOSPC, "no space is left for the store", where)
    system = re.search(r"\(os error (\d+)\)", said)
    if system:
        return OSError(int(system[1]), os.strerror(int(system[1])).lower(), where)
    if "NoSuchBucket" in said:
        return NoAccess(f"there is no bucket for {where}; make it, or name another place.")
    if "169.254.169.254" in said or "redential" in said:
        return NoAccess(f"there are no credentials for {where}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    if any(sign in said for sign in REFUSALS):
        return NoAccess(
            f"{where} may not be read or written with these credentials; see that they are those of the bucket."
        )
    if "builder error" in said:
        return NoAccess(f"{where} would be reached without encryption; give AWS_ENDPOINT_URL as https://….")
    code = re.search(r"status code: (\d+ [\w ]+)", said)
    if code:
        return OSError(f"the server of {where} answers {code[1].strip()}; run again when it does not.")
    if "HTTP error" in said or "timed out" in said:
        return OSError(f"the server of {where} cannot be reached; see AWS_ENDPOINT_URL and the network, and run again.")
    return OSError(f"{where} cannot be read or written: {said[:200]}")


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


@lru_cache(maxsize=64)
def _bucket(address: str, environment: tuple[tuple[str, str], ...]) -> S3Store:
    """A prefix of a bucket; connections are kept, as long as the environment that credentials come from is the same."""
    endpoint = dict(environment).get("AWS_ENDPOINT_URL", "")
    loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    options: ClientConfig = {"connect_timeout": CONNECTED, "timeout": ANSWERED, "allow_http": loopback}
    return S3Store.from_url(address, client_options=options, retry_config=RETRIES)
