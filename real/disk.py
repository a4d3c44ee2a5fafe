"""Telling a full disk from a failure of whatever was being done: nothing is to be tried again before there is space."""

from __future__ import annotations

import errno
import re

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOLD = re.compile(rf"\(os error ({'|'.join(map(str, _FULL))})\)")
"""What the libraries say that are written in Rust (polars, safetensors): their errors carry no number."""


def is_disk_full(error: BaseException | None) -> bool:
    """Is a full disk, or a used up quota, the error or its cause?"""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or _TOLD.search(str(error)):
            return True
        error = error.__cause__
    return False
