"""A CA of a mesh's own, and the certificates that it makes: what `trinity certs` writes into files.

A certificate of a part names spiffe://<trust domain>/<service> as URI and <service>.<trust domain> as DNS name, and is
good for both sides of a connection. Keys are ECDSA on P-256.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trinity_mesh.config import ConfigError
from trinity_mesh.spiffe import check_trust_domain, id_of, server_name

_EARLIER: Final = timedelta(minutes=5)
"""How long before its making a certificate begins, for machines whose clocks are behind."""
_DNS_NAME: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
_HOSTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)


def make_authority(trust_domain: str, *, days: int, now_ns: int) -> Pair:
    """A new CA. Raises ValueError for a trust domain that cannot be one."""
    check_trust_domain(trust_domain)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            # Two CAs of one mesh, while one takes the other's place, must not have one name.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Trinity mesh CA {x509.random_serial_number():040x}"[:32]),
        ]
    )
    builder = (
        _begun(name, name, key, days=days, now_ns=now_ns)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Pair, service: str, *, trust_domain: str, days: int, now_ns: int, hosts: Sequence[str] = ()
) -> Pair:
    """A certificate of a service, which ends no later than its CA.

    `hosts` are names and addresses that it is good for besides, for callers that go by them. Raises
    ValueError for a service or host that cannot be one, ConfigError for a CA whose key does not fit or that has ended.
    """
    names = [
        x509.UniformResourceIdentifier(str(id_of(trust_domain, service))),
        x509.DNSName(server_name(trust_domain, service)),
        *general_names(hosts),
    ]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, service),
        ]
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _issued(authority, subject, names, usages, days=days, now_ns=now_ns)


def issue_for_hosts(authority: Pair, hosts: Sequence[str], *, days: int, now_ns: int) -> Pair:
    """A certificate of a server that its clients know by host names and addresses alone. Raises as `issue` does."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    return _issued(authority, subject, general_names(hosts), usages, days=days, now_ns=now_ns)


def general_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Host names and addresses as certificates have them. Raises ValueError for what is neither."""
    if len(hosts) > _HOSTS_MAX:
        raise ValueError(f"a certificate has room for {_HOSTS_MAX} hosts, not {len(hosts)}")
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if len(host) > 253 or not _DNS_NAME.fullmatch(host):
                raise ValueError(f"{host[:80]!r} is neither a DNS name nor an IP address") from None
            names.append(x509.DNSName(host))
    return names


def _issued(
    authority: Pair,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    *,
    days: int,
    now_ns: int,
) -> Pair:
    issuer, issuer_key = _authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    if _moment(now_ns) >= issuer.not_valid_after_utc:
        raise ConfigError(f"the CA ended on {issuer.not_valid_after_utc:%Y-%m-%d}: make a new one in another folder")
    builder = (
        _begun(subject, issuer.subject, key, days=days, now_ns=now_ns, ends=issuer.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    days: int,
    now_ns: int,
    ends: datetime | None = None,
) -> x509.CertificateBuilder:
    now = _moment(now_ns)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end if ends is None else min(end, ends))
    )


def _authority(authority: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = x509.load_pem_x509_certificate(authority.cert_pem)
    key = load_pem_private_key(authority.key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError("the CA's key is not the key of its certificate")
    return certificate, key


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _moment(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
