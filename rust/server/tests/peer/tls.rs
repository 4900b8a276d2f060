//! The same over TLS, with rustls as the client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use fastws_server::{Server, ServerConfig, TlsSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Error, Message, WebSocket};

use crate::{PATIENCE, read_to_close, request, socket};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn tls_server(settings: TlsSettings) -> Server {
    Server::start(ServerConfig { tls: Some(settings), ..ServerConfig::default() }).unwrap()
}

fn trust(server: &Server) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn stream(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Stream {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket(server))
}

fn connect(server: &Server, target: &str) -> WebSocket<Stream> {
    let stream = stream(server, &trust(server), "localhost");
    tungstenite::client(server.url(target), stream).unwrap().0
}

#[test]
fn echo_blast_and_close_work_as_they_do_without() {
    let server = tls_server(TlsSettings::default());
    let mut client = connect(&server, "/echo");
    for size in [0, 100, 20_000, 300_000] {
        let message = Message::binary(vec![size as u8; size]);
        client.send(message.clone()).unwrap();
        assert!(client.read().unwrap() == message, "{size}");
    }
    client.close(None).unwrap();
    assert!(read_to_close(&mut client).0.is_empty());
    let mut client = connect(&server, "/blast?n=20000&size=300");
    let (messages, code) = read_to_close(&mut client);
    assert_eq!((messages.len(), code), (20_000, Some(1000)));
}

#[test]
fn the_certificate_is_good_for_localhost_both_loopbacks_and_names_asked_for() {
    let server = tls_server(TlsSettings { names: vec!["feed.example".to_owned()], ..TlsSettings::default() });
    let config = trust(&server);
    for name in ["localhost", "127.0.0.1", "::1", "feed.example"] {
        let mut stream = stream(&server, &config, name);
        stream.write_all(&request("/close")).unwrap();
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 101", "{name}");
    }
    let mut other = stream(&server, &config, "other.example");
    assert!(other.write_all(b"GET").is_err());
    assert!(server.wait_for(PATIENCE, |server| server.connections().last().unwrap().is_over()));
    assert!(server.connections().last().unwrap().error.as_deref().unwrap().contains("TLS"));
}

#[test]
fn sessions_are_resumed_unless_tickets_are_off() {
    for tickets in [true, false] {
        let server = tls_server(TlsSettings { tickets, ..TlsSettings::default() });
        let config = trust(&server);
        for _ in 0..3 {
            let stream = stream(&server, &config, "localhost");
            let mut client = tungstenite::client(server.url("/echo"), stream).unwrap().0;
            client.send(Message::text("x")).unwrap();
            client.read().unwrap();
        }
        assert_eq!(server.stats().resumed, if tickets { 2 } else { 0 });
    }
}

#[test]
fn tls_1_2_alone_is_spoken_when_asked_for() {
    let server = tls_server(TlsSettings { tls12_only: true, ..TlsSettings::default() });
    let mut client = connect(&server, "/echo");
    client.send(Message::text("x")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("x"));
    let version = client.get_ref().conn.protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
}

#[test]
fn an_end_with_close_notify_and_one_without_can_be_told_apart() {
    let server = tls_server(TlsSettings::default());
    for (fault, cut) in [("eof", false), ("half-close", false), ("truncate", true)] {
        let mut client = connect(&server, &format!("/echo?fault={fault}@1"));
        client.send(Message::text("x")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("x"));
        match client.get_mut().read(&mut [0; 16]) {
            Ok(0) => assert!(!cut, "{fault}"),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => assert!(cut, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        }
    }
}

#[test]
fn a_drip_and_a_reset_reach_through_tls() {
    let server = tls_server(TlsSettings::default());
    let mut client = connect(&server, "/blast?n=40&size=30&fault=drip:5:0,reset@20");
    let mut count = 0;
    let error = loop {
        match client.read() {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(count, 20);
    assert!(matches!(&error, Error::Io(e) if e.kind() == ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn a_client_that_is_cut_off_is_reported() {
    let server = tls_server(TlsSettings::default());
    let client = connect(&server, "/echo");
    drop(client);
    assert!(server.wait_for(PATIENCE, |server| server.connection(1).unwrap().is_over()));
    let report = server.connection(1).unwrap();
    assert!(report.peer_fin && report.error.unwrap().contains("close_notify"));
}

#[test]
fn plain_bytes_to_a_tls_port_are_refused() {
    let server = tls_server(TlsSettings::default());
    let mut socket = socket(&server);
    socket.write_all(&request("/echo")).unwrap();
    let (answer, _) = crate::read_all(&mut socket);
    assert_eq!(answer.first(), Some(&21), "a TLS alert");
    assert!(server.wait_for(PATIENCE, |server| server.stats().open == 0));
}
