//! `forebay endpoint`: a small HTTP/1.1 server to put behind a proxy, for trying things out.
//!
//! Its answers say which connection they came over and how many requests that one has served, so pooling can be seen
//! with nothing but curl. What it answers to which path: `answer`; how the answer goes out: `serve`.

mod answer;
mod args;
mod body;
mod serve;

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

pub(super) use args::parse_size;
pub use args::{EndpointArgs, Share};
pub use serve::serve;

/// How an endpoint behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What it calls itself in its answers.
    pub name: String,
    /// Time before each answer.
    pub delay: std::time::Duration,
    /// Bytes of the body of a plain answer; `None` is as many as the text has.
    pub size: Option<u64>,
    /// Share of the requests that are answered with 500.
    pub fail: Share,
}

/// Why an endpoint could not run.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("{address} is already in use by another process")]
    AddressInUse { address: SocketAddr },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot watch for signals")]
    Signal(#[source] io::Error),
}

/// Serves until SIGINT or SIGTERM; what is being answered then is cut off.
///
/// # Errors
/// The address cannot be listened on, or the process has no room for a runtime.
pub fn run(args: EndpointArgs) -> Result<(), EndpointError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EndpointError::Runtime)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(EndpointError::Signal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(EndpointError::Signal)?;
        let (listener, address) = listen(args.listen).await?;
        let options = args.options(address);
        // Nobody may be reading; that is no reason not to serve.
        let _ = writeln!(io::stdout(), "{} listening on {address}", options.name);
        tokio::select! {
            () = serve(listener, options) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// The listening socket and the address it got (the port may have been 0).
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), EndpointError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => EndpointError::AddressInUse { address },
        _ => EndpointError::Listen { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_said_to_be_taken() {
        let (_taken, address) = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let error = listen(address).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} is already in use by another process")
        );
    }

    #[tokio::test]
    async fn another_reason_stays_in_the_chain() {
        // TEST-NET-1 (RFC 5737): no address of this machine.
        let error = listen(([192, 0, 2, 1], 0).into()).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:0");
        assert!(std::error::Error::source(&error).is_some());
    }
}
