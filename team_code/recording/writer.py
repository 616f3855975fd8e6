"""Writing files in the background, in order, without losing one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class BackgroundWriter:
    """Runs write jobs on threads while the simulation goes on.

    The number of waiting jobs is bounded: a slow disk slows the drive down rather than filling the memory. The first error
    is raised by the next `submit` or by `close`, so a full disk ends the route with its own message.

    Args:
        num_threads: Encoding releases the interpreter lock, so a few threads help.
        max_waiting: Jobs that may wait.
    """

    def __init__(self, num_threads: int = 2, max_waiting: int = 64) -> None:
        self._pool = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="recorder")
        self._room = threading.BoundedSemaphore(max_waiting)
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job; waits while too many are waiting.

        Raises:
            OSError: Or whatever an earlier job raised.
        """
        self._raise_first_error()
        self._room.acquire()
        self._pool.submit(self._run, job)

    def close(self) -> None:
        """Wait for all jobs. Raises what the first failed one raised."""
        self._pool.shutdown(wait=True)
        self._raise_first_error()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._errors.put(error)
        finally:
            self._room.release()

    def _raise_first_error(self) -> None:
        if not self._errors.empty():
            raise self._errors.get()
