//! What rustls' callbacks learn during a handshake, kept for the stream that they work for.
//!
//! A callback belongs to a context, which many connections share, and is called within `process_tls_records` of one of
//! them: what it notes on its thread is taken when that call returns.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

/// What was noted.
#[derive(Default)]
pub struct Notes {
    /// Why the server's certificate was refused, in words.
    pub refused: Option<String>,
    /// The server asked for a client certificate.
    pub asked: Option<Box<Asked>>,
}

/// What the server asked for, and what it was given.
pub struct Asked {
    /// The authorities that it named: distinguished names in DER.
    pub authorities: Vec<Vec<u8>>,
    pub given: Option<Arc<CertifiedKey>>,
}

thread_local! {
    static NOTES: RefCell<Notes> = const { RefCell::new(Notes { refused: None, asked: None }) };
}

pub fn refused(words: String) {
    NOTES.with_borrow_mut(|notes| notes.refused = Some(words));
}

pub fn asked(asked: Asked) {
    NOTES.with_borrow_mut(|notes| notes.asked = Some(Box::new(asked)));
}

/// Takes what was noted on this thread.
pub fn take() -> Notes {
    NOTES.take()
}
