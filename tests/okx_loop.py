"""An event loop in a thread of its own, and timers that act on it; knows no server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60.0


class LoopThread:
    """Everything but coroutines may be called from any thread outside the loop's own."""

    def __init__(self, name: str) -> None:
        self._timers: set[threading.Timer] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns."""
        return self.submit(work).result(PATIENCE_SECONDS)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop's thread, and wait for it."""

        async def run() -> None:
            function()

        self.run(run())

    def after(self, seconds: float, do: Callable[..., object], *args: Any, **options: Any) -> None:
        """Do something later, outside the loop's thread."""

        def act() -> None:
            self._timers.discard(timer)
            do(*args, **options)

        timer = threading.Timer(seconds, act)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def cancel_timers(self) -> None:
        """Do nothing more later."""
        for timer in list(self._timers):
            timer.cancel()
            timer.join(PATIENCE_SECONDS)

    def close(self) -> None:
        """Wait for what runs, cancel what does not end, and end the thread. A second call does nothing."""
        if self._loop.is_closed():
            return
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    @staticmethod
    async def _end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, pending = await asyncio.wait(others, timeout=2)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
