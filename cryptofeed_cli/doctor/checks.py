"""One check and what comes of it, and how checks depend on each other; knows none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from cryptofeed_cli.clock import MILLISECOND, Clock
from cryptofeed_cli.errors import CryptofeedError
from cryptofeed_cli.printable import escape, hide_secrets


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True):
    """What a look brought."""

    detail: str
    verdict: Verdict = Verdict.PASS
    cure: str | None = None


class Check(msgspec.Struct, frozen=True):
    """A finding in its place. Neither text holds a secret or a control character."""

    number: int
    name: str
    verdict: Verdict
    detail: str
    cure: str | None
    milliseconds: int


class Examination:
    """Runs checks in order. A check that needs a failed one is skipped; all others run whatever happened before."""

    def __init__(self, clock: Clock, show: Callable[[Check], object]) -> None:
        """``show`` is handed every check as soon as it is done."""
        self.checks: list[Check] = []
        self._clock = clock
        self._show = show

    def check(self, name: str, look: Callable[[], Finding], *, cure: str, needs: Sequence[str] = ()) -> None:
        """Look, and keep what was found. An error of ours is a failure, with ``cure`` as the way out."""
        begun = self._clock.monotonic()
        hindrance = next((one for one in self.checks if one.name in needs and self._hinders(one)), None)
        if hindrance is not None:
            finding = Finding(f"needs {hindrance.number} ({hindrance.name})", Verdict.SKIPPED)
        else:
            try:
                finding = look()
            except CryptofeedError as exc:
                finding = Finding(str(exc), Verdict.FAIL, cure)
        took = (self._clock.monotonic() - begun) // MILLISECOND
        told = None if finding.cure is None else _safe(finding.cure)
        done = Check(len(self.checks) + 1, name, finding.verdict, _safe(finding.detail), told, took)
        self.checks.append(done)
        self._show(done)

    @staticmethod
    def _hinders(one: Check) -> bool:
        return one.verdict in (Verdict.FAIL, Verdict.SKIPPED)


def _safe(text: str) -> str:
    return escape(hide_secrets(text))
