//! TLS towards the endpoints.

mod endings;
mod identities;
mod names;
pub(crate) mod real_peers;
mod reloads;
mod reuse;
mod transfers;
mod trouble;
mod verification;

use crate::support::{
    Endpoint, Exchange, Proxy,
    authority::{Authority, Issued, Request},
    proxy::Setup,
    tls_session::EndpointTls,
};

/// Who vouches for the endpoints, and what they show.
struct Trust {
    authority: Authority,
    certificate: Issued,
}

impl Trust {
    /// A certificate for 127.0.0.1 and `names`.
    fn of(names: &[&str]) -> Trust {
        let authority = Authority::new("The endpoints' authority");
        let certificate = authority.issue(Request::of(names).ip("127.0.0.1"));
        Trust { authority, certificate }
    }

    fn endpoint(&self, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::start_tls(&EndpointTls::new(&self.certificate), script)
    }

    /// A cluster that trusts the authority.
    fn section(&self) -> String {
        format!("[cluster.main.tls]\nroots = {:?}\n", self.authority.chain())
    }

    fn in_front_of(&self, endpoint: &Endpoint) -> Setup {
        Proxy::in_front_of(endpoint).with(&self.section())
    }
}

/// Answers each request with its target.
fn echo_target(exchange: &mut Exchange) {
    let target = exchange.target().to_owned();
    exchange.respond(target);
}
