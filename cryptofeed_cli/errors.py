"""Every error a user can meet, with its exit code; knows nothing else of ours.

CryptofeedError                 1
├── ThreadDied                  1   a thread of ours ended that should not
├── OutputFailed                1   what is printed cannot be written
├── UsageError                  2   a wrong argument
├── ConfigurationError          2   a wrong configuration value
├── ExchangeError               3
│   ├── NothingReceived         3   --duration over without one live frame
│   ├── SymbolsRefused          3   the exchange refused every symbol
│   ├── DialFailed              3   transient: no connection could be made (now)
│   ├── RequestFailed           3   transient: a REST request brought no answer
│   ├── AnswerRefused           3   the exchange answered a REST request with an error
│   └── ProtocolError           3   a frame that cannot be understood
├── StoreError                  4
│   ├── StoreUrlInvalid         4
│   ├── StoreUnreachable        4   transient: may answer later
│   ├── StoreRefused            4   credentials, permissions, a document it will not take
│   ├── StoreDamaged            4   a file that cannot be read as it was written
│   ├── StoreBusy               4   another recorder holds the file
│   ├── StoreTooNew             4   made by a newer version of the program
│   ├── TapeRefused             4   a directory of tapes that cannot be written into or read
│   └── OutboxError             4   the local outbox of a recorder
│       ├── OutboxRefused       4   transient: takes nothing now: the disk or the outbox is full
│       ├── OutboxDamaged       4
│       └── OutboxBusy          4   another recorder of the same name is running
├── Unhealthy                   5
└── Incomplete                  6

Errors carry fields; ``str()`` writes the one line a user reads: who, what, the offending value, the way out.
"""

from __future__ import annotations


class CryptofeedError(Exception):
    """Base of all our errors. ``transient`` says whether trying again can help."""

    exit_code = 1
    transient = False


class ThreadDied(CryptofeedError):
    """A thread of ours ended that should not have."""

    def __init__(self, thread: str, error: BaseException) -> None:
        super().__init__(thread, error)
        self.thread = thread
        self.error = error
        self.__cause__ = error

    def __str__(self) -> str:
        return f"thread {self.thread} ended unexpectedly: {type(self.error).__name__}: {self.error}"


class OutputFailed(CryptofeedError):
    """Data that cannot be written to where it should go."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target = target
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot write to {self.target}: {self.reason}"


class UsageError(CryptofeedError):
    """An argument that cannot be used."""

    exit_code = 2


class ConfigurationError(CryptofeedError):
    """A configuration value that cannot be used.

    Args: ``origin`` is where the value came from (a file's path, an environment variable, a flag), ``key`` its
    dotted name, ``value`` as given, ``allowed`` what would be right, ``suggestion`` the nearest known name.
    """

    exit_code = 2

    def __init__(
        self, origin: str, key: str, value: str | None, allowed: str, suggestion: str | None = None
    ) -> None:
        super().__init__(origin, key, value, allowed, suggestion)
        self.origin = origin
        self.key = key
        self.value = value
        self.allowed = allowed
        self.suggestion = suggestion

    def __str__(self) -> str:
        given = "" if self.value is None else f" = {self.value}"
        hint = "" if self.suggestion is None else f"; did you mean {self.suggestion!r}?"
        return f"{self.origin}: {self.key}{given}: {self.allowed}{hint}"


class ExchangeError(CryptofeedError):
    """Something the exchange said, or did not say."""

    exit_code = 3


class NothingReceived(ExchangeError):
    """The recording is over and not one live frame came."""

    def __init__(self, exchange: str, reason: str) -> None:
        super().__init__(exchange, reason)
        self.exchange = exchange
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.exchange}: not one live frame was received ({self.reason})"


class SymbolsRefused(ExchangeError):
    """The exchange refused every subscription asked for."""

    def __init__(self, exchange: str, refusals: dict[str, str]) -> None:
        super().__init__(exchange, refusals)
        self.exchange = exchange
        self.refusals = refusals

    def __str__(self) -> str:
        symbol, reason = next(iter(self.refusals.items()))
        more = f" (and {len(self.refusals) - 1} more)" if len(self.refusals) > 1 else ""
        return f"{self.exchange} refused every symbol: {symbol}{more}: {reason}"


class DialFailed(ExchangeError):
    """A connection that could not be made (now). ``target`` is ``host:port``."""

    transient = True

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target = target
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot connect to {self.target}: {self.reason}"


class RequestFailed(ExchangeError):
    """A REST request that brought no whole answer (this time)."""

    transient = True

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.url} brought no answer: {self.reason}"


class AnswerRefused(ExchangeError):
    """The exchange answered a REST request with an error."""

    def __init__(self, exchange: str, code: str, reason: str, *, transient: bool = True) -> None:
        super().__init__(exchange, code, reason)
        self.exchange = exchange
        self.code = code
        self.reason = reason
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.exchange} answered with error {self.code}: {self.reason}"


class ProtocolError(ExchangeError):
    """A frame or answer that cannot be understood. ``payload`` is kept verbatim for the ``rejects``."""

    def __init__(self, exchange: str, reason: str, payload: bytes) -> None:
        super().__init__(exchange, reason, payload)
        self.exchange = exchange
        self.reason = reason
        self.payload = payload

    def __str__(self) -> str:
        return f"{self.exchange}: {self.reason}: {self.payload[:240]!r}"


class StoreError(CryptofeedError):
    """A store that cannot be used. ``url`` is always redacted before it gets here."""

    exit_code = 4

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"store {self.url}: {self.reason}"


class StoreUrlInvalid(StoreError):
    """A store URL that is malformed or of an unknown kind."""


class StoreUnreachable(StoreError):
    """A store that does not answer (now)."""

    transient = True


class StoreRefused(StoreError):
    """A store that answers, and says no."""


class StoreDamaged(StoreRefused):
    """A store whose file cannot be read as it was written."""


class StoreBusy(StoreError):
    """A store file that another recorder holds."""


class StoreTooNew(StoreError):
    """A store made by a newer version of the program."""

    def __init__(self, url: str, found: int, known: int) -> None:
        super().__init__(url, f"schema version {found} is newer than this program's {known}; upgrade cryptofeed")
        self.found = found
        self.known = known


class OutboxError(StoreError):
    """A recorder's outbox that cannot be used. ``url`` is its path."""

    def __str__(self) -> str:
        return f"outbox {self.url}: {self.reason}"


class OutboxRefused(OutboxError):
    """An outbox that takes nothing (now)."""

    transient = True


class OutboxDamaged(OutboxError):
    """An outbox whose file cannot be read."""


class OutboxBusy(OutboxError):
    """An outbox that another recorder of the same name holds."""


class TapeRefused(StoreError):
    """A directory of tapes that cannot be written into or read. ``url`` is its path, or that of a file in it."""

    def __str__(self) -> str:
        return f"tape {self.url}: {self.reason}"


class Unhealthy(CryptofeedError):
    """A check found something wrong."""

    exit_code = 5


class Incomplete(CryptofeedError):
    """The data asked for has holes."""

    exit_code = 6
