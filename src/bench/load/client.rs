//! One client: request after request.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{Clients, answer::Answer, patience::Patience, record::Failure, thread::Shared, wire::Wire};

/// How long a client waits after it got no connection: a subject that is gone is asked ten times a second by each.
const CONNECT_BACK_OFF: Duration = Duration::from_millis(100);

/// A connect() that finds no source port searches the whole range: 6 to 8 ms of CPU, taken from what is measured.
const NO_PORT_BACK_OFF: Duration = Duration::from_secs(1);

/// Runs until no request is due any more.
///
/// Cancellation: a request that was begun stays without an end in the record.
pub(super) async fn run(shared: Arc<Shared>, wire: Wire) {
    let mut client = Client {
        shared: &shared,
        wire,
        patience: Patience::new(),
    };
    if shared.load.clients == Clients::KeepAlive {
        client.connect_ahead().await;
    }
    let start = shared.start.ready().await;
    while let Some(due) = client.next(start).await {
        client.request(due).await;
    }
}

struct Client<'a> {
    shared: &'a Shared,
    wire: Wire,
    patience: Patience,
}

impl Client<'_> {
    /// So that the first answers are as fast as the later ones.
    async fn connect_ahead(&mut self) {
        let turn = self.shared.connecting.acquire().await;
        let _turn = turn.expect("it is never closed");
        let deadline = Instant::now() + self.shared.load.timeout;
        self.patience
            .until(deadline, self.wire.connect_ahead(self.shared))
            .await;
    }

    /// Waits for the next request; gives the time at which it was due. `None`: there is none any more.
    async fn next(&mut self, start: Instant) -> Option<Instant> {
        let Some(schedule) = &self.shared.schedule else {
            let now = Instant::now();
            return (now < start + self.shared.load.duration).then_some(now);
        };
        tokio::select! {
            biased;
            due = schedule.take() => due.map(|due| start + due),
            () = self.wire.watch() => None,
        }
    }

    /// One request, from its connection to its place in the record.
    async fn request(&mut self, due: Instant) {
        let shared = self.shared;
        let begun = Instant::now();
        shared.record().begin(begun);
        let deadline = begun + shared.load.timeout;
        match self.wire.exchange(shared, &mut self.patience, deadline).await {
            Ok(answer) => {
                record(shared, due, answer);
                if !answer.reusable || shared.load.clients == Clients::ConnectionPerRequest {
                    self.patience.until(deadline, self.wire.close()).await;
                }
            }
            Err(failure) => {
                shared.fail(failure);
                match failure {
                    Failure::Connect => time::sleep(CONNECT_BACK_OFF).await,
                    Failure::NoPort => time::sleep(NO_PORT_BACK_OFF).await,
                    _ => {}
                }
            }
        }
    }
}

fn record(shared: &Shared, due: Instant, answer: Answer) {
    let now = Instant::now();
    match Failure::of_status(answer.status) {
        None => {
            shared
                .record()
                .answer(now.saturating_duration_since(due), answer.body, now);
            shared.meter.answered();
        }
        Some(failure) => shared.fail(failure),
    }
}
