"""`trinity certs`: makes what a mesh needs, renews in time, overwrites nothing that matters, shows what there is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mesh.issued import first_backend
from trinity_cli.certificate_folder import SERVICES, CertificateFolder
from trinity_cli.dialling import dial
from trinity_cli.exits import CommandError
from trinity_cli.main import run
from trinity_mesh.certificates import Files, read_certificates
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError
from trinity_mesh.identity import Identity
from trinity_mesh.mesh_channel import MeshChannel
from trinity_mesh.renewing_channel import RenewingChannel
from trinity_mesh.tls_config import TlsConfig

DAY_NS = 86_400_000_000_000


def certs(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """A run of the command with --json; its document, or what it says on stderr where it fails."""
    assert run(["certs", *words, *(() if code else ("--json",))]) == code
    told = capsys.readouterr()
    return told.err if code else json.loads(told.out)


def test_one_run_makes_a_ca_and_a_certificate_for_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"
    made = certs(capsys, "--out", str(folder))
    assert made["new_ca"]
    assert made["renewed"] == list(SERVICES)
    for service in SERVICES:
        config = TlsConfig(**CertificateFolder(folder).tls(service))
        assert Identity(config, service=service, clock=SystemClock()).enabled
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_another_run_keeps_what_is_good_and_renews_what_ends_soon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"
    certs(capsys, "--out", str(folder), "--days", "90")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert certs(capsys, "--out", str(folder))["kept"] == list(SERVICES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    kept = CertificateFolder(folder)
    common: dict[str, Any] = {
        "trust_domain": "trinity.internal",
        "services": SERVICES,
        "hosts": (),
        "days": 90,
        "ca_days": 100,
    }
    now_ns = SystemClock().unix_ns()
    assert not kept.make(now_ns=now_ns + 59 * DAY_NS, **common).renewed
    later = kept.make(now_ns=now_ns + 61 * DAY_NS, **common)
    assert later.renewed == SERVICES
    assert not later.new_authority
    assert (folder / "ca.pem").read_bytes() == before["ca.pem"]


def test_hosts_are_added_where_they_are_missing_and_kept_when_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "certs")
    certs(capsys, "--out", folder)
    made = certs(capsys, "--out", folder, "--host", "10.0.0.1", "--host", "a.example", "--service", "price")
    assert made["renewed"] == ["price"]
    certs(capsys, "--out", folder, "--renew")
    shown = certs(capsys, "show", "--out", folder)["certificates"]
    hosts = {row["name"].rpartition("/")[2]: row["hosts"] for row in shown}
    assert hosts["price"] == ["a.example", "10.0.0.1"]
    assert hosts["gateway"] == []
    assert "neither a DNS name nor an IP address" in certs(capsys, "--out", folder, "--host", "a b", code=2)


def test_a_ca_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "certs"
    certs(capsys, "--out", str(folder))
    before = (folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes()
    assert "is of trinity.internal, not other.mesh" in certs(
        capsys, "--out", str(folder), "--trust-domain", "other.mesh", code=2
    )
    (folder / "ca.key").rename(tmp_path / "elsewhere")
    assert "its key is not" in certs(capsys, "--out", str(folder), "--renew", code=2)
    (tmp_path / "elsewhere").rename(folder / "ca.key")
    (folder / "ca.pem").rename(tmp_path / "elsewhere")
    assert "bring it back" in certs(capsys, "--out", str(folder), code=2)
    (tmp_path / "elsewhere").rename(folder / "ca.pem")
    assert ((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes()) == before


def test_a_ca_is_changed_in_three_steps_and_every_step_has_certificates_that_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"

    def good(service: str) -> bool:
        found = Files(folder / f"{service}.pem", folder / f"{service}.key", folder / "ca.pem")
        return bool(read_certificates(found, now_ns=SystemClock().unix_ns()))

    certs(capsys, "--out", str(folder))
    first = CertificateFolder(folder).authorities()[0]
    assert certs(capsys, "--out", str(folder), "--new-ca")["kept"] == list(SERVICES)
    assert len(CertificateFolder(folder).authorities()) == 2
    assert all(map(good, SERVICES))
    assert "renew first" in certs(capsys, "--out", str(folder), "--drop-old-ca", code=2)
    certs(capsys, "--out", str(folder), "--renew")
    assert all(map(good, SERVICES))
    assert certs(capsys, "--out", str(folder), "--drop-old-ca") == {"dropped": 1}
    assert all(map(good, SERVICES))
    (left,) = CertificateFolder(folder).authorities()
    assert left != first


def test_what_is_over_is_shown_and_told_by_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "certs"
    CertificateFolder(folder).make(
        trust_domain="trinity.internal",
        services=("price",),
        hosts=(),
        days=10,
        ca_days=365,
        now_ns=SystemClock().unix_ns() - 20 * DAY_NS,
    )
    assert run(["certs", "show", "--out", str(folder)]) == 4
    rows = capsys.readouterr().out.splitlines()
    assert "spiffe://trinity.internal/price" in rows[2]
    assert " 0 d" in rows[2]
    assert "PRIVATE" not in "".join(rows)
    assert "cannot be read" in certs(capsys, "show", "--out", str(tmp_path / "none"), code=2)


def test_a_part_without_its_certificate_is_told_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`trinity certs --out"):
        CertificateFolder(tmp_path).tls("price")


async def test_an_operators_command_reaches_another_machine_by_the_certificate_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the loopback, where commands speak plainly: the address is this machine's, by a name of its own."""
    folder = CertificateFolder(tmp_path)
    now_ns = SystemClock().unix_ns()
    folder.make(trust_domain="m.test", services=("price", "operator"), hosts=(), days=9, ca_days=99, now_ns=now_ns)
    monkeypatch.setenv("TRINITY_CERTS", str(tmp_path))
    async with dial("unix:/nowhere.sock", "price", os.environ) as near:
        assert not isinstance(first_backend(near), RenewingChannel)
    async with dial("192.0.2.1:50051", "price", os.environ) as far:
        assert isinstance(first_backend(far), RenewingChannel)
    async with dial("unix:/nowhere.sock,192.0.2.1:50051", "price", os.environ) as mixed:
        assert not isinstance(first_backend(mixed), RenewingChannel)
        assert isinstance(mixed, MeshChannel)
        assert isinstance(mixed.balancer.backends[1].channel.inner, RenewingChannel)  # type: ignore[attr-defined]
    (tmp_path / "operator.pem").unlink()
    with pytest.raises(CommandError, match="has no operator.pem"):
        dial("192.0.2.1:50051", "price", os.environ)
