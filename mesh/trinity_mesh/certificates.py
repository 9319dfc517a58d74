"""Certificates from files, judged before they are used: what is wrong with them is told at the start, in words."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from trinity_mesh.config import ConfigError
from trinity_mesh.spiffe import SpiffeId, parse

_FILE_BYTES_MAX: Final = 1 << 20
_CHAIN_MAX: Final = 8
"""Most certificates from a part's own to that of a CA."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate is."""

    cert: Path
    key: Path
    ca: Path | None
    """The CAs that vouch for peers and for the certificate itself; None where callers show no certificate."""

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file there is."""
        return (self.cert, self.key) if self.ca is None else (self.cert, self.key, self.ca)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files said when they were read; good at that time."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    ca_pem: bytes
    name: SpiffeId | None
    """Whose it is; None without a CA file."""
    dns_names: tuple[str, ...]
    """Further names, by which clients know a server; none without a CA file."""
    ends_ns: int
    """When it, or a CA that vouches for it, ends first; Unix nanoseconds."""
    ends_first: str
    """Which of them that is, in words."""


def read_certificates(files: Files, *, now_ns: int) -> Certificates:
    """Read and judge.

    Raises ConfigError, naming the file and what to do, where a file cannot be read, the key belongs
    to another certificate, one has ended or not begun, no CA of the file vouches for it, or it does
    not carry exactly one SPIFFE ID.
    """
    chain_pem, key_pem = _read(files.cert), _read(files.key, secret=True)
    chain = _certificates(files.cert, chain_pem)
    leaf = chain[0]
    _check_key(files, leaf, key_pem)
    if files.ca is None:
        _check_time(files.cert, leaf, now_ns)
        return Certificates(chain_pem, key_pem, b"", None, (), _ns(leaf.not_valid_after_utc), "it")
    name = _name(files.cert, leaf)
    ca_pem = _read(files.ca)
    path = _path(files, chain, _certificates(files.ca, ca_pem))
    for each in path:
        _check_time(files.cert if each in chain else files.ca, each, now_ns)
    first = min(path, key=lambda each: each.not_valid_after_utc)
    words = "it" if first is leaf else f"{first.subject.rfc4514_string()}, which vouches for it,"
    return Certificates(chain_pem, key_pem, ca_pem, name, _dns_names(leaf), _ns(first.not_valid_after_utc), words)


def moment(unix_ns: int) -> str:
    """A time in words, UTC, to the second."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; `trinity certs` makes certificates") from None
    if secret and stat.S_IMODE(mode) & 0o007:
        raise ConfigError(f"{path} is a private key that everybody here may read: chmod 600 {path}")
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path} is greater than {_FILE_BYTES_MAX} bytes: that is no file of certificates")
    return data


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError(f"{path} holds no certificate in PEM form") from None


def _check_key(files: Files, leaf: x509.Certificate, key_pem: bytes) -> None:
    try:
        public = load_pem_private_key(key_pem, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause, which could show a part of the file.
        raise ConfigError(f"{files.key} holds no private key in PEM form that needs no password") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise ConfigError(f"{files.key} is not the key of {files.cert}: renew both together")


def _check_time(path: Path, each: x509.Certificate, now_ns: int) -> None:
    whose = each.subject.rfc4514_string() or "the certificate"
    if now_ns >= _ns(each.not_valid_after_utc):
        raise ConfigError(
            f"{path}: {whose} ended on {moment(_ns(each.not_valid_after_utc))}; renew it (`trinity certs`)"
        )
    if now_ns < _ns(each.not_valid_before_utc):
        raise ConfigError(
            f"{path}: {whose} begins only on {moment(_ns(each.not_valid_before_utc))}; look at this machine's clock"
        )


def _name(path: Path, leaf: x509.Certificate) -> SpiffeId:
    """The one SPIFFE ID of a certificate that is none of a CA."""
    try:
        names, is_ca = _alternative(leaf), _is_ca(leaf)
    except ValueError:
        raise ConfigError(f"{path}: the certificate has extensions that cannot be read") from None
    if is_ca:
        raise ConfigError(f"{path}: the first certificate is a CA's; no part of the mesh may use it as its own")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if len(uris) != 1:
        raise ConfigError(
            f"{path}: the certificate has {len(uris)} URI names; exactly one is needed, such as "
            "spiffe://trinity.internal/price"
        )
    try:
        return parse(uris[0])
    except ValueError as error:
        raise ConfigError(f"{path}: the certificate's URI name: {error}") from None


def _path(files: Files, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """From the part's certificate to the CA that vouches for it."""
    path = [chain[0]]
    while len(path) <= _CHAIN_MAX:
        root = next((root for root in roots if _issued(path[-1], root)), None)
        if root is not None:
            return [*path, root]
        between = next((each for each in chain[1:] if each not in path and _issued(path[-1], each)), None)
        if between is None:
            break
        path.append(between)
    raise ConfigError(
        f"no CA in {files.ca} vouches for {files.cert}: it was made by {path[-1].issuer.rfc4514_string() or 'another'}"
    )


def _issued(each: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        each.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    names = _alternative(leaf)
    return () if names is None else tuple(names.get_values_for_type(x509.DNSName))


def _alternative(leaf: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _is_ca(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _ns(moment_: datetime) -> int:
    return int(moment_.timestamp()) * 1_000_000_000
