"""HTTP/1.1 as far as the load and the channel need it: whole messages with a Content-Length."""

import re
from collections.abc import Mapping
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def post(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write a POST request with a JSON body."""
    return _message(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1", headers, body)


def get(path: str) -> bytes:
    """Write a GET request, after which the connection ends."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def ok(headers: Mapping[str, str], body: bytes) -> bytes:
    """Write a 200 answer with a JSON body."""
    return _message("HTTP/1.1 200 OK", headers, body)


def end_of_message(received: bytes) -> int | None:
    """Return how long the first message is, body and all; None: more of it is to come."""
    head_ends = received.find(b"\r\n\r\n")
    if head_ends < 0:
        return None
    length = _LENGTH.search(received, 0, head_ends)
    whole = head_ends + 4 + (int(length[1]) if length else 0)
    return whole if len(received) >= whole else None


def _message(first_lines: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [first_lines, "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + body
