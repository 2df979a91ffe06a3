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
    let (mut wire, mut patience) = (wire, Patience::new());
    if shared.load.clients == Clients::KeepAlive {
        connect_ahead(&shared, &mut wire, &mut patience).await;
    }
    let start = shared.start.ready().await;
    let mut client = Client {
        shared: &shared,
        wire,
        patience,
        start,
        end: start + shared.load.duration,
    };
    while let Some(due) = client.next().await {
        client.request(due).await;
    }
}

/// So that the first answers are as fast as the later ones. All of them together have the time of one request.
async fn connect_ahead(shared: &Shared, wire: &mut Wire, patience: &mut Patience) {
    let deadline = Instant::now() + shared.load.timeout;
    let connect = async {
        let turn = shared.connecting.acquire().await;
        let _turn = turn.expect("it is never closed");
        wire.connect_ahead(shared).await;
    };
    patience.until(deadline, connect).await;
}

struct Client<'a> {
    shared: &'a Shared,
    wire: Wire,
    patience: Patience,
    start: Instant,
    /// No request is begun from then on.
    end: Instant,
}

impl Client<'_> {
    /// Waits for the next request; gives the time at which it was due. `None`: there is none any more.
    async fn next(&mut self) -> Option<Instant> {
        let Some(schedule) = &self.shared.schedule else {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        };
        tokio::select! {
            biased;
            due = schedule.take() => due.map(|due| self.start + due),
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
                let back_off = match failure {
                    Failure::Connect => CONNECT_BACK_OFF,
                    Failure::NoPort => NO_PORT_BACK_OFF,
                    _ => return,
                };
                time::sleep_until(self.end.min(Instant::now() + back_off)).await;
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
