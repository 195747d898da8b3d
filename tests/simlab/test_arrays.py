"""Memory of arrays."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource

import numpy as np

import simlab.arrays  # which has the allocator keep what is freed


def work():
    first = np.ones({size}, np.uint8)
    (first + np.ones({size}, np.uint8)).sum()


work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives freed memory back")
@pytest.mark.parametrize("size", [2**20, 2**23])
def test_freed_memory_is_kept_for_the_next_array(size):
    """Or each array would find its pages cleared anew: as many faults as it has pages, each time.

    In a process of its own: in one that has freed a large array before, nothing would be left to do.
    """
    command = [sys.executable, "-c", FAULTS.format(size=size)]
    faults, page = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert faults < 0.1 * 20 * 3 * size / page
