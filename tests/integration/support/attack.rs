//! Attacker and victim: whatever the attacker sends, the victim gets its own answer over a clean connection.

use super::{Client, Endpoint, Proxy, wire::End};

/// A proxy with one worker and room for one upstream connection, in front of an endpoint that answers each request
/// with its target. So a victim is served over whatever the attacker left behind.
pub struct Scene {
    pub endpoint: Endpoint,
    pub proxy: Proxy,
    victims: usize,
}

/// What became of an attack.
#[derive(Debug)]
pub struct Outcome {
    /// Status of the answer; `None` when the connection ended without one.
    pub status: Option<u16>,
    pub end: End,
}

impl Scene {
    pub fn new() -> Scene {
        let endpoint = Endpoint::start(|exchange| {
            let target = exchange.target().to_owned();
            exchange.respond(target);
        });
        let proxy = Proxy::in_front_of(&endpoint)
            .workers(1)
            .with("[cluster.main.pool]\nmax_connections = 1")
            .start();
        Scene {
            endpoint,
            proxy,
            victims: 0,
        }
    }

    /// Sends these bytes on a connection of their own, and waits for the answer and the end.
    pub fn attack(&self, bytes: &[u8]) -> Outcome {
        let mut attacker = self.proxy.connect();
        // A proxy that has seen enough may close before it has been sent everything.
        let _ = attacker.try_send(bytes);
        outcome(&mut attacker)
    }

    /// As [`Scene::attack`], and says that no more will come.
    pub fn attack_and_finish(&self, bytes: &[u8]) -> Outcome {
        let mut attacker = self.proxy.connect();
        let _ = attacker.try_send(bytes);
        attacker.finish();
        outcome(&mut attacker)
    }

    /// A request of somebody else gets its own answer.
    pub fn check_victim(&mut self, after: &str) {
        let target = format!("/victim-{}", self.victims);
        self.victims += 1;
        let response = self.proxy.get(&target);
        assert_eq!(
            (response.status, response.text()),
            (200, target),
            "the victim after {after}"
        );
    }

    /// The targets that the endpoint has seen, without those of the victims.
    pub fn seen(&self) -> Vec<String> {
        self.endpoint
            .targets()
            .into_iter()
            .filter(|target| !target.starts_with("/victim-"))
            .collect()
    }

    /// Each case is refused with one of `statuses` and a closed connection, and nothing of it reaches the endpoint.
    pub fn check_refused(&mut self, statuses: &[u16], cases: &[&str]) {
        let mut wrong = Vec::new();
        for &case in cases {
            let outcome = self.attack(case.as_bytes());
            let refused = outcome.status.is_some_and(|status| statuses.contains(&status));
            let reached = !self.seen().is_empty();
            if !refused || outcome.end == End::Deadline || reached {
                wrong.push(format!("{case:?}: {outcome:?}, the endpoint saw {:?}", self.seen()));
            }
            self.check_victim(case);
            if reached {
                // What got through once would be blamed on all later cases.
                let victims = self.victims;
                *self = Scene::new();
                self.victims = victims;
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} cases:\n{}",
            wrong.len(),
            cases.len(),
            wrong.join("\n")
        );
    }
}

fn outcome(client: &mut Client) -> Outcome {
    match client.try_response() {
        Ok(response) => {
            let (_, end) = client.read_to_end();
            Outcome {
                status: Some(response.status),
                end,
            }
        }
        Err(end) => Outcome { status: None, end },
    }
}
