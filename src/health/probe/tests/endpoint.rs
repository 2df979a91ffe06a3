//! An endpoint that follows a script, and the sockets that a prober asks it over.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::super::ProbeConnection;
use crate::pool::{CloseReason, Liveness};

/// What a scripted endpoint does on one connection: an answer for each request, then it closes.
pub(super) type Script<'a> = &'a [&'a str];

pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// The requests of each connection, once the endpoint has closed it or the prober has.
    pub(super) seen: JoinHandle<Vec<Vec<String>>>,
    /// A message for each connection that the endpoint has closed of its own accord.
    pub(super) closed: mpsc::UnboundedReceiver<()>,
}

/// Accepts a connection for each script, one after the other.
pub(super) async fn endpoint(scripts: &[Script<'_>]) -> Endpoint {
    let scripts: Vec<Vec<_>> = scripts
        .iter()
        .map(|script| script.iter().map(ToString::to_string).collect())
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (tell_closed, closed) = mpsc::unbounded_channel();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut requests = Vec::new();
            for answer in script {
                let Some(request) = read_request(&mut stream).await else {
                    break;
                };
                requests.push(request);
                stream.write_all(answer.as_bytes()).await.expect("the prober reads");
            }
            drop(stream);
            seen.push(requests);
            _ = tell_closed.send(());
        }
        seen
    });
    Endpoint { address, seen, closed }
}

pub(super) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?.into());
    }
    Some(request)
}

/// A bare socket that tells what is done with it.
pub(super) struct Plain {
    stream: TcpStream,
    tell: Option<mpsc::UnboundedSender<Told>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Begun,
    Kept,
    Closed(CloseReason),
    Dropped,
}

impl Plain {
    /// Tells nobody.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self { stream, tell: None })
    }

    pub(super) async fn telling(address: SocketAddr, tell: &mpsc::UnboundedSender<Told>) -> io::Result<Self> {
        let mut plain = Self::connect(address).await?;
        plain.tell = Some(tell.clone());
        Ok(plain)
    }

    fn tell(&self, told: Told) {
        if let Some(tell) = &self.tell {
            tell.send(told).expect("the test listens to the end");
        }
    }
}

impl ProbeConnection for Plain {
    type Stream = TcpStream;

    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn liveness(&mut self) -> Liveness {
        match self.stream.try_read(&mut [0]) {
            Ok(0) => Liveness::Closed,
            Ok(_) => Liveness::Readable,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Liveness::Silent,
            Err(_) => Liveness::Reset,
        }
    }

    fn begin(&mut self) {
        self.tell(Told::Begun);
    }

    fn keep(&mut self) {
        self.tell(Told::Kept);
    }

    fn close(mut self, reason: CloseReason) {
        self.tell(Told::Closed(reason));
        self.tell = None;
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.tell(Told::Dropped);
    }
}
