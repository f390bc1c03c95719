"""What may take long gives way to requests."""

import os
import sys
import threading

import pytest

from recpipe_model.server.priority import in_background


def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority of each thread")
def test_work_in_the_background_has_less_priority():
    before = priority()
    assert in_background(priority) > before
    assert priority() == before


def test_what_fails_in_the_background_fails_for_who_asked():
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0)
