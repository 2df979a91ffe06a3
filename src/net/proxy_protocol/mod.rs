//! The PROXY protocol, versions 1 and 2: the header ahead of the first byte of a connection that says where the client
//! behind the sender is. Pure bytes, in both directions.
//!
//! The rules are those of HAProxy's specification (`proxy-protocol.txt`), section 2.1 for the text of version 1, 2.2 for
//! the binary version 2.
//!
//! # Why no crate?
//! `proxy-header` takes `PROXYx`, ports such as `+80` and `0080`, text beyond its 107 bytes, and TLVs that run over the
//! end, and it cannot tell early that a header will be too long. What decides on a client's address is read strictly.

mod binary;
mod encode;
mod text;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use thiserror::Error;

pub use self::encode::{Version, encode, encode_own};

/// The longest header that is taken, in bytes. Version 2 allows 64 KiB; what senders put into TLVs stays far below this.
pub const MAX_SIZE: usize = 4096;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that it takes; what follows is not its own.
    pub length: usize,
    /// `None`: the header names nobody, and the connection is what it looks like. So are health checks of the sender
    /// itself (`LOCAL`), and clients that it cannot describe (`UNKNOWN`, Unix sockets, datagrams).
    pub addresses: Option<Addresses>,
}

/// The ends of the connection that the sender has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client has connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A header could still become of it. All of these bytes are its own.
    Partial,
    Header(Header),
    /// Something else begins here.
    Other,
}

/// What is wrong with something that begins as a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("the header is longer than it may be")]
    TooLong,
    #[error("the line has a bare carriage return, a bare line feed or a control character")]
    BadLine,
    #[error("the line names an unknown protocol")]
    UnknownProtocol,
    #[error("an address is malformed or of the wrong family")]
    BadAddress,
    #[error("a port is not a plain decimal number from 0 to 65535")]
    BadPort,
    #[error("the line has fewer or more words than it should")]
    BadWords,
    #[error("the version is not 2, or the command is neither LOCAL nor PROXY")]
    BadCommand,
    #[error("the family and the transport do not go together")]
    BadFamily,
    #[error("the length has no room for the addresses")]
    TooShort,
    #[error("a TLV runs over the end, or the checksum has not four bytes")]
    BadTlv,
    #[error("the checksum does not match")]
    BadChecksum,
}

/// Looks at the first bytes of a connection. The answer for more bytes never contradicts the one for fewer.
///
/// # Errors
/// When they begin as a header and cannot become one.
pub fn parse(bytes: &[u8]) -> Result<Beginning, Malformed> {
    if begins_with(bytes, text::SIGNATURE) {
        return text::parse(bytes);
    }
    if begins_with(bytes, binary::SIGNATURE) {
        return binary::parse(bytes);
    }
    Ok(Beginning::Other)
}

/// Whether `bytes` begin with `signature`, or could if more of them came.
fn begins_with(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}
