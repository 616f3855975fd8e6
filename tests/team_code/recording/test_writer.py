"""The background writer loses nothing and reports what failed."""

import threading
import time

import pytest

from team_code.recording.writer import BackgroundWriter


def test_every_job_is_done_before_close_returns():
    writer, done, lock = BackgroundWriter(num_threads=3, max_waiting=4), [], threading.Lock()

    def job(number):
        time.sleep(0.001)
        with lock:
            done.append(number)

    for number in range(60):
        writer.submit(lambda number=number: job(number))
    writer.close()
    assert sorted(done) == list(range(60))


def test_a_slow_disk_holds_the_producer_back():
    writer, gate = BackgroundWriter(num_threads=1, max_waiting=2), threading.Event()
    for _ in range(2):
        writer.submit(gate.wait)
    blocked = threading.Thread(target=writer.submit, args=(lambda: None,))
    blocked.start()
    blocked.join(0.1)
    assert blocked.is_alive()
    gate.set()
    blocked.join(2)
    assert not blocked.is_alive()
    writer.close()


def test_a_full_disk_is_raised_and_the_other_jobs_are_still_done():
    gate = threading.Event()

    def full():
        gate.wait()
        raise OSError(28, "No space left on device")

    writer, done = BackgroundWriter(num_threads=1), []
    writer.submit(full)
    writer.submit(lambda: done.append(1))
    gate.set()
    with pytest.raises(OSError, match="No space left"):
        writer.close()
    assert done == [1]
