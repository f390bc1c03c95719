"""What may take long gives way to requests."""

import os
import sys
import threading
import time

import pytest

from recpipe_model.server.priority import gently


def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority of each thread")
def test_gentle_work_has_less_priority():
    before = priority()
    assert gently(priority) > before
    assert priority() == before


def test_what_fails_fails_for_who_asked():
    with pytest.raises(ZeroDivisionError):
        gently(lambda: 1 // 0)


def test_it_rests_longer_than_it_worked():
    started = time.perf_counter()
    worked = gently(lambda: (time.sleep(0.02), time.perf_counter() - started)[1])
    assert time.perf_counter() - started > 2.5 * worked
