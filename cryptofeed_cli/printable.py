"""Text that is safe to show on a terminal or in a log: without control characters or passwords; knows no market."""

from __future__ import annotations

import re

# C0, DEL and C1, what reorders or breaks lines unseen (bidi controls, separators), and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_CONTROL_IN_LINES = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))
_SECRET_OPTION = re.compile(r"(?i)([?&;][^=&;?]*(?:password|passwd|secret|token|properties)[^=&;?]*=)[^&;\s]*")
_USER_INFO = re.compile(r"(\w://[^\r\n:/@]*|^[^\s:/@]*(?=:(?!//|\s))):[^\r\n]*@")


def escape(text: str) -> str:
    r"""Write every control character as Python would (``\x1b``, ``\n``), so that the text is one harmless line."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def escape_lines(text: str) -> str:
    r"""Write every control character but the line feed as ``\uXXXX``: JSON lines stay the same JSON lines."""
    return _CONTROL_IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def hide_secrets(text: str) -> str:
    """Replace the passwords in the URLs of a text by ``***``; a malformed URL rather loses more than shows one."""
    return _SECRET_OPTION.sub(r"\1***", _USER_INFO.sub(r"\1:***@", text))
