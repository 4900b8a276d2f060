//! Whether a server's certificate is accepted. Why it is not is noted in words, while the certificates are at hand.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, VerifiedPath,
};

use super::{itself, notes, words};

/// Bytes of a pin: a SHA-256.
pub const PIN_SIZE: usize = 32;

/// The ordinary verification, by the platform or by webpki, and pins behind it.
#[derive(Debug)]
pub struct Verifier {
    ordinary: Arc<dyn ServerCertVerifier>,
    /// What webpki goes by.
    trust: Option<Trust>,
    pins: Option<Pins>,
}

#[derive(Debug)]
struct Trust {
    store: Arc<RootCertStore>,
    /// It asks for the lists of those who revoke.
    has_crls: bool,
}

impl Verifier {
    /// By the platform.
    pub fn new(ordinary: Arc<dyn ServerCertVerifier>) -> Self {
        Self { ordinary, trust: None, pins: None }
    }

    /// By webpki.
    pub fn by(
        ordinary: Arc<dyn ServerCertVerifier>,
        store: Arc<RootCertStore>,
        has_crls: bool,
        pins: Option<Pins>,
    ) -> Self {
        Self { ordinary, trust: Some(Trust { store, has_crls }), pins }
    }

    /// What is wrong with a certificate that webpki did not accept; nothing where it is one that is trusted itself.
    fn second_thought(
        &self,
        error: Error,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = self.trust.as_ref().filter(|_| itself::is_an_authoritys(&error)) else { return Err(error) };
        match itself::judged(&trust.store.roots, end_entity, server_name, now) {
            None => Err(error),
            Some(Err(why)) => Err(why.into()),
            Some(Ok(())) if trust.has_crls => Err(CertificateError::UnknownRevocationStatus.into()),
            Some(Ok(())) => Ok(ServerCertVerified::assertion()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .ordinary
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .or_else(|error| self.second_thought(error, end_entity, server_name, now))
            .inspect_err(|error| notes::refused(words::refused(error, end_entity, intermediates)))?;
        if let Some(pins) = &self.pins
            && !pins.are_met(end_entity, intermediates, now)
        {
            notes::refused(words::not_pinned(end_entity, intermediates));
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.ordinary.verify_tls12_signature(message, certificate, signature);
        verified.inspect_err(|error| notes::refused(words::not_proven(error, certificate)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.ordinary.verify_tls13_signature(message, certificate, signature);
        verified.inspect_err(|error| notes::refused(words::not_proven(error, certificate)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ordinary.supported_verify_schemes()
    }
}

/// Keys of which one must be in the chain that was verified (RFC 7469 §2.6). What the server sends besides that chain does
/// not count: anybody can send a certificate that is pinned.
#[derive(Debug)]
pub struct Pins {
    keys: Vec<[u8; PIN_SIZE]>,
    store: Arc<RootCertStore>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pins {
    /// None without any.
    pub fn new(
        keys: Vec<[u8; PIN_SIZE]>,
        store: Arc<RootCertStore>,
        crls: &[CertificateRevocationListDer<'_>],
        provider: &CryptoProvider,
    ) -> Result<Option<Self>, String> {
        if keys.is_empty() {
            return Ok(None);
        }
        let crls = crls
            .iter()
            .map(|crl| OwnedCertRevocationList::from_der(crl).map(CertRevocationList::from))
            .collect::<Result<_, _>>()
            .map_err(|e| format!("TlsConfig.crls cannot be used: {e}"))?;
        Ok(Some(Self { keys, store, crls, algorithms: provider.signature_verification_algorithms }))
    }

    fn are_met(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Ok(parsed) = EndEntityCert::try_from(end_entity) else { return false };
        if self.has(&parsed.subject_public_key_info()) {
            return true;
        }
        let crls: Vec<_> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let is_pinned = |path: &VerifiedPath<'_>| {
            let anchor = in_sequence(&path.anchor().subject_public_key_info);
            let mut between = path.intermediate_certificates();
            if self.has(&anchor) || between.any(|certificate| self.has(&certificate.subject_public_key_info())) {
                Ok(())
            } else {
                Err(webpki::Error::UnknownIssuer)
            }
        };
        parsed
            .verify_for_usage(
                self.algorithms.all,
                &self.store.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                revocation,
                Some(&is_pinned),
            )
            .is_ok()
    }

    fn has(&self, key: &[u8]) -> bool {
        self.keys.iter().any(|pinned| *pinned == pin_of(key))
    }
}

/// The pin (RFC 7469) of a certificate in DER.
#[pyfunction]
pub fn certificate_pin(certificate: &[u8]) -> PyResult<String> {
    let certificate = CertificateDer::from(certificate);
    let parsed = EndEntityCert::try_from(&certificate).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(BASE64_STANDARD.encode(pin_of(&parsed.subject_public_key_info())))
}

/// What OpenSSL did not accept a server's certificates for (in DER, its own first), by the code of its verification, and
/// why; None where its own words say as much.
#[pyfunction]
pub fn certificate_fault(code: u32, host: &str, chain: Vec<Vec<u8>>) -> (&'static str, Option<String>) {
    words::refused_by_openssl(code, host, &chain)
}

/// The SHA-256 of a SubjectPublicKeyInfo.
pub fn pin_of(key: &[u8]) -> [u8; PIN_SIZE] {
    let mut pin = [0; PIN_SIZE];
    pin.copy_from_slice(digest(&SHA256, key).as_ref());
    pin
}

/// A trust anchor has its name's and its key's SEQUENCE without tag and length (X.690 §8.1).
pub fn in_sequence(content: &[u8]) -> Vec<u8> {
    let size = content.len().to_be_bytes();
    let size = &size[size.iter().take_while(|byte| **byte == 0).count()..];
    let mut whole = vec![0x30];
    if content.len() >= 0x80 {
        whole.push(0x80 | size.len() as u8);
    }
    whole.extend_from_slice(size);
    whole.extend_from_slice(content);
    whole
}

/// Accepts any certificate.
#[derive(Debug)]
pub struct NoVerification(pub Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
