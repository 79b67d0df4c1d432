"""Inputs near those that a decoder accepts.

In: seeds, a source of randomness. Out: mutated bytes. Always holds: the same randomness makes the
same bytes; no input is longer than BYTES_MAX.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

BYTES_MAX = 1 << 17
WORDS = (
    b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e308", b"9223372036854775808", b"1" * 5000,
    b"true", b"null", b'""', b'"' + b"x" * 300 + b'"', b"{}", b"[]", b"[[", b"]]", b"[" * 1200,
    b"{ a = " * 300, b"'''", b'"\\uD800"', b"\xff\xfe", b"\0", "µ°Ω".encode(), b"1979-05-27T07:32:00Z",
    b"0x7fffffffffffffff", b"../../etc/passwd", b"a" * 40, b"1.5", b"\n", b"=", b",", b"^" * 50,
    b"(" * 500, b"- " * 400,
)  # fmt: skip
NUMBERS = tuple(
    value.to_bytes(size, order, signed=False)
    for size in (1, 2, 4, 8)
    for order in ("little", "big")
    for value in {0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1}
)
NESTED = (b"\x91" * 3000, b"\x81\xa1a" * 1500, b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff",
          b"\xc6\xff\xff\xff\xff", b"\xdb\x10\0\0\0", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7,
          b"\xcb\x7f\xf8" + b"\0" * 6, b"\xc0", b"\xa2\xff\xfe")  # fmt: skip
_TOKEN = re.compile(rb"\s+|[A-Za-z_]+|[0-9.eE+-]+|.", re.DOTALL)


def mutate(seeds: list[bytes], draw: random.Random, *, is_text: bool) -> bytes:
    """One of the seeds, changed a few times."""
    data = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        act = draw.choice(_TEXT if is_text and draw.random() < 0.8 else _BYTES)
        data = act(data, seeds, draw)[:BYTES_MAX]
    return data


def _at(data: bytes, draw: random.Random) -> int:
    return draw.randrange(len(data) + 1)


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = _at(data, draw)
    return start, min(len(data), start + draw.choice((1, 1, 2, 4, 8, 32, 256)))


def _flip(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _set(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    value = draw.choice((*NUMBERS, *NESTED))
    at = _at(data, draw)
    return data[:at] + value + data[at + len(value) :]


def _insert(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    at = _at(data, draw)
    value = draw.choice((draw.randbytes(draw.randrange(1, 20)), *NESTED, *NUMBERS))
    return data[:at] + value + data[at:]


def _remove(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    start, stop = _span(data, draw)
    return data[:start] + data[stop:]


def _repeat(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    start, stop = _span(data, draw)
    return data[:stop] + data[start:stop] * draw.choice((1, 2, 100)) + data[stop:]


def _cut(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    return data[: _at(data, draw)]


def _splice(data: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    other = draw.choice(seeds)
    return data[: _at(data, draw)] + other[_at(other, draw) :]


def _word(data: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    """A token becomes another one, of this text or a nasty one."""
    tokens = _TOKEN.findall(data) or [b""]
    at = draw.randrange(len(tokens))
    tokens[at] = draw.choice(WORDS) if draw.random() < 0.5 else draw.choice(tokens)
    return b"".join(tokens)


def _line(data: bytes, _seeds: list[bytes], draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[other])
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return b"".join(lines)


Change = Callable[[bytes, list[bytes], random.Random], bytes]
_BYTES: tuple[Change, ...] = (_flip, _flip, _set, _insert, _remove, _repeat, _cut, _splice)
_TEXT: tuple[Change, ...] = (_word, _word, _word, _line, _splice)
