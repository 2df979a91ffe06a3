//! HTTP/2 towards endpoints: who shares which connection, and what becomes of requests when one ends.

mod endings;
mod sharing;
mod violations;

use crate::support::{Proxy, h2_endpoint::H2Endpoint, proxy::Setup};

const HTTP2: &str = "protocol = \"http2\"";
const REFUSED_STREAM: u32 = 7;

fn in_front_of(endpoint: &H2Endpoint) -> Setup {
    Proxy::to(&[endpoint.address()]).with(HTTP2)
}

/// How many connections were opened for this reason.
fn opened_for(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("forebay_pool_opened_total", &[&format!("reason=\"{reason}\"")])
}
