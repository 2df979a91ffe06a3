//! How a client's connection is closed so that the client gets to see what was sent last.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::io::Stream;
use crate::worker::Timers;

/// What a connection that closes with something unread may still send, so that the answer before is not lost to a reset
/// (RFC 9112 9.6).
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Closes a connection whose last answer is out. If the client has sent more than was read, a plain close would reset
/// the connection and could take the answer with it.
pub(super) async fn close<S: Stream>(mut stream: S, timers: &Timers) {
    match stream.tcp().try_read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            // For TLS, close_notify; for a plain socket the close itself is the FIN.
            let _ = poll_fn(|context| stream.poll_close_notify(context)).await;
        }
        Ok(0) | Err(_) => {}
        Ok(_) => linger(stream, &[], timers).await,
    }
}

/// Says `last`, ends our side and reads what the client still sends, within bounds, so that it gets to see what was said.
pub(super) async fn linger<S: Stream>(mut stream: S, last: &[u8], timers: &Timers) {
    let deadline = Instant::now() + LINGER_TIME;
    let mut left = LINGER_BYTES;
    let drained = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        poll_fn(|context| poll_drain(&mut stream, context, &mut left)).await
    };
    tokio::select! {
        _ = drained => {}
        () = timers.sleep_until(deadline) => {}
    }
}

/// Reads up to `left` bytes until the end; in a function of its own, so that the scratch space is no part of a future.
fn poll_drain<S: Stream>(stream: &mut S, context: &mut Context<'_>, left: &mut usize) -> Poll<io::Result<()>> {
    let mut scratch = [MaybeUninit::uninit(); 4096];
    loop {
        let mut buffer = ReadBuf::uninit(&mut scratch);
        std::task::ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 || read > *left {
            return Poll::Ready(Ok(()));
        }
        *left -= read;
    }
}
