//! What the figures mean, and what could mislead.

use super::Report;
use crate::bench::{
    figures::{Measure, OPENED, PROXY_CPU, REQUESTS, TIME_WAIT_PROXY},
    load::{Clients, Encryption, Pace, Protocol},
    subject::{Endpoints, Subject},
    text,
};

impl Report {
    /// What was asked of the subjects.
    pub(super) fn load(&self) -> String {
        let traffic = &self.experiment.traffic;
        let version = match traffic.protocol {
            Protocol::Http1 => "HTTP/1.1".to_owned(),
            Protocol::Http2 { streams } => format!("HTTP/2 with {streams} streams each"),
        };
        let tls = match traffic.tls {
            Encryption::Off => "",
            Encryption::Tls => " over TLS",
        };
        let clients = match traffic.clients {
            Clients::KeepAlive => "that keep their connections",
            Clients::ConnectionPerRequest => "that connect for each request",
        };
        let pace = match traffic.pace {
            Pace::Closed => "as fast as answers come".to_owned(),
            Pace::Open(rate) => format!("{} requests/s, due at even times", text::count(rate)),
        };
        format!(
            "{} clients of {version}{tls} {clients}, {pace}.",
            text::count(traffic.connections.get() as f64)
        )
    }

    pub(super) fn sentences(&self) -> Vec<String> {
        let found = [
            self.worth(),
            self.ports(),
            self.shared_cores(),
            self.hidden(),
            self.shared_endpoints(),
            self.proxied_alone(),
        ];
        found.into_iter().flatten().collect()
    }

    /// The median of a subject, if it has the figure.
    fn median(&self, subject: Subject, measure: &Measure) -> Option<f64> {
        Some(self.spread(subject, measure)?.median)
    }

    fn both(&self, measure: &Measure) -> Option<(f64, f64)> {
        let pooled = self.median(Subject::Pooled, measure)?;
        Some((pooled, self.median(Subject::Unpooled, measure)?))
    }

    /// What pooling has changed.
    fn worth(&self) -> Option<String> {
        let (pooled, unpooled) = self.both(&REQUESTS)?;
        let cpu = self.both(&PROXY_CPU).filter(|(_, unpooled)| *unpooled > 0.0);
        let cpu = cpu.map_or_else(String::new, |(pooled, unpooled)| {
            format!(
                " with {} of the proxy's CPU time for each",
                text::percent(pooled / unpooled)
            )
        });
        if matches!(self.experiment.traffic.pace, Pace::Open(_)) {
            return Some(format!("Pooled, the same requests were answered{cpu}."));
        }
        (unpooled > 0.0).then(|| {
            let factor = text::decimal(pooled / unpooled);
            format!("Pooled, {factor} times as many requests were answered per second{cpu}.")
        })
    }

    fn ports(&self) -> Option<String> {
        let (pooled, unpooled) = self.both(&OPENED)?;
        let waiting = self.spread(Subject::Unpooled, &TIME_WAIT_PROXY)?.high;
        Some(format!(
            "In a round the pool opened {} connections to the endpoints, and the proxy without one {}, whose closed ones \
             held up to {} source ports in TIME_WAIT.",
            text::count(pooled.round()),
            text::count(unpooled.round()),
            text::count(waiting)
        ))
    }

    fn shared_cores(&self) -> Option<String> {
        matches!(self.experiment.endpoints, Endpoints::Started { .. }).then(|| {
            format!(
                "Clients, proxy and endpoints share {}, so the rates are not what a proxy can do alone; CPU time per \
                 request hardly depends on that.",
                match self.machine.cores {
                    1 => "one core".to_owned(),
                    cores => format!("{cores} cores"),
                }
            )
        })
    }

    /// Why nothing ran out.
    fn hidden(&self) -> Option<String> {
        let on_loopback = matches!(self.experiment.endpoints, Endpoints::Started { .. });
        (on_loopback && self.machine.tw_reuse == Some(2)).then(|| {
            "Between addresses of 127.0.0.0/8 Linux takes ports in TIME_WAIT again after a second (tcp_tw_reuse = 2), so \
             they do not run out here. Between machines they do: `forebay bench exhaust` shows it."
                .to_owned()
        })
    }

    fn shared_endpoints(&self) -> Option<String> {
        self.experiment.shares_endpoints().then(|| {
            "The endpoints are the same for all, and their CPU time is not known; what one subject has left in TIME_WAIT \
             is not counted for the next."
                .to_owned()
        })
    }

    fn proxied_alone(&self) -> Option<String> {
        let traffic = &self.experiment.traffic;
        let differs = traffic.tls == Encryption::Tls || traffic.protocol != Protocol::Http1;
        (differs && self.subjects().contains(&Subject::Direct))
            .then(|| "Straight to the endpoints it is HTTP/1.1 in the clear, with as many requests at once.".to_owned())
    }
}
