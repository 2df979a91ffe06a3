//! One client: request after request.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{Clients, answer::Answer, connect::Connected, patience::Patience, record::Failure, thread::Shared};

/// How long a client waits after it got no connection: a subject that is gone is asked ten times a second by each.
const CONNECT_BACK_OFF: Duration = Duration::from_millis(100);

/// A connect() that finds no source port searches the whole range: 6 to 8 ms of CPU, taken from what is measured.
const NO_PORT_BACK_OFF: Duration = Duration::from_secs(1);

/// Runs until no request is due any more.
///
/// Cancellation: a request that was begun stays without an end in the record.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut client = Client {
        connection: None,
        patience: Patience::new(),
        shared,
    };
    if client.shared.load.clients == Clients::KeepAlive {
        // So that the first answers are as fast as the later ones. What fails will fail again, and count then.
        client.connect_ahead().await;
    }
    let start = client.shared.start.ready().await;
    let end = start + client.shared.load.duration;
    loop {
        let now = Instant::now();
        if now >= end {
            return;
        }
        client.request(now).await;
    }
}

struct Client {
    connection: Option<Connected>,
    patience: Patience,
    shared: Arc<Shared>,
}

impl Client {
    async fn connect_ahead(&mut self) {
        let turn = self.shared.connecting.acquire().await;
        let _turn = turn.expect("never closed");
        let deadline = Instant::now() + self.shared.load.timeout;
        if let Some(Ok(connection)) = self.patience.until(deadline, connect(&self.shared)).await {
            self.connection = Some(connection);
        }
    }

    /// One request that was due at `due`, from its connection to its place in the record.
    async fn request(&mut self, due: Instant) {
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        shared.record().begin(begun);
        match self.answer(begun + shared.load.timeout).await {
            Ok(answer) => {
                let now = Instant::now();
                if !answer.reusable || shared.load.clients == Clients::ConnectionPerRequest {
                    self.connection = None;
                }
                match Failure::of_status(answer.status) {
                    None => {
                        shared.record().answer(now - due, answer.body, now);
                        shared.meter.answered();
                    }
                    Some(failure) => shared.fail(failure),
                }
            }
            Err(failure) => {
                self.connection = None;
                shared.fail(failure);
                match failure {
                    Failure::Connect => time::sleep(CONNECT_BACK_OFF).await,
                    Failure::NoPort => time::sleep(NO_PORT_BACK_OFF).await,
                    _ => {}
                }
            }
        }
    }

    async fn answer(&mut self, deadline: Instant) -> Result<Answer, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connected = self.patience.until(deadline, connect(&self.shared)).await;
                none.insert(connected.ok_or(Failure::Connect)??)
            }
        };
        let exchange = connection.http.exchange(&self.shared.request);
        match self.patience.until(deadline, exchange).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) => Err(Failure::Broken),
            None => Err(Failure::Timeout),
        }
    }
}

async fn connect(shared: &Shared) -> Result<Connected, Failure> {
    let stream = shared.connector.connect(&shared.load).await?;
    shared.record().connections += 1;
    Ok(Connected::new(stream, shared.method.clone(), &shared.meter))
}
