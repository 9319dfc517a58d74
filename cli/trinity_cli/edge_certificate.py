"""A certificate for the edge of a mesh on one machine, made by itself: an authority of its own, and what that signed.

    files = make_certificate(data_dir / "edge", names, now=…)
    # curl --cacert <files.authority> https://api.localhost/…

Nobody else's programs trust it, and nobody should be asked to: the authority's key is thrown away as soon as it has
signed. Where customers come, an authority that they know signs (docs/deployment.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trinity_mesh.authority import general_names, issue_for_hosts, make_authority
from trinity_mesh.whole_file import write_whole

LIFETIME: Final = timedelta(days=90)
RENEWED: Final = timedelta(days=30)
"""One that has less left is made anew at the next start."""

_DOMAIN: Final = "edge.localhost"
"""Names the authority, as a mesh's trust domain does."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they stand."""

    authority: Path
    """The certificate that clients must trust."""
    certificate: Path
    key: Path


def make_certificate(folder: Path, names: Sequence[str], *, now: datetime) -> CertificateFiles:
    """The files for these host names and addresses; those of an earlier call while they are good for all of them."""
    files = CertificateFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    if _good(files, names, now):
        return files
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    now_ns = int(now.timestamp()) * 1_000_000_000
    authority = make_authority(_DOMAIN, days=LIFETIME.days, now_ns=now_ns)
    made = issue_for_hosts(authority, names, days=LIFETIME.days, now_ns=now_ns)
    # The authority last: what stands there without it is made again.
    write_whole(files.key, made.key_pem)
    write_whole(files.certificate, made.cert_pem)
    write_whole(files.authority, authority.cert_pem)
    return files


def _good(files: CertificateFiles, names: Sequence[str], now: datetime) -> bool:
    try:
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), None)
        certificate.verify_directly_issued_by(authority)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        # Missing, broken, or signed by an authority of another run: whatever it is, a new one mends it.
        return False
    return (
        certificate.public_key() == key.public_key()
        and certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - RENEWED
        and set(general_names(names)) <= set(found)
    )
