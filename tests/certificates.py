"""Certificates as a test wants them, good and bad: authorities, what they issue, and what they revoke."""

import base64
import datetime as dt
import hashlib
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)
PEM = serialization.Encoding.PEM
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def now():
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def new_key(bits=None):
    return ec.generate_private_key(ec.SECP256R1()) if bits is None else rsa.generate_private_key(65537, bits)


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Issued:
    """A certificate, its key, and the intermediate ones to show with it."""

    def __init__(self, certificate, key, above=()):
        self.certificate, self.key, self.above = certificate, key, above

    @property
    def pem(self):
        return b"".join(one.public_bytes(PEM) for one in (self.certificate, *self.above))

    def key_pem(self, password=None):
        protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, protection)

    def pkcs12(self, password):
        protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return pkcs12.serialize_key_and_certificates(b"mine", self.key, self.certificate, self.above, protection)

    @property
    def public_key(self):
        """SubjectPublicKeyInfo in DER."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.certificate.public_key().public_bytes(serialization.Encoding.DER, form)

    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a weak key is the client's to refuse
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "both.pem")
            path.write_bytes(self.pem + self.key_pem())
            context.load_cert_chain(path)
        return context


class Authority(Issued):
    """Issues certificates: the root's own is self-signed."""

    def __init__(self, name="Test Root", above=None, key=None, more=(), usage=True, **dates):
        key = key or new_key()
        issuer = above or self
        self.name = named(name)
        if above is None:
            self.key = key
        extensions = [(x509.BasicConstraints(ca=True, path_length=None), True)]
        if usage:
            extensions.append((_KEY_USAGE, True))
        extensions += ((one, False) for one in more)
        certificate = _certificate(self.name, key, issuer, extensions, **dates)
        super().__init__(certificate, key)

    def issue(self, *names, use=SERVER, key=None, above=(), subject=None, **others):
        key = key or new_key()
        extensions = [(x509.BasicConstraints(ca=False, path_length=None), True)]
        if names:
            extensions.append((x509.SubjectAlternativeName([_general(name) for name in names]), False))
        if use is not None:
            extensions.append((x509.ExtendedKeyUsage([use]), False))
        certificate = _certificate(named(subject or names[0]), key, self, extensions, **others)
        return Issued(certificate, key, above)

    def revocation_list(self, *revoked, until=None):
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(now() - 3 * DAY).next_update(until or now() + DAY)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now() - DAY).build())
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(known, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


def own_authority(name, *names, use=None, **others):
    """A server's certificate as `openssl req -x509` makes it, which is an authority's."""
    more = [x509.SubjectAlternativeName([_general(each) for each in (names or (name,))])]
    if use is not None:
        more.append(x509.ExtendedKeyUsage([use]))
    return Authority(name, more=more, **others)


def self_signed(name):
    """A server's certificate that no authority has signed."""
    issuer = Authority.__new__(Authority)
    issuer.name, issuer.key = named(name), new_key()
    return issuer.issue(name, key=issuer.key)


def pin(issued):
    """As ``TlsConfig(pins=...)`` takes it."""
    return base64.b64encode(hashlib.sha256(issued.public_key).digest()).decode()


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _certificate(name, key, issuer, extensions, not_before=None, not_after=None, names_issuer=True):
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer.name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(not_before or now() - DAY).not_valid_after(not_after or now() + DAY)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    for extension, critical in [*extensions, *([(known, False)] if names_issuer else []), (own, False)]:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key, hashes.SHA256())


def _general(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
