"""The folder that `trinity certs` keeps: a CA, and a certificate for each part of the mesh, in PEM files.

    ca.pem  ca.key  price.pem  price.key  gateway.pem  gateway.key  …

`ca.pem` may hold former CAs below the present one, so that what they made is taken until it is renewed. Only
`ca.key` can make certificates; a machine that runs parts needs `ca.pem` and the files of those parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from trinity_mesh.authority import Pair, issue, make_authority
from trinity_mesh.certificates import Files, read_certificates
from trinity_mesh.config import ConfigError
from trinity_mesh.identity import OPERATOR
from trinity_mesh.spiffe import SpiffeId, parse
from trinity_mesh.whole_file import write_whole

SERVICES: Final = ("feeds", "price", "account", "usage", "report", "webhook", "webhook-worker", "gateway", OPERATOR)
"""Who gets a certificate: every part of the mesh that calls or is called, and its operator."""

_RENEW_PART: Final = 3
"""A certificate is renewed once a third of its time is left."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One certificate of the folder, for `trinity certs show`."""

    file: Path
    name: str
    """SPIFFE ID; of a CA that of its trust domain."""
    hosts: tuple[str, ...]
    """Further DNS names and addresses."""
    ends_ns: int


@dataclass(frozen=True, slots=True)
class Made:
    """What a run of `trinity certs` did."""

    new_authority: bool
    renewed: tuple[str, ...]
    kept: tuple[str, ...]


class CertificateFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def trust_domain(self) -> str:
        """The mesh that the folder's CA is of. Raises ConfigError where there is no CA."""
        return parse(_uri(self.path / "ca.pem", self.authorities()[0])).trust_domain

    def authorities(self) -> list[x509.Certificate]:
        """The CAs, the present one first. Raises ConfigError where they cannot be read."""
        return _certificates(self.path / "ca.pem")

    def tls(self, service: str, *, listen: str = "") -> dict[str, Any]:
        """The settings `tls` of a part that has its certificate here. Raises ConfigError where a file is missing."""
        for name in ("ca.pem", f"{service}.pem", f"{service}.key"):
            if not (self.path / name).exists():
                raise ConfigError(f"{self.path} has no {name}: `trinity certs --out {self.path}` makes it")
        return {
            "cert_file": str(self.path / f"{service}.pem"),
            "key_file": str(self.path / f"{service}.key"),
            "ca_file": str(self.path / "ca.pem"),
            "trust_domain": self.trust_domain(),
            **({"listen": listen} if listen else {}),
        }

    def make(
        self,
        *,
        trust_domain: str,
        services: Sequence[str],
        hosts: Sequence[str],
        days: int,
        ca_days: int,
        now_ns: int,
        renew: bool = False,
        new_ca: bool = False,
    ) -> Made:
        """Make what is missing, and renew what ends soon or is for other hosts.

        `renew` renews everything; `new_ca` puts a new CA before the present one, which goes on vouching for what
        it made. Without `hosts` a certificate keeps those it has. Raises ConfigError where the folder's CA is
        another mesh's, or its key is not here.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, fresh = self._authority(trust_domain, ca_days=ca_days, now_ns=now_ns, new_ca=new_ca)
        renewed, kept = [], []
        for service in services:
            if not renew and self._is_good(service, hosts=hosts, now_ns=now_ns):
                kept.append(service)
                continue
            named = hosts or self._hosts(service)
            pair = issue(authority, service, trust_domain=trust_domain, days=days, now_ns=now_ns, hosts=named)
            self._write(f"{service}.key", pair.key_pem)
            self._write(f"{service}.pem", pair.cert_pem)
            renewed.append(service)
        return Made(fresh, tuple(renewed), tuple(kept))

    def drop_old(self) -> int:
        """Take former CAs out of `ca.pem`; how many. Raises ConfigError while a certificate here is of one of them."""
        present, *former = self.authorities()
        needed = [path.name for path in self._leaves() if not _made_by(_certificates(path)[0], present)]
        if needed:
            raise ConfigError(
                f"{', '.join(needed)}: of a former CA; renew first (`trinity certs --out {self.path} --renew`)"
            )
        if former:
            self._write("ca.pem", present.public_bytes(Encoding.PEM))
        return len(former)

    def show(self) -> list[Shown]:
        """Every certificate of the folder. Raises ConfigError where one cannot be read."""
        shown = [_shown(self.path / "ca.pem", each) for each in self.authorities()]
        return [*shown, *(_shown(path, _certificates(path)[0]) for path in self._leaves())]

    def _leaves(self) -> list[Path]:
        return [path for path in sorted(self.path.glob("*.pem")) if path.name != "ca.pem"]

    def _authority(self, trust_domain: str, *, ca_days: int, now_ns: int, new_ca: bool) -> tuple[Pair, bool]:
        cert, key = self.path / "ca.pem", self.path / "ca.key"
        former = b""
        if cert.exists() or key.exists():
            if not key.exists():
                raise ConfigError(f"{cert} is there and its key is not: make certificates where {key.name} is kept")
            if not cert.exists():
                raise ConfigError(f"{key} is there and {cert.name} is not: bring it back, or use another folder")
            found = self.trust_domain()
            if found != trust_domain:
                raise ConfigError(
                    f"the CA in {self.path} is of {found}, not {trust_domain}: use another folder, or --trust-domain "
                    f"{found}"
                )
            former = cert.read_bytes()
            if not new_ca:
                return Pair(self.authorities()[0].public_bytes(Encoding.PEM), key.read_bytes()), False
        made = make_authority(trust_domain, days=ca_days, now_ns=now_ns)
        self._write("ca.key", made.key_pem)
        self._write("ca.pem", made.cert_pem + former)
        return made, True

    def _is_good(self, service: str, *, hosts: Sequence[str], now_ns: int) -> bool:
        try:
            found = read_certificates(self._files(service), now_ns=now_ns)
            shown = _shown(self.path / f"{service}.pem", x509.load_pem_x509_certificate(found.chain_pem))
            begins = x509.load_pem_x509_certificate(found.chain_pem).not_valid_before_utc
        except ConfigError:
            return False
        whole_ns = shown.ends_ns - round(begins.timestamp()) * 1_000_000_000
        fresh = (shown.ends_ns - now_ns) * _RENEW_PART > whole_ns
        named = found.name == SpiffeId(self.trust_domain(), f"/{service}")
        return fresh and named and set(hosts) <= set(shown.hosts)

    def _hosts(self, service: str) -> tuple[str, ...]:
        """Those of the certificate that is there."""
        path = self.path / f"{service}.pem"
        try:
            return _shown(path, _certificates(path)[0]).hosts
        except ConfigError:
            return ()

    def _files(self, service: str) -> Files:
        return Files(self.path / f"{service}.pem", self.path / f"{service}.key", self.path / "ca.pem")

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self.path / name, data, synced=True)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} holds no certificate in PEM form") from None


def _made_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _shown(path: Path, certificate: x509.Certificate) -> Shown:
    names = _names(path, certificate)
    hosts = [
        *names.get_values_for_type(x509.DNSName)[1:],
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]
    ends_ns = round(certificate.not_valid_after_utc.timestamp()) * 1_000_000_000
    return Shown(path, _uri(path, certificate), tuple(hosts), ends_ns)


def _uri(path: Path, certificate: x509.Certificate) -> str:
    found: list[str] = _names(path, certificate).get_values_for_type(x509.UniformResourceIdentifier)
    if len(found) != 1:
        raise ConfigError(f"{path} was not made by `trinity certs`: it has {len(found)} URI names")
    return found[0]


def _names(path: Path, certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ConfigError(f"{path} was not made by `trinity certs`: it has no alternative names") from None
