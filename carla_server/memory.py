"""Memory of the server: what was freed is used again instead of being fetched anew from the kernel."""

from __future__ import annotations

import ctypes
import sys

#: glibc's names of two of its settings (malloc.h), and their values here, bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT, KEPT_FREE = 32 << 20, 512 << 20


def keep_freed_memory() -> bool:
    """Let this process keep freed blocks of up to 32 MB for later.

    By default every block of more than 128 KB, such as a camera picture, is taken from the kernel and given back when it is
    freed; touching its new pages for the first time then costs more than filling them.

    Returns:
        Whether the C library took the settings; others than glibc have none.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(set_option(M_TRIM_THRESHOLD, KEPT_FREE))
