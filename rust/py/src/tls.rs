//! TLS by rustls: its configuration, and a stream that encrypts and decrypts between the driver's buffers.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A rustls client configuration, shared by the connections made with it (and with it their session tickets).
#[pyclass(frozen, module = "fastws._core")]
pub struct TlsContext {
    config: Arc<ClientConfig>,
}

#[pymethods]
impl TlsContext {
    /// `roots` is "system", "webpki", "ca" (with `ca`, PEM) or "none" (nothing is verified).
    #[new]
    #[pyo3(signature = (roots, ca=None))]
    fn new(py: Python<'_>, roots: &str, ca: Option<Vec<u8>>) -> PyResult<Self> {
        let roots = roots.to_owned();
        let config = py.detach(move || build(&roots, ca.as_deref())).map_err(PyValueError::new_err)?;
        Ok(Self { config: Arc::new(config) })
    }
}

impl TlsContext {
    /// A stream to the server of this name.
    pub fn stream(&self, server_name: &str) -> Result<TlsStream, String> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| format!("{server_name:?} is not a name that a certificate can have"))?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name).map_err(|e| e.to_string())?;
        Ok(TlsStream {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            written: 0,
            established: false,
            end: None,
            notified: false,
        })
    }
}

fn build(roots: &str, ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = match roots {
        "system" => {
            let verifier = rustls_platform_verifier::Verifier::new(provider)
                .map_err(|e| format!("the system's certificate verifier cannot be used: {e}"))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        "webpki" => {
            let store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            builder.with_root_certificates(store).with_no_client_auth()
        }
        "ca" => {
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default()) {
                let certificate = certificate.map_err(|error| match error {
                    pem::Error::MissingSectionEnd { .. } => {
                        "the CA certificates are not valid PEM: an -----END CERTIFICATE----- is missing".to_owned()
                    }
                    other => format!("the CA certificates are not valid PEM: {other}"),
                })?;
                // rustls says "peer" of any certificate.
                store.add(certificate).map_err(|error| {
                    let why = error.to_string().replace("invalid peer certificate: ", "");
                    format!("a CA certificate cannot be used: {why}")
                })?;
            }
            if store.is_empty() {
                return Err("the CA data holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned());
            }
            builder.with_root_certificates(store).with_no_client_auth()
        }
        "none" => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
            .with_no_client_auth(),
        other => return Err(format!("unknown roots {other:?}: use \"system\", \"webpki\", \"ca\" or \"none\"")),
    };
    // WebSocket over HTTP/1.1 (RFC 6455) is what we speak; servers that also speak HTTP/2 must not choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// One TLS connection, between buffers that the driver owns.
pub struct TlsStream {
    connection: UnbufferedClientConnection,
    /// The beginning of a record whose rest has not arrived.
    incoming: Vec<u8>,
    /// Records to send, and how many bytes of them were.
    outgoing: Vec<u8>,
    written: usize,
    established: bool,
    /// How the receiving half ended, once it has: by `close_notify`, or by an error.
    end: Option<Result<(), String>>,
    notified: bool,
}

impl TlsStream {
    /// Whether the TLS handshake is over.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// How the receiving half ended, if it has: by `close_notify`, or by an error. Bytes behind that are ignored.
    pub fn end(&self) -> Option<&Result<(), String>> {
        self.end.as_ref()
    }

    /// Bytes of an incomplete record that the next read is to be put behind.
    pub fn take_incoming(&mut self, buffer: &mut [u8]) -> usize {
        let held = self.incoming.len();
        buffer[..held].copy_from_slice(&self.incoming);
        self.incoming = Vec::new();
        held
    }

    /// Takes them back: nothing came to put behind them.
    pub fn keep_incoming(&mut self, bytes: &[u8]) {
        self.incoming = bytes.to_vec();
    }

    /// Works through records, writing what they carry to the start of `plain`, and keeps an incomplete one. Returns how
    /// much was written; see [`TlsStream::end`] for an end among the records.
    pub fn receive(&mut self, cipher: &mut [u8], plain: &mut [u8]) -> usize {
        let mut filled = 0;
        if self.end.is_none()
            && let Err(error) = self.work_through(cipher, plain, &mut filled)
        {
            self.end = Some(Err(error));
        }
        filled
    }

    fn work_through(&mut self, cipher: &mut [u8], plain: &mut [u8], filled: &mut usize) -> Result<(), String> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut cipher[at..]);
            let mut more = true;
            match state {
                Err(error) => {
                    // What the peer is to be told is asked for with the same bytes, as rustls wants it.
                    self.collect_alert(&mut cipher[at + discard..]);
                    return Err(error.to_string());
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|e| e.to_string())?;
                        discard += record.discard;
                        let end = *filled + record.payload.len();
                        // Plaintext is never longer than its records, which fit the buffer.
                        plain
                            .get_mut(*filled..end)
                            .ok_or_else(|| "a TLS record is larger than its ciphertext".to_owned())?
                            .copy_from_slice(record.payload);
                        *filled = end;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                    grow(&mut self.outgoing, |out| match encode.encode(out) {
                        Ok(n) => Ok(Ok(n)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(error) => Err(error.to_string()),
                    })?;
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established = true;
                    more = false;
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.end = Some(Ok(()));
                    more = false;
                }
                Ok(_) => more = false,
            }
            at += discard;
            if !more {
                self.incoming = cipher[at..].to_vec();
                return Ok(());
            }
        }
    }

    /// The alert that tells the peer why, if rustls has one.
    fn collect_alert(&mut self, rest: &mut [u8]) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(rest);
        if let Ok(ConnectionState::EncodeTlsData(mut encode)) = state {
            // Best effort: the connection is over either way.
            let _ = grow(&mut self.outgoing, |out| match encode.encode(out) {
                Ok(n) => Ok(Ok(n)),
                Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// Lets the handshake go on without input: its first message, or an alert.
    pub fn pump(&mut self) -> Result<(), String> {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.work_through(&mut incoming, &mut [], &mut 0)
    }

    /// Encrypts what is to be sent.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), String> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        match state.map_err(|e| e.to_string())? {
            ConnectionState::WriteTraffic(mut traffic) => {
                grow(&mut self.outgoing, |out| match traffic.encrypt(plain, out) {
                    Ok(n) => Ok(Ok(n)),
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                    Err(error) => Err(error.to_string()),
                })
            }
            _ => Err("TLS takes no data in this state".to_owned()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn notify_close(&mut self) -> Result<(), String> {
        if self.notified || !self.established {
            return Ok(());
        }
        self.notified = true;
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        match state.map_err(|e| e.to_string())? {
            ConnectionState::WriteTraffic(mut traffic) => {
                grow(&mut self.outgoing, |out| match traffic.queue_close_notify(out) {
                    Ok(n) => Ok(Ok(n)),
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                    Err(error) => Err(error.to_string()),
                })
            }
            _ => Ok(()),
        }
    }

    /// Records to send.
    pub fn output(&self) -> &[u8] {
        &self.outgoing[self.written..]
    }

    /// Takes note that some were sent.
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.outgoing.len() {
            self.written = 0;
            self.outgoing.clear();
            if self.outgoing.capacity() > KEEP {
                self.outgoing = Vec::new();
            }
        }
    }

    /// Gives memory back: the connection has nothing to do.
    pub fn rest(&mut self) {
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }
}

/// Appends to `out` what `write` writes into the room it says it needs.
fn grow(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, String>,
) -> Result<(), String> {
    let start = out.len();
    let mut room = FIRST_ROOM;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..])? {
            Ok(used) => {
                out.truncate(start + used);
                return Ok(());
            }
            Err(needed) if needed > room => room = needed,
            Err(needed) => return Err(format!("TLS asked for {needed} bytes and refused {room}")),
        }
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Room for a small record; rustls says what more it needs.
const FIRST_ROOM: usize = 512;

/// Output buffers up to this size are kept for the next record while the connection is busy.
const KEEP: usize = 64 << 10;
