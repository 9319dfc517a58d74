"""The edge's own certificate: clients that trust its authority accept it, and it is kept while it is good."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trinity_cli.edge_certificate import LIFETIME, RENEWED, CertificateFiles, make_certificate

NAMES = ["api.localhost", "127.0.0.1"]
NOW = datetime.now(UTC).replace(microsecond=0)


def contents(files: CertificateFiles) -> list[bytes]:
    return [path.read_bytes() for path in (files.authority, files.certificate, files.key)]


@pytest.mark.parametrize(("name", "good"), [("api.localhost", True), ("127.0.0.1", True), ("other.localhost", False)])
async def test_a_client_that_trusts_the_authority_accepts_the_names_and_no_others(
    tmp_path: Path, name: str, good: bool
) -> None:
    files = make_certificate(tmp_path / "edge", NAMES, now=NOW)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(files.certificate, files.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=own)
    port = server.sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=files.authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    async with server:
        opening = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        if not good:
            with pytest.raises(ssl.SSLCertVerificationError):
                await opening
            return
        _, writer = await opening
        writer.close()
        await writer.wait_closed()


def test_the_files_are_for_their_owner_alone_and_kept_while_they_are_good(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    files = make_certificate(folder, NAMES, now=NOW)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, files.key, files.certificate, files.authority))
    first = contents(files)
    assert contents(make_certificate(folder, NAMES[:1], now=NOW + LIFETIME - RENEWED)) == first


@pytest.mark.parametrize("change", ["time", "clock", "name", "missing", "broken", "another"])
def test_what_is_no_longer_good_is_made_anew(tmp_path: Path, change: str) -> None:
    folder, names, now = tmp_path / "edge", NAMES, NOW
    files = make_certificate(folder, names, now=now)
    first = contents(files)
    match change:
        case "time":
            now += LIFETIME - RENEWED + timedelta(seconds=1)
        case "clock":
            now -= timedelta(days=1)
        case "name":
            names = [*NAMES, "reports.localhost"]
        case "missing":
            files.key.unlink()
        case "broken":
            files.certificate.write_text("no certificate")
        case "another":
            files.key.write_bytes(make_certificate(tmp_path / "other", NAMES, now=now).key.read_bytes())
    again = contents(make_certificate(folder, names, now=now))
    assert not set(first) & set(again)
