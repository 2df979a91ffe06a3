//! How long idle connections are kept: as configured, as the endpoint says, or as it does.

use std::time::Duration;

use super::{closed, closed_in_all};
use crate::support::{End, Endpoint, Proxy, proxy::Setup};

const LEARN: &str = "[cluster.main.pool]\nidle_timeout = \"learn\"";

/// Rounds in a row without a close by the endpoint, after which the proxy counts as having learned.
const ENOUGH: usize = 3;
const ROUNDS: usize = 12;

/// An endpoint that keeps idle connections for one second.
fn impatient() -> Endpoint {
    Endpoint::start(|exchange| {
        exchange.respond("x");
        exchange.close_if_idle_for(Duration::from_secs(1));
    })
}

fn idle_timeout(proxy: &Proxy) -> f64 {
    proxy.metric("forebay_pool_idle_timeout_seconds", &[])
}

/// A request, and the end of the connection that it opened. Says whether the endpoint was first to close it.
fn round(proxy: &Proxy, endpoint: &Endpoint) -> bool {
    let before = closed_in_all(proxy);
    assert_eq!(proxy.get("/").status, 200);
    let opened = endpoint.opened();
    proxy.wait_for_metric("forebay_pool_closed_total", &[], |closed| closed as usize > before);
    endpoint.wait_closed(opened)[opened - 1].end != Some(End::Fin)
}

#[test]
fn what_an_endpoint_does_with_idle_connections_is_learned_and_the_proxy_closes_them_first() {
    let endpoint = impatient();
    let proxy = Proxy::in_front_of(&endpoint).with(LEARN).start();
    assert!(idle_timeout(&proxy) > 10.0, "nothing is known yet");
    assert!(
        round(&proxy, &endpoint),
        "nothing is known yet, so the endpoint is first"
    );
    // Each time that the endpoint is first all the same, the proxy looked later than it should, and learns more.
    let mut in_a_row = 0;
    for _ in 0..ROUNDS {
        in_a_row = if round(&proxy, &endpoint) { 0 } else { in_a_row + 1 };
        if in_a_row == ENOUGH {
            break;
        }
    }
    let (by_us, by_endpoint) = (closed(&proxy, "idle-timeout"), closed(&proxy, "closed-by-endpoint"));
    assert_eq!(in_a_row, ENOUGH, "{by_us} by us, {by_endpoint} by the endpoint");
    assert!(by_us >= ENOUGH && by_us + by_endpoint == endpoint.opened());
    let learned = idle_timeout(&proxy);
    assert!((0.25..1.0).contains(&learned), "{learned}");
}

fn learned_survives(change: impl FnOnce(Setup) -> Setup) {
    let endpoint = impatient();
    let setup = Proxy::in_front_of(&endpoint).with(LEARN);
    let proxy = Proxy::start(&setup.toml());
    let learned = (0..ROUNDS).find(|_| {
        round(&proxy, &endpoint);
        idle_timeout(&proxy) < 1.0
    });
    assert!(learned.is_some(), "nothing was learned");
    let before = idle_timeout(&proxy);
    proxy.reload(&change(setup).toml());
    let after = idle_timeout(&proxy);
    assert!(after <= before, "{after} after {before}");
}

#[test]
fn what_was_learned_survives_a_reload_that_changes_something_else() {
    learned_survives(|setup| setup.with("[log]\nlevel = \"debug\""));
}

#[test]
fn what_was_learned_survives_a_reload_that_opens_connections_in_another_way() {
    learned_survives(|setup| setup.with("[cluster.main.tcp_keepalive]\nidle = \"20s\""));
}

#[test]
fn what_was_learned_survives_a_reload_of_another_policy_of_the_pool() {
    learned_survives(|setup| setup.with("max_idle = 10"));
}

/// The idle timeout in force after the endpoint has said `field` with an answer.
fn after_hearing(field: &'static str, configured: &str) -> f64 {
    let endpoint = Endpoint::start(move |exchange| exchange.respond_with(field, "x"));
    let pool = format!("[cluster.main.pool]\nidle_timeout = \"{configured}\"");
    let proxy = Proxy::in_front_of(&endpoint).with(&pool).start();
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(endpoint.opened(), 1);
    idle_timeout(&proxy)
}

#[test]
fn what_an_endpoint_says_of_its_idle_timeout_counts_less_a_second() {
    assert_eq!(after_hearing("Keep-Alive: timeout=5, max=1000\r\n", "1m"), 4.0);
    assert_eq!(after_hearing("Keep-Alive: timeout=5\r\n", "learn"), 4.0);
    assert_eq!(
        after_hearing("Keep-Alive: timeout=75\r\n", "4s"),
        4.0,
        "it never makes it longer"
    );
    assert_eq!(after_hearing("Keep-Alive: max=7\r\n", "3s"), 3.0);
}

#[test]
fn a_connection_is_closed_before_the_time_that_its_endpoint_has_stated() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.respond_with("Keep-Alive: timeout=2\r\n", "x");
        exchange.close_if_idle_for(Duration::from_secs(2));
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nidle_timeout = \"1m\"")
        .start();
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    proxy.wait_for_metric(
        "forebay_pool_closed_total",
        &["reason=\"idle-timeout\"", "first=\"us-fin\""],
        |closed| closed == 1.0,
    );
}
