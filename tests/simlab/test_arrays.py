"""Memory of arrays."""

import platform
import resource

import numpy as np
import pytest

import simlab.arrays  # which has the allocator keep what is freed


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives freed memory back")
@pytest.mark.parametrize("size", [2**18, 2**20, 2**23])
def test_freed_memory_is_kept_for_the_next_array(size):
    """Or each array would find its pages cleared anew: as many faults as it has pages, each time."""
    assert 2 * size < simlab.arrays.KEPT

    def work():
        first = np.ones(size, np.uint8)
        return (first + np.ones(size, np.uint8)).sum()

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        work()
    pages = 20 * 3 * size / resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 0.1 * pages
