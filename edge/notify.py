"""The service manager's notification socket (sd_notify(3)).

In: lines such as `READY=1`. Out: one datagram each. Always holds: without a socket it does
nothing; a socket that does not take a datagram at once costs nothing.
"""

from __future__ import annotations

import socket

TEXT_CHARS_MAX = 300


class Notifier:
    """address: of `$NOTIFY_SOCKET`, a path or `@` and an abstract name; empty for none."""

    def __init__(self, address: str = "") -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.sent = 0

    def __call__(self, *lines: str) -> None:
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), self._address)
                self.sent += 1
            except OSError:
                pass


def status_line(text: str) -> str:
    """`STATUS=`, in one line."""
    return "STATUS=" + " ".join(text.split())[:TEXT_CHARS_MAX]
