"""Freed blocks are used again: the law is the number of pages that the kernel had to hand out."""

import os
import subprocess
import sys

import pytest

from jobs.worker import KEEP_FREED_MEMORY

WORK = """
import resource
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
BY_ITSELF = "from carla_server.memory import keep_freed_memory; assert keep_freed_memory()"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc has these settings")


def new_pages(preparation: str = "", **environment: str) -> int:
    """Pages that twenty rounds of four 4 MB blocks cost a fresh process."""
    command = [sys.executable, "-c", f"{preparation}\n{WORK}"]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return int(ran.stdout)


def test_pictures_cost_new_pages_by_default() -> None:
    assert new_pages() > 2000


def test_the_server_uses_its_memory_again() -> None:
    assert new_pages(BY_ITSELF) < 200


def test_clients_of_jobs_use_their_memory_again() -> None:
    assert new_pages(**KEEP_FREED_MEMORY) < 200
