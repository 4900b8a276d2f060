//! What is wrong, in words: rustls' errors and the certificates that they are about. Nothing is parsed before an error.
//!
//! What is [`tagged`] is a `CertificateError` in Python.

use std::fmt::Display;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;

use super::notes::Asked;
use super::verify::pin_of;

/// A text about a certificate, which `fastws._tls_words` reads. The fault is one of `fastws.errors.CertificateFault`.
fn tagged(fault: &str, text: impl Display) -> String {
    format!("{TAG}{fault}: {text}")
}

const TAG: &str = "certificate/";

/// Why the certificates that the server showed were not accepted.
pub fn refused(error: &Error, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> String {
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    let Ok((_, own)) = X509Certificate::from_der(end_entity) else {
        return tagged("other", format_args!("the server's certificate cannot be read: {why}"));
    };
    let chain = Chain { own, intermediates };
    tagged(chain.fault(why), chain.why(why))
}

/// What OpenSSL did not accept them for, by the code of its verification (`X509_V_ERR_*` of its x509_vfy.h), and why;
/// nothing where its own words say as much. The server's own certificate is the first of `chain`, which has more than was
/// verified.
pub fn refused_by_openssl(code: u32, host: &str, chain: &[Vec<u8>]) -> (&'static str, Option<String>) {
    let own = chain.first().and_then(|own| X509Certificate::from_der(own).ok());
    let is_self_signed = own.is_some_and(|(_, own)| is_self_signed(&own));
    let fault = match code {
        EXPIRED => "expired",
        NOT_YET_VALID => "not_yet_valid",
        SELF_SIGNED => "self_signed",
        SELF_SIGNED_IN_CHAIN | NO_ISSUER | NO_LOCAL_ISSUER | NO_FIRST_SIGNATURE | BAD_SIGNATURE if is_self_signed => {
            "self_signed"
        }
        SELF_SIGNED_IN_CHAIN | NO_ISSUER | NO_LOCAL_ISSUER | NO_FIRST_SIGNATURE => "untrusted",
        HOSTNAME_MISMATCH | ADDRESS_MISMATCH => "name",
        INVALID_PURPOSE => "purpose",
        REVOKED => "revoked",
        _ => "other",
    };
    (fault, words_for_openssl(code, host, chain))
}

fn words_for_openssl(code: u32, host: &str, chain: &[Vec<u8>]) -> Option<String> {
    let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
    let intermediates: Vec<_> = chain[1..].iter().map(|one| CertificateDer::from(one.as_slice())).collect();
    let chain = Chain { own, intermediates: &intermediates };
    let said = match code {
        EXPIRED | NOT_YET_VALID => chain.out_of_date(code == EXPIRED, ASN1Time::now())?,
        SELF_SIGNED | SELF_SIGNED_IN_CHAIN | NO_ISSUER | NO_LOCAL_ISSUER | NO_FIRST_SIGNATURE => chain.unknown_issuer(),
        HOSTNAME_MISMATCH | ADDRESS_MISMATCH => chain.other_names(host),
        BAD_SIGNATURE => chain.other_key(),
        INVALID_PURPOSE => chain.other_use(),
        REVOKED => chain.why(&CertificateError::Revoked),
        NO_REVOCATION_LIST => chain.why(&CertificateError::UnknownRevocationStatus),
        KEY_TOO_SMALL => format!("the server's certificate has {}", weak(&chain.own)?),
        WEAK_SIGNATURE => chain.signature(),
        _ => return None,
    };
    Some(said)
}

const NO_ISSUER: u32 = 2;
const NO_REVOCATION_LIST: u32 = 3;
const BAD_SIGNATURE: u32 = 7;
const NOT_YET_VALID: u32 = 9;
const EXPIRED: u32 = 10;
const SELF_SIGNED: u32 = 18;
const SELF_SIGNED_IN_CHAIN: u32 = 19;
const NO_LOCAL_ISSUER: u32 = 20;
const NO_FIRST_SIGNATURE: u32 = 21;
const REVOKED: u32 = 23;
const INVALID_PURPOSE: u32 = 26;
const HOSTNAME_MISMATCH: u32 = 62;
const ADDRESS_MISMATCH: u32 = 64;
const KEY_TOO_SMALL: u32 = 66;
const WEAK_SIGNATURE: u32 = 68;

/// The server's signature of the handshake does not show that it has the key of its certificate.
pub fn not_proven(error: &Error, end_entity: &CertificateDer<'_>) -> String {
    let weakness = X509Certificate::from_der(end_entity).ok().and_then(|(_, own)| weak(&own));
    match weakness {
        Some(weakness) => tagged("other", format_args!("the server's certificate has {weakness}")),
        None => format!("the server does not show that it has the key of its certificate: {error}"),
    }
}

/// None of the keys in the chain is pinned.
pub fn not_pinned(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> String {
    let pin = |certificate: &CertificateDer<'_>| match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => BASE64_STANDARD.encode(pin_of(parsed.public_key().raw)),
        Err(_) => "unreadable".to_owned(),
    };
    let issuers: Vec<_> = intermediates.iter().take(4).map(pin).collect();
    let issuers = if issuers.is_empty() { String::new() } else { format!(", those behind it {}", issuers.join(", ")) };
    let own = pin(end_entity);
    tagged(
        "pin",
        format_args!(
            "the server's certificate is valid, but no key of its chain is among TlsConfig(pins=...): the pin of its own \
             key is {own}{issuers}"
        ),
    )
}

/// What went wrong between us and a proxy: of its certificate it is no error of the server's.
pub fn to_proxy(error: &str) -> String {
    let text = error.strip_prefix(TAG).and_then(|tagged| tagged.split_once(": "));
    format!("to the proxy: {}", text.map_or(error, |(_, text)| text))
}

/// What else went wrong; `asked` if the server asked for a client certificate.
pub fn failed(error: &Error, asked: Option<&Asked>) -> String {
    let Error::AlertReceived(alert) = error else { return error.to_string() };
    match asked {
        Some(Asked { given: None, authorities }) if refuses_none(*alert) => {
            let names: Vec<_> = authorities.iter().filter_map(|name| X509Name::from_der(name).ok()).collect();
            let names: Vec<_> = names.iter().map(|(_, name)| quoted(name)).collect();
            let from = if names.is_empty() { String::new() } else { format!(", issued by {}", names.join(" or ")) };
            tagged(
                "client",
                format_args!(
                    "the server wants a client certificate{from}, and none was given: use TlsConfig(certificate=..., \
                     key=...) (alert {alert:?})"
                ),
            )
        }
        Some(Asked { given: Some(given), .. }) if refuses_ours(*alert) => {
            let own = given.cert.first().and_then(|certificate| X509Certificate::from_der(certificate).ok());
            let own = own.map_or_else(String::new, |(_, own)| {
                format!(" {}, issued by {}", quoted(own.subject()), quoted(own.issuer()))
            });
            let why = match alert {
                AlertDescription::UnknownCA => "it does not know its issuer",
                AlertDescription::CertificateExpired => "it has expired",
                AlertDescription::CertificateRevoked => "it is revoked",
                AlertDescription::UnsupportedCertificate => "it is of a kind or for a use that it does not take",
                AlertDescription::AccessDenied => "it is valid, and has no access",
                _ => "it does not say why",
            };
            let text = format_args!("the server refused the client certificate{own}: {why} (alert {alert:?})");
            tagged("client", text)
        }
        _ => error.to_string(),
    }
}

/// What servers say of a client without a certificate: OpenSSL, for one, has HandshakeFailure for it with TLS 1.2.
fn refuses_none(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::BadCertificate
            | Alert::NoCertificate
            | Alert::AccessDenied
            | Alert::CertificateUnknown
    )
}

