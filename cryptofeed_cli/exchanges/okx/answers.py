"""OKX REST answers to records; knows no HTTP.

Every answer is ``{"code": "0", "msg": "", "data": [...]}``; another code is an error even with HTTP 200.
"""

from __future__ import annotations

import msgspec

from cryptofeed_cli.clock import MAX_MILLISECONDS
from cryptofeed_cli.errors import ProtocolError
from cryptofeed_cli.types import Instrument, Source


class _Envelope(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


class _Instrument(msgspec.Struct, rename="camel"):
    inst_id: str
    inst_type: str
    # Empty where it does not apply.
    base_ccy: str | None = None
    quote_ccy: str | None = None
    settle_ccy: str | None = None
    tick_sz: str | None = None
    lot_sz: str | None = None
    min_sz: str | None = None
    ct_val: str | None = None
    ct_mult: str | None = None
    ct_type: str | None = None
    list_time: str | None = None
    exp_time: str | None = None
    state: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_instrument = msgspec.json.Decoder(_Instrument)


def instruments(exchange: str, body: bytes, received_at: int, source: Source) -> list[Instrument]:
    """Understand ``/public/instruments``; raise `ProtocolError`, and nothing else, where that is impossible."""
    try:
        return [_to_instrument(exchange, raw, received_at, source) for raw in _data(exchange, body)]
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(exchange, f"not a list of instruments: {exc}", body) from exc


def _data(exchange: str, body: bytes) -> list[msgspec.Raw]:
    envelope = _envelope.decode(body)
    if envelope.code != "0":
        raise ProtocolError(exchange, f"error {envelope.code}: {envelope.msg}", body)
    return envelope.data


def _to_instrument(exchange: str, raw: msgspec.Raw, received_at: int, source: Source) -> Instrument:
    row = _instrument.decode(raw)
    return Instrument(
        None, received_at, exchange, row.inst_id, source,
        row.inst_type, row.base_ccy or None, row.quote_ccy or None, row.settle_ccy or None,
        row.tick_sz or None, row.lot_sz or None, row.min_sz or None,
        row.ct_val or None, row.ct_mult or None, row.ct_type or None,
        _time(row.list_time), _time(row.exp_time), row.state or None, bytes(raw).decode(),
    )  # fmt: skip


def _time(text: str | None) -> int | None:
    milliseconds = int(text) if text else None
    return milliseconds if milliseconds is not None and 0 < milliseconds <= MAX_MILLISECONDS else None
