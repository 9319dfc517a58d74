"""Certificates in files: read again when they change, kept when the new ones are wrong, their end told ahead."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from mesh.issued import DAY_NS, Issuer, now_ns, replace
from trinity_mesh.certificates import Files, read_certificates
from trinity_mesh.config import ConfigError
from trinity_mesh.renewal import Renewal
from trinity_mesh.tls_config import PublicTlsConfig, TlsConfig, is_local


class SetClock:
    """A clock whose wall time is what the test says; `sleep` lets it pass, and ends the looking after some looks."""

    def __init__(self) -> None:
        self.now_ns = now_ns()
        self.monotonic = 0

    def unix_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.monotonic

    async def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "certs")


def files(config: TlsConfig) -> Files:
    return Files(Path(config.cert_file), Path(config.key_file), Path(config.ca_file))


def renewal(config: TlsConfig, clock: SetClock, *, warn_h: int = 72) -> Renewal:
    return Renewal(files(config), clock=clock, check_ms=1_000, warn_h=warn_h)


def test_files_that_did_not_change_are_not_read_again(issuer: Issuer) -> None:
    kept = renewal(issuer.config("price"), SetClock())
    before = kept.current
    kept.check()
    assert kept.current is before
    assert kept.generation == 1


def test_new_files_are_used_and_told(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept = renewal(issuer.config("price", days=5), SetClock())
    before = kept.current
    issuer.config("price", days=30)
    kept.check()
    assert kept.generation == 2
    assert kept.current.ends_ns > before.ends_ns
    assert "the certificate was renewed" in caplog.text


@pytest.mark.parametrize("what", ["half a pair", "another CA's", "nothing", "no PEM", "ended", "open to all"])
def test_wrong_new_files_are_told_and_the_ones_before_stay_in_use(
    issuer: Issuer, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = issuer.config("price")
    kept = renewal(config, SetClock())
    before = kept.current
    other = Issuer(tmp_path / "other").config("price")
    match what:
        case "half a pair":
            replace(Path(config.cert_file), Path(other.cert_file).read_bytes())
        case "another CA's":
            replace(Path(config.cert_file), Path(other.cert_file).read_bytes())
            replace(Path(config.key_file), Path(other.key_file).read_bytes())
        case "nothing":
            Path(config.cert_file).unlink()
        case "no PEM":
            replace(Path(config.cert_file), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        case "ended":
            issuer.config("price", begins_days=-20, days=10)
        case _:
            Path(config.key_file).chmod(0o644)
    kept.check()
    assert kept.current is before
    assert kept.generation == 1
    assert caplog.text.count("the new certificate is not used, the one before it is") == 1
    kept.check()
    assert caplog.text.count("the new certificate is not used") == 1, "told once, not at every look"
    assert "PRIVATE KEY" not in caplog.text
    issuer.config("price")
    kept.check()
    assert kept.generation == 2


def test_the_end_of_a_certificate_is_told_ahead_more_often_as_it_comes_near(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SetClock()
    kept = renewal(issuer.config("price", days=30), clock, warn_h=72)
    told = []
    while clock.now_ns < kept.current.ends_ns + DAY_NS:
        caplog.clear()
        kept.check()
        if caplog.records:
            left_h = (kept.current.ends_ns - clock.now_ns) / 3.6e12
            told.append((round(left_h), caplog.records[0].levelname, len(caplog.records)))
        clock.now_ns += 3_600_000_000_000
    assert [entry[:2] for entry in told[:4]] == [(72, "WARNING"), (36, "WARNING"), (18, "WARNING"), (9, "WARNING")]
    assert told[-1][1] == "ERROR"
    assert {count for _, _, count in told} == {1}
    assert len(told) <= 14


async def test_whoever_looks_after_the_files_needs_nobody_to_ask(issuer: Issuer) -> None:
    class Looks(SetClock):
        looks = 0

        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            self.looks += 1
            if self.looks == 2:
                issuer.config("price")
            if self.looks == 4:
                seen.set()
            await asyncio.sleep(0)

    seen = asyncio.Event()
    async with renewal(issuer.config("price"), Looks()) as kept:
        await seen.wait()
        assert kept.generation == 2


@pytest.mark.parametrize("uris", [(), ("spiffe://mesh.test/price", "spiffe://mesh.test/account"), ("http://price",)])
def test_a_certificate_that_does_not_carry_exactly_one_spiffe_id_is_nobodys(
    issuer: Issuer, uris: tuple[str, ...]
) -> None:
    config = issuer.config("price")
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.load_pem_x509_certificate(Path(config.cert_file).read_bytes())
    builder = (
        x509.CertificateBuilder(made.issuer, made.subject, key.public_key(), made.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    names: list[x509.GeneralName] = [x509.DNSName("price.mesh.test")]
    names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    signer = load_pem_private_key(issuer.pair.key_pem, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    signed = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(signer, hashes.SHA256())
    replace(Path(config.cert_file), signed.public_bytes(Encoding.PEM))
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace(Path(config.key_file), key.private_bytes(*form))
    with pytest.raises(ConfigError, match=r"URI name"):
        read_certificates(files(config), now_ns=now_ns())


def test_the_certificate_of_a_ca_is_no_parts_own(issuer: Issuer) -> None:
    config = issuer.config("price")
    replace(Path(config.cert_file), issuer.pair.cert_pem)
    replace(Path(config.key_file), issuer.pair.key_pem)
    with pytest.raises(ConfigError, match="is a CA's"):
        read_certificates(files(config), now_ns=now_ns())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cert_file": "a"}, "cert_file, key_file and ca_file together"),
        ({"listen": "10.0.0.1:1"}, "tls.listen needs cert_file"),
        ({"listen": "unix:/x", "plaintext": True}, "tls.listen must be host:port"),
        ({"trust_domain": "Trinity"}, "tls.trust_domain"),
        ({"allowed_peers": ("Price",)}, "tls.allowed_peers"),
        ({"check_ms": 1}, "tls.check_ms"),
        ({"warn_h": -1}, "tls.warn_h"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TlsConfig(**values)  # type: ignore[arg-type]


def test_a_public_port_needs_both_files() -> None:
    with pytest.raises(ValueError, match="cert_file and key_file together"):
        PublicTlsConfig(cert_file="a")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/x.sock", True),
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
        ("dns:///127.0.0.1:1", False),
        (":50051", False),
        ("unix:/run/x.sock,127.0.0.1:1", True),
        ("unix:/run/x.sock,10.0.0.1:1", False),
        ("10.0.0.1:1,127.0.0.1:1", False),
    ],
)
def test_only_the_loopback_and_sockets_are_this_host(address: str, local: bool) -> None:
    assert is_local(address) is local
