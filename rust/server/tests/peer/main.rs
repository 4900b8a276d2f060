//! The embedded peer, seen by another implementation's client (tungstenite) and by bare sockets.

mod behaviour;
mod faults;
mod feeds;
mod hostile;
mod tls;
mod venue;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fastws_server::{Server, ServerConfig};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

type Client = WebSocket<TcpStream>;

/// Longer than anything takes, so that a failure is not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn server() -> Server {
    Server::start(ServerConfig::default()).unwrap()
}

fn socket(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.addr()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn connect(server: &Server, target: &str) -> Client {
    try_connect(server, server.url(target)).unwrap().0
}

#[allow(clippy::result_large_err)]
fn try_connect(server: &Server, request: impl IntoClientRequest) -> tungstenite::Result<(Client, Response)> {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    tungstenite::client::client_with_config(request, socket(server), Some(config)).map_err(|e| match e {
        tungstenite::HandshakeError::Failure(e) => e,
        tungstenite::HandshakeError::Interrupted(_) => panic!("the handshake took too long"),
    })
}

/// All data messages up to the Close frame, whose code is the second value.
fn read_to_close<S: Read + Write>(client: &mut WebSocket<S>) -> (Vec<Message>, Option<u16>) {
    let mut messages = Vec::new();
    loop {
        match client.read().unwrap() {
            Message::Close(frame) => return (messages, frame.map(|frame| frame.code.into())),
            message @ (Message::Text(_) | Message::Binary(_)) => messages.push(message),
            _ => {}
        }
    }
}

/// A request as bytes, for clients that are none.
fn request(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Everything up to the end of the stream, and how it ended.
fn read_all(socket: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let outcome = socket.read_to_end(&mut bytes).map(|_| ());
    (bytes, outcome)
}

/// What stands behind the response's header block.
fn after_head(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a header block");
    &bytes[end + 4..]
}
