"""Freed blocks are used again: the law is the number of pages that the kernel had to hand out."""

import subprocess
import sys

import pytest

ALLOCATE = """
import resource
from {module} import keep_freed_memory
assert {keep} is False or keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work(times):
    for _ in range(times):
        pictures = [bytearray(4 << 20) for _ in range(4)]
        del pictures
work(3)
before = faults()
work(20)
print(faults() - before)
"""


def new_pages(module: str, keep: bool) -> int:
    """Pages that twenty rounds of four 4 MB blocks cost a fresh process."""
    program = ALLOCATE.format(module=module, keep=keep)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc has these settings")
@pytest.mark.parametrize("module", ["driving.memory", "carla_server.memory"])
def test_kept_memory_costs_no_new_pages(module: str) -> None:
    assert new_pages(module, True) < 200
    assert new_pages(module, False) > 2000
