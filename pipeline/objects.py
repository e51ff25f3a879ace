"""Where a store keeps its objects: a folder of this machine or a prefix of an S3 bucket, alike.

Credentials and endpoint of a bucket come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …) and from
nowhere else, so that an address is all that a worker needs to open a store again.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from pipeline.errors import StoreFull

FULL = ("os error 28", "os error 122", "os error 27", "507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded")
"""What a disk or a server says that takes no more."""

TIMEOUT = "30 seconds"
RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    key: str
    """Its name within the store."""
    modified: datetime
    """When it was last written."""
    size: int
    """Bytes."""


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
        """The place that a user names: a folder, or ``s3://bucket/prefix``."""
        parts = urlsplit(str(where))
        if parts.scheme != "s3":
            folder = Path(where)
            return cls(str(where), folder, None)
        address = str(where).rstrip("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        options: dict[str, Any] = {"allow_http": True} if loopback else {}
        store = S3Store.from_url(
            address, client_options={"timeout": TIMEOUT, **options}, retry_config=RETRIES
        )
        return cls(address, None, store)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.where.rstrip("/").rpartition("/")[2]

    @property
    def exists_at_all(self) -> bool:
        """Whether anything is there."""
        return next(self.entries(""), None) is not None

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
        """Write an object where there is none; whether it was written: of several at once, one is."""
        with self._told():
            try:
                obstore.put(self._writing(), key, data, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
            return True

    def delete(self, keys: Iterable[str]) -> None:
        """Take objects away; those that are not there are left out."""
        for key in keys:
            with self._told():
                try:
                    obstore.delete(self._reading(), key)
                except (NotFoundError, FileNotFoundError):
                    continue

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
        except BaseError as error:
            said = " ".join(str(error).split())
            if any(sign in said for sign in FULL):
                raise StoreFull(errno.ENOSPC, "no space is left for the store", self.where) from error
            raise OSError(errno.EIO, f"the store {self.where} cannot be reached: {said[:200]}") from error
