"""HTTP/1.1 answers as they come over a socket, read to the letter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class RawAnswer:
    """One answer; `trailers` is None where its last chunk has not come."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    after: bytes = field(default=b"", repr=False)
    """What came behind it, or of a chunk that is not whole."""


def parse_answer(data: bytes) -> RawAnswer:
    """The first answer in these bytes, chunked or of a known length (RFC 9112, sections 6 and 7.1)."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [_header(line) for line in lines]
    answer = RawAnswer(int(first.split(" ")[1]), dict(pairs))
    assert len(answer.headers) == len(pairs), pairs
    if "content-length" in answer.headers:
        length = int(answer.headers["content-length"])
        answer.body, answer.after = rest[:length], rest[length:]
        return answer
    assert answer.headers["transfer-encoding"] == "chunked"
    body = []
    while True:
        size, found, behind = rest.partition(b"\r\n")
        length = int(size, 16) if found else -1
        if length == 0:
            answer.trailers, answer.after = _trailers(behind)
            break
        if length < 0 or len(behind) < length + 2:
            answer.after = rest
            break
        assert behind[length : length + 2] == b"\r\n"
        body.append(behind[:length])
        rest = behind[length + 2 :]
    answer.body = b"".join(body)
    return answer


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes."""
    async with asyncio.timeout(120):
        return await reader.read()


def _trailers(data: bytes) -> tuple[list[tuple[str, str]] | None, bytes]:
    trailers = []
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None, line
        if not line:
            return trailers, data
        trailers.append(_header(line.decode("latin-1")))


def _header(line: str) -> tuple[str, str]:
    name, found, value = line.partition(": ")
    assert found
    assert name == name.strip().lower()
    return name, value
