"""A certificate for servers on this machine, and the authority that has signed it: clients are told to trust that."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Certified:
    """Files, PEM.

    Attributes
    ----------
    authority : Path
        What clients are to trust.
    chain : Path
        The server's certificate, and its key.
    """

    authority: Path
    chain: Path


def certified(folder: Path) -> Certified:
    """Make an authority and a server's certificate, valid for an hour, in a folder."""
    own, servers = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority for one benchmark")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_ADDRESS))])
    signing = x509.BasicConstraints(ca=True, path_length=0)
    authority = _begun(name, name, own).add_extension(signing, critical=True).sign(own, hashes.SHA256())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ADDRESS)])
    server = _begun(subject, name, servers).add_extension(address, critical=False).sign(own, hashes.SHA256())
    made = Certified(folder / "authority.pem", folder / "server.pem")
    made.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    key = servers.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made.chain.write_bytes(server.public_bytes(Encoding.PEM) + key)
    return made


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    begun = begun.serial_number(x509.random_serial_number())
    return begun.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