fn refuses_ours(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::HandshakeFailure
    )
}

/// What the server showed.
struct Chain<'a> {
    own: X509Certificate<'a>,
    intermediates: &'a [CertificateDer<'a>],
}

impl Chain<'_> {
    fn fault(&self, why: &CertificateError) -> &'static str {
        match why {
            CertificateError::ExpiredContext { .. } | CertificateError::Expired => "expired",
            CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet => "not_yet_valid",
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => "name",
            CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => "purpose",
            CertificateError::Revoked => "revoked",
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            | CertificateError::Other(_)
                if is_self_signed(&self.own) =>
            {
                "self_signed"
            }
            CertificateError::UnknownIssuer => "untrusted",
            _ => "other",
        }
    }

    fn why(&self, why: &CertificateError) -> String {
        let own = &self.own;
        match why {
            CertificateError::ExpiredContext { not_after, .. } => {
                let who = self.whose(|one| one.validity().not_after.timestamp() == not_after.as_secs() as i64);
                format!("{who} expired on {}{CLOCK}", date(not_after.as_secs()))
            }
            CertificateError::Expired => {
                format!("{} expired on {}{CLOCK}", self.server(), moment(&own.validity().not_after))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                let who = self.whose(|one| one.validity().not_before.timestamp() == not_before.as_secs() as i64);
                format!("{who} is not valid before {}{CLOCK}", date(not_before.as_secs()))
            }
            CertificateError::NotValidYet => {
                format!("{} is not valid before {}{CLOCK}", self.server(), moment(&own.validity().not_before))
            }
            CertificateError::NotValidForNameContext { expected, .. } => self.other_names(&shown(expected)),
            CertificateError::NotValidForName => self.other_names("this host"),
            CertificateError::UnknownIssuer => self.unknown_issuer(),
            CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => self.other_use(),
            CertificateError::Revoked => format!(
                "{} is revoked (serial number {}), as a list of TlsConfig(crls=...) says",
                self.server(),
                own.raw_serial_as_string()
            ),
            CertificateError::UnknownRevocationStatus => format!(
                "whether {} is revoked is not known: none of TlsConfig(crls=...) is of its issuer {}",
                self.server(),
                quoted(own.issuer())
            ),
            CertificateError::ExpiredRevocationListContext { next_update, .. } => format!(
                "whether {} is revoked is not known: the list of its issuer in TlsConfig(crls=...) was good until {}{CLOCK}",
                self.server(),
                date(next_update.as_secs())
            ),
            CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => self.other_key(),
            CertificateError::UnsupportedSignatureAlgorithmContext { .. } => self.signature(),
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) if is_self_signed(own) => self.self_signed(),
                Some(webpki::Error::CaUsedAsEndEntity) => format!(
                    "{} is an authority's (CA:TRUE), which may not be a server's own unless it is trusted itself: make the \
                     server one with CA:FALSE, signed by that authority",
                    self.server()
                ),
                Some(webpki::Error::UnsupportedCertVersion) => format!(
                    "{} is an X.509 certificate of version 1, without extensions, and so without the subjectAltName that \
                     must have the server's name: make one with -addext subjectAltName=DNS:...",
                    self.server()
                ),
                _ => format!("{} cannot be accepted: {inner}", self.server()),
            },
            other => format!("{} cannot be accepted: {other}", self.server()),
        }
    }

    /// The server's certificate, by the first of its names.
    fn server(&self) -> String {
        let first = self.names().into_iter().next();
        let common = self.own.subject().iter_common_name().next().and_then(|one| one.as_str().ok());
        match first.or_else(|| common.map(printable)) {
            Some(name) => format!("the server's certificate \"{name}\""),
            None => "the server's certificate".to_owned(),
        }
    }

    /// The first certificate that is over, or has not begun.
    fn out_of_date(&self, is_over: bool, now: ASN1Time) -> Option<String> {
        let has = |one: &X509Certificate<'_>| {
            let valid = one.validity();
            if is_over { valid.not_after < now } else { valid.not_before > now }
        };
        let parsed = self.intermediates.iter().filter_map(|one| X509Certificate::from_der(one).ok());
        let parsed: Vec<_> = parsed.map(|(_, one)| one).collect();
        let one = std::iter::once(&self.own).chain(&parsed).find(|one| has(one))?;
        let who = self.whose(|each| each.validity() == one.validity());
        let valid = one.validity();
        Some(if is_over {
            format!("{who} expired on {}{CLOCK}", moment(&valid.not_after))
        } else {
            format!("{who} is not valid before {}{CLOCK}", moment(&valid.not_before))
        })
    }

    fn names(&self) -> Vec<String> {
        match self.own.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
            _ => Vec::new(),
        }
    }

    /// The server's own, or that of the authority for which `is` holds.
    fn whose(&self, is: impl Fn(&X509Certificate<'_>) -> bool) -> String {
        if is(&self.own) {
            return self.server();
        }
        let parsed = self.intermediates.iter().filter_map(|one| X509Certificate::from_der(one).ok());
        let authority = parsed.map(|(_, one)| one).find(is);
        authority
            .map_or_else(|| self.server(), |one| format!("the certificate of the authority {}", quoted(one.subject())))
    }

    fn other_names(&self, wanted: &str) -> String {
        let names = self.names();
        if names.is_empty() {
            return format!(
                "{} is not for {wanted}: it has no subjectAltName, and a name in its subject (CN) does not count: make one \
                 with -addext subjectAltName=DNS:...",
                self.server()
            );
        }
        let most = 10;
        let more = if names.len() > most { format!(" and {} more", names.len() - most) } else { String::new() };
        let names = names[..names.len().min(most)].join(", ");
        format!(
            "the server's certificate is not for {wanted} but for {names}{more}; is it the right host? see server_hostname="
        )
    }

    /// A trusted authority has the name of the issuer, and another key.
    fn other_key(&self) -> String {
        if is_self_signed(&self.own) {
            return self.self_signed();
        }
        let issuer = quoted(self.own.issuer());
        format!("{} is not signed by the key of the authority {issuer} that is known here", self.server())
    }

    fn self_signed(&self) -> String {
        format!(
            "{} is self-signed, and not trusted: pass it, or better that of an authority, as TlsConfig(ca=...)",
            self.server()
        )
    }

    fn unknown_issuer(&self) -> String {
        if is_self_signed(&self.own) {
            return self.self_signed();
        }
        let parsed: Vec<_> = self.intermediates.iter().filter_map(|one| X509Certificate::from_der(one).ok()).collect();
        // As far up as the server's certificates lead: no further than there are any.
        let mut top = &self.own;
        for _ in &parsed {
            match parsed.iter().find(|(_, one)| one.subject() == top.issuer()) {
                Some((_, issuer)) if !is_self_signed(top) => top = issuer,
                _ => break,
            }
        }
        let name = quoted(top.issuer());
        let why = if is_self_signed(top) {
            format!(
                "the authority {name}, whose certificate it sent, is not trusted; pass the authority's certificate as \
                 TlsConfig(ca=...)"
            )
        } else {
            // Nothing tells which of the two it is.
            format!(
                "{name} is not trusted, and the server sent no certificate of it; pass that as TlsConfig(ca=...) if it is \
                 the authority that you trust; if it is an intermediate one, the server is to send it"
            )
        };
        format!("{} has an unknown issuer: {why}", self.server())
    }

    fn other_use(&self) -> String {
        let uses = self.own.extended_key_usage().ok().flatten().map_or_else(Vec::new, |extension| {
            let uses = &extension.value;
            [
                (uses.client_auth, "client authentication"),
                (uses.code_signing, "code signing"),
                (uses.email_protection, "e-mail"),
                (uses.time_stamping, "time stamping"),
                (uses.ocsp_signing, "OCSP"),
            ]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect()
        });
        let only = if uses.is_empty() { String::new() } else { format!(", only for {}", uses.join(" and ")) };
        format!("{} is not for the use by a server (its extended key usage){only}", self.server())
    }

    fn signature(&self) -> String {
        let oid = &self.own.signature_algorithm.algorithm;
        let name = x509_parser::objects::oid2sn(oid, x509_parser::objects::oid_registry());
        format!(
            "{} is signed by an algorithm that is weak or not supported: {}",
            self.server(),
            name.map_or_else(|_| oid.to_id_string(), ToString::to_string)
        )
    }
}

fn weak(certificate: &X509Certificate<'_>) -> Option<String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA => {
            Some(format!("a weak key: RSA of {} bits, and at least {MIN_RSA} are wanted", key.key_size()))
        }
        _ => None,
    }
}

/// Bits that AWS-LC verifies signatures with at least.
const MIN_RSA: usize = 2048;

const CLOCK: &str = ", or this machine's clock is wrong";

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject() == certificate.issuer()
}

/// A name as people read it: the common name where there is one.
fn quoted(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|one| one.as_str().ok());
    format!("\"{}\"", printable(common.unwrap_or(&name.to_string())))
}

/// What a peer calls itself, without what could pass for something else in a log, and not all of it if it is long.
fn printable(name: &str) -> String {
    let shown: String = name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_NAME).is_some() { shown + "..." } else { shown }
}

/// Characters: a domain name has 253 at most.
const MAX_NAME: usize = 253;

fn shown(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn date(seconds: u64) -> String {
    ASN1Time::from_timestamp(seconds as i64).map_or_else(|_| seconds.to_string(), |time| moment(&time))
}

fn moment(time: &ASN1Time) -> String {
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
}
