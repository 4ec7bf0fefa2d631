"""The C library's memory, kept between passes."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT = 1 << 30  # bytes of freed memory that are not given back


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, so that the activations of the next pass need no new pages.

    By default it maps every large block anew and gives it back at once; a small perceptron then spends more time in
    page faults than in products. Returns whether it could be done: elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, KEPT))
