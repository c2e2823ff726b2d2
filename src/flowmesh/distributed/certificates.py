"""Making certificates: an authority for one cluster, and what it signs.

Keys are on the curve P-256: making one takes a millisecond. The package `cryptography` is imported when the first one is made.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from flowmesh.distributed.credentials import Credentials

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What a machine calls itself: in every certificate."""

_SLACK = datetime.timedelta(hours=1)
"""Clocks of machines may differ by so much."""


class Authority:
    """Signs the certificates of one cluster; who knows its key can let anybody in."""

    def __init__(self, certificate: Any, key: Any, token: str):
        self._certificate = certificate
        self._key = key
        self.token = token

    @classmethod
    def create(cls, days: int = 365) -> Authority:
        """A new authority with a new token. ImportError without the package `cryptography`."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Flowmesh cluster {secrets.token_hex(4)}")
        builder = (
            _builder(name, name, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(_sign(builder, key), key, secrets.token_hex(32))

    @classmethod
    def load(cls, certificate: bytes, key: bytes, token: str) -> Authority:
        """An authority from PEM texts; ValueError for what is none."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        return cls(
            x509.load_pem_x509_certificate(certificate),
            serialization.load_pem_private_key(key, None),
            token,
        )

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, which every task gets."""
        return _pem(self._certificate)

    @property
    def key_pem(self) -> bytes:
        """The key, which no task gets."""
        return _key_pem(self._key)

    def issue(self, names: Sequence[str], days: int = 365) -> Credentials:
        """Credentials for a task that is reached under these host names and addresses, or under those of LOCAL_NAMES."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        wanted = list(dict.fromkeys([*names, *LOCAL_NAMES]))
        builder = (
            _builder(_name(wanted[0]), self._certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in wanted]), critical=False
            )
        )
        certificate = _sign(builder, self._key)
        return Credentials(self.certificate_pem, _pem(certificate), _key_pem(key), self.token)


def for_this_machine(days: int = 30) -> Credentials:
    """Credentials for the tasks of one machine, of an authority whose key is forgotten at once."""
    return Authority.create(days).issue([socket.gethostname()], days)


def token_only() -> Credentials:
    """A token without certificates."""
    return Credentials(b"", b"", b"", secrets.token_hex(32))


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())


def _builder(subject: Any, issuer: Any, public_key: Any, days: int) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: Any, key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return data


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return data
