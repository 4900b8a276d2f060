//! The embedded peer.
