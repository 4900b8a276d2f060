//! A server's certificate that is itself trusted, and an authority's: so `openssl req -x509` makes them. webpki takes none of
//! those for a server's own; OpenSSL does.

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::in_sequence;

/// Whether webpki's objection to a certificate is that it is an authority's, and no other.
pub fn is_an_authoritys(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

/// Judges a server's certificate by itself. None: it is not trusted. Trusted are a name and a key, as of any authority: who
/// has the key, which the handshake shows, may say in a certificate what he likes.
pub fn judged(
    anchors: &[TrustAnchor<'_>],
    end_entity: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Option<Result<(), CertificateError>> {
    let (_, own) = X509Certificate::from_der(end_entity).ok()?;
    let is_it = |anchor: &TrustAnchor<'_>| {
        anchor.name_constraints.is_none()
            && in_sequence(&anchor.subject) == own.subject().as_raw()
            && in_sequence(&anchor.subject_public_key_info) == own.public_key().raw
    };
    anchors.iter().any(is_it).then(|| judge(&own, end_entity, name, now))
}

fn judge(
    own: &X509Certificate<'_>,
    end_entity: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (valid, now) = (own.validity(), now.as_secs().cast_signed());
    if now < valid.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > valid.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    // Extensions that are in it twice, or cannot be read, allow nothing.
    let uses = own.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let usage = own.key_usage().map_err(|_| CertificateError::BadEncoding)?.map(|usage| usage.value);
    if uses.is_some_and(|uses| !uses.value.server_auth && !uses.value.any)
        || usage.is_some_and(|to| !(to.digital_signature() || to.key_encipherment() || to.key_agreement()))
    {
        return Err(CertificateError::InvalidPurpose);
    }
    EndEntityCert::try_from(end_entity)
        .and_then(|parsed| parsed.verify_is_valid_for_subject_name(name))
        .map_err(|_| CertificateError::NotValidForNameContext { expected: name.to_owned(), presented: Vec::new() })
}
