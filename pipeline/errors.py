"""The errors a user sees: each names the thing, the reason and the remedy in one sentence."""

import re
from collections.abc import Iterable

from rapidfuzz.process import extractOne

FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s'\"/]+/)+")
"""The folders of a path of this machine, not those of an address."""


class Refused(ValueError):
    """The work asked for cannot be done as asked; nothing was written. The command line ends with code 2."""


class StoreFull(OSError):
    """The disk or bucket below the store takes no more; what the ledger holds is kept."""


def one_line(error: BaseException) -> str:
    """An error in one line of bounded length; of folders only what lies in them is named."""
    said = FOLDERS.sub("…/", " ".join(str(error).split()))
    return said[:300] or type(error).__name__


def nearest(word: str, known: Iterable[str]) -> str:
    """A phrase that offers the known names, the nearest one first.

    >>> nearest("bicubik", ["identity", "bicubic"])
    "did you mean 'bicubic'? (known: bicubic, identity)"
    """
    names = sorted(known)
    match = extractOne(word, names, score_cutoff=60)
    listing = f"(known: {', '.join(names)})"
    return f"did you mean '{match[0]}'? {listing}" if match else listing
