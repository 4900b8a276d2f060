//! The client's certificate and key, given to servers that ask for one.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::notes;

/// Gives the certificate, if there is one, and notes that it was asked for.
pub struct Identity(Option<Arc<CertifiedKey>>);

impl Identity {
    pub fn none() -> Self {
        Self(None)
    }

    /// From PEM, in the order of the chain: the client's own certificate first.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("TlsConfig.certificate is not valid PEM: {error}"))?;
        if chain.is_empty() {
            return Err(
                "TlsConfig.certificate holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()
            );
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                "TlsConfig.key holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)".to_owned()
            }
            other => format!("TlsConfig.key is not valid PEM: {other}"),
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "TlsConfig.key is not the key of TlsConfig.certificate".to_owned(),
            rustls::Error::InvalidCertificate(why) => format!("TlsConfig.certificate cannot be used: {why}"),
            other => format!("TlsConfig.key cannot be used: {other}"),
        })?;
        Ok(Self(Some(Arc::new(key))))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, authorities: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let authorities = authorities.iter().map(|name| name.to_vec()).collect();
        notes::asked(notes::Asked { authorities, given: self.0.clone() });
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        // Also without one: whether the server asked is what an error tells.
        true
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.write_str("Identity")
    }
}
