//! A rustls configuration, as `TlsConfig` describes it. Python has read the files: what comes here are their bytes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::{ClientConfig, KeyLog, RootCertStore, version};

use super::identity::Identity;
use super::stream::TlsStream;
use super::verify::{NoVerification, PIN_SIZE, Pins, Verifier};

/// A rustls client configuration, shared by the connections made with it (and with it their session tickets).
#[pyclass(frozen, module = "fastws._core")]
pub struct TlsContext {
    config: Arc<ClientConfig>,
    anchors: Option<usize>,
}

/// See `fastws.TlsConfig`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    /// "system" or "webpki".
    backend: String,
    verify: bool,
    /// PEM, one after the other.
    ca: Option<Vec<u8>>,
    ca_only: bool,
    /// PEM: the client's chain and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    /// "TLSv1.2" or "TLSv1.3".
    minimum_version: String,
    maximum_version: String,
    alpn: Vec<Vec<u8>>,
    /// SHA-256 of SubjectPublicKeyInfo.
    pins: Vec<[u8; PIN_SIZE]>,
    /// PEM, one after the other.
    crls: Option<Vec<u8>>,
    /// A file that the secrets of connections are appended to.
    keylog: Option<String>,
    resumption: bool,
}

#[pymethods]
impl TlsContext {
    /// `options` are those of a `TlsConfig` by name, complete.
    #[new]
    #[pyo3(signature = (options))]
    fn new(py: Python<'_>, options: Options) -> PyResult<Self> {
        let (config, anchors) = py.detach(move || build(&options)).map_err(PyValueError::new_err)?;
        Ok(Self { config: Arc::new(config), anchors })
    }

    /// How many authorities are trusted: the roots, and those of `ca`. None where the platform's own verifier judges, or
    /// nothing is verified.
    #[getter]
    fn anchors(&self) -> Option<usize> {
        self.anchors
    }
}

impl TlsContext {
    /// A stream to the server of this name.
    pub fn stream(&self, server_name: &str) -> Result<TlsStream, String> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| format!("{server_name:?} is not a name that a certificate can have"))?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name).map_err(|e| e.to_string())?;
        Ok(TlsStream::new(connection))
    }
}

fn build(options: &Options) -> Result<(ClientConfig, Option<usize>), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: Vec<_> = [("TLSv1.2", &version::TLS12), ("TLSv1.3", &version::TLS13)]
        .into_iter()
        .filter(|(name, _)| *options.minimum_version <= **name && **name <= *options.maximum_version)
        .map(|(_, version)| version)
        .collect();
    let identity = match &options.identity {
        Some((chain, key)) => Identity::from_pem(chain, key, &provider)?,
        None => Identity::none(),
    };
    let (verifier, anchors) = verifier(options, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(identity));
    config.resumption =
        if options.resumption { Resumption::in_memory_sessions(MAX_SESSIONS) } else { Resumption::disabled() };
    config.alpn_protocols.clone_from(&options.alpn);
    if let Some(path) = &options.keylog {
        config.key_log = Arc::new(KeyLogTo::open(path)?);
    }
    Ok((config, anchors))
}

/// Who judges certificates, and by how many authorities, if that is known.
fn verifier(
    options: &Options,
    provider: Arc<CryptoProvider>,
) -> Result<(Arc<dyn ServerCertVerifier>, Option<usize>), String> {
    if !options.verify {
        return Ok((Arc::new(NoVerification(provider)), None));
    }
    let authorities = options.ca.as_deref().map_or(Ok(Vec::new()), authorities)?;
    if options.backend == "system" && !options.ca_only && asks_the_platform(options) {
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(authorities, provider)
            .map_err(|e| format!("the system's certificate verifier cannot be used: {e}"))?;
        return Ok((Arc::new(Verifier::new(Arc::new(verifier))), None));
    }
    let mut store = RootCertStore::empty();
    for certificate in authorities {
        // rustls says "peer" of any certificate.
        store.add(certificate).map_err(|error| {
            let why = error.to_string().replace("invalid peer certificate: ", "");
            format!("TlsConfig.ca: a certificate cannot be used: {why}")
        })?;
    }
    match &*options.backend {
        _ if options.ca_only => {}
        "webpki" => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        _ => add_the_systems(&mut store)?,
    }
    let anchors = store.len();
    let (store, crls) = (Arc::new(store), options.crls.as_deref().map_or(Ok(Vec::new()), revocation_lists)?);
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(&provider));
    if !crls.is_empty() {
        builder =
            builder.with_crls(crls.iter().cloned()).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    let verifier = builder.build().map_err(|e| format!("TlsConfig.crls cannot be used: {e}"))?;
    let pins = Pins::new(options.pins.clone(), Arc::clone(&store), &crls, &provider)?;
    Ok((Arc::new(Verifier::by(verifier, store, !crls.is_empty(), pins)), Some(anchors)))
}

/// Whether the platform's own verifier judges. Elsewhere, and for what it cannot do, its roots are loaded into rustls'.
fn asks_the_platform(options: &Options) -> bool {
    cfg!(any(windows, target_vendor = "apple", target_os = "android"))
        && options.crls.is_none()
        && options.pins.is_empty()
        && std::env::var_os("SSL_CERT_FILE").is_none()
        && std::env::var_os("SSL_CERT_DIR").is_none()
}

/// Adds the system's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn add_the_systems(store: &mut RootCertStore) -> Result<(), String> {
    let found = rustls_native_certs::load_native_certs();
    // What the system has and rustls cannot read is not trusted, and no error.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why: Vec<_> = found.errors.iter().map(|error| format!("; {error}")).collect();
        let why = why.concat();
        return Err(format!(
            "no trusted certificates were found on this system{why}; use the backend \"webpki\", give TlsConfig(ca=...), \
             or see to SSL_CERT_FILE and SSL_CERT_DIR"
        ));
    }
    Ok(())
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    items(pem, "ca", "certificate in PEM form (-----BEGIN CERTIFICATE-----)")
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    items(pem, "crls", "revocation list in PEM form (-----BEGIN X509 CRL-----)")
}

/// What is in the PEM of a setting: one at least.
fn items<T: PemObject>(pem: &[u8], setting: &str, what: &str) -> Result<Vec<T>, String> {
    let found: Vec<T> = T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(&end_marker).into_owned();
            format!("TlsConfig.{setting} is not valid PEM: an -----END {marker}----- is missing")
        }
        other => format!("TlsConfig.{setting} is not valid PEM: {other}"),
    })?;
    if found.is_empty() { Err(format!("TlsConfig.{setting} holds no {what}")) } else { Ok(found) }
}

/// Sessions kept for resumption: rustls keeps up to 8 tickets of a server name, so this is 32 names. A client has few; what
/// is kept has the server's certificates with it: 14 KiB a name with TLS 1.3 and 3 KiB with 1.2, as the allocator grows when
/// twelve connections a name were made to the embedded server.
const MAX_SESSIONS: usize = 256;

/// Writes secrets in the format that Wireshark reads (NSS key log).
#[derive(Debug)]
struct KeyLogTo(Mutex<File>);

impl KeyLogTo {
    fn open(path: &str) -> Result<Self, String> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|e| format!("the key log {path:?} cannot be written: {e}"))?;
        Ok(Self(Mutex::new(file)))
    }
}

impl KeyLog for KeyLogTo {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        if let Ok(mut file) = self.0.lock() {
            // Best effort: a disk that is full is no reason to end a connection.
            let _ = file.write_all(line.as_bytes());
        }
    }
}
