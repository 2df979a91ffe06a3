//! HTTP/2: one connection, shared by as many clients as it is to have streams at once.

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::{sync::Mutex, task::JoinHandle};

use super::{
    answer::{Answer, NoAnswer},
    record::Failure,
    request::Request,
    thread::Shared,
};

/// What the subject may send on one stream before it is told to go on: large bodies shall not wait for us.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same of a connection.
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A connection that was told to end is replaced by another; where that one is too, there is none to be had.
const TRIES: usize = 2;

/// Where the clients of one connection find it.
#[derive(Debug, Default)]
pub(super) struct Session {
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// Connections opened before.
    number: u64,
    live: Option<Live>,
}

/// A connection that is open, as far as is known.
#[derive(Debug)]
struct Live {
    sender: SendRequest<Bytes>,
    task: JoinHandle<()>,
}

/// The right to send one request, and on which connection.
#[derive(Debug)]
pub(super) struct Sender {
    number: u64,
    sender: SendRequest<Bytes>,
}

impl Session {
    /// Opens the connection if there is none; others who ask meanwhile wait for it.
    ///
    /// Cancellation: a connection half open is closed, and the next who asks opens another.
    pub async fn sender(&self, shared: &Shared) -> Result<Sender, Failure> {
        for _ in 0..TRIES {
            let Sender { number, sender } = self.current(shared).await?;
            // Waits for nothing; it fails where the subject has said that it takes no further request.
            if let Ok(sender) = sender.ready().await {
                return Ok(Sender { number, sender });
            }
            self.retire(number).await;
        }
        Err(Failure::Connect)
    }

    async fn current(&self, shared: &Shared) -> Result<Sender, Failure> {
        let mut current = self.current.lock().await;
        if current.live.as_ref().is_none_or(|live| live.task.is_finished()) {
            current.live = None;
            current.live = Some(open(shared).await?);
            current.number += 1;
        }
        let live = current.live.as_ref().expect("it is there, or was opened");
        Ok(Sender {
            number: current.number,
            sender: live.sender.clone(),
        })
    }

    /// No further request goes over this connection. It ends when those on it have.
    ///
    /// Cancellation: nothing is done.
    pub async fn retire(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.live = None;
        }
    }

    /// Closes the connection after its one request, so that no more are open than there are clients.
    ///
    /// Cancellation: it ends by itself.
    pub async fn close(&self) {
        let live = self.current.lock().await.live.take();
        if let Some(Live { sender, task }) = live {
            drop(sender);
            // It cannot panic, and nobody aborts it.
            let _ = task.await;
        }
    }
}

async fn open(shared: &Shared) -> Result<Live, Failure> {
    let stream = shared.connect().await?;
    let open = shared.opened();
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false);
    let (sender, connection) = builder.handshake(stream).await.map_err(|_| Failure::Connect)?;
    // Ends when nobody can send on it any more, at the latest with the runtime of its thread.
    let task = tokio::spawn(async move {
        let _open = open;
        // Those who wait for answers are told how it ended.
        let _ = connection.await;
    });
    Ok(Live { sender, task })
}

impl Sender {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sends the request and reads its answer.
    ///
    /// # Errors
    /// The stream was reset, or the connection has ended.
    ///
    /// Cancellation: the stream is reset.
    pub async fn exchange(mut self, request: &Request) -> Result<Answer, NoAnswer> {
        let head = request.head.clone();
        let bodiless = request.body.is_empty();
        let sent = self.sender.send_request(head, bodiless);
        let (response, mut stream) = sent.map_err(|_| NoAnswer)?;
        if !bodiless {
            // It is kept until the subject's window lets it through.
            stream.send_data(request.body.clone(), true).map_err(|_| NoAnswer)?;
        }
        let response = response.await.map_err(|_| NoAnswer)?;
        let status = response.status();
        let mut answered = response.into_body();
        let mut body = 0;
        while let Some(data) = answered.data().await {
            let size = data.map_err(|_| NoAnswer)?.len();
            body += size as u64;
            // Fails only on a stream that has ended.
            let _ = answered.flow_control().release_capacity(size);
        }
        // The last that may come: only now is the answer whole.
        answered.trailers().await.map_err(|_| NoAnswer)?;
        Ok(Answer {
            status,
            body,
            reusable: true,
        })
    }
}
