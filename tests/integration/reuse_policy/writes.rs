//! Requests that must not be sent twice go only where the endpoint is hardly closing just now.

use std::time::Duration;

use super::{closed_in_all, let_pass, numbering, opened};
use crate::support::{Client, End, Endpoint, Gate, Proxy};

/// The default of `writes_if_idle_under`, and a bit.
const OVER: Duration = Duration::from_millis(1_100);

/// A proxy that has one connection, which has carried one request.
struct Scene {
    endpoint: Endpoint,
    proxy: Proxy,
}

impl Scene {
    fn start(pool: &str) -> Scene {
        let endpoint = numbering(&Gate::default());
        let pool = format!("[cluster.main.pool]\nidle_timeout = \"1m\"\n{pool}");
        let proxy = Proxy::in_front_of(&endpoint).workers(1).with(&pool).start();
        assert_eq!(proxy.get("/").text(), "0");
        Scene { endpoint, proxy }
    }

    /// The number of the connection that carries a request with a small body.
    fn carries(&self, method: &str) -> String {
        let mut client: Client = self.proxy.connect();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 2\r\n\r\nhi"
        ));
        let response = client.response();
        assert_eq!(response.status, 200, "{method}");
        response.text()
    }
}

#[test]
fn after_an_idle_second_a_write_gets_a_new_connection_and_all_others_the_old_one() {
    let scene = Scene::start("");
    for method in ["GET", "PUT", "DELETE"] {
        let_pass(&scene.proxy, OVER);
        assert_eq!(scene.carries(method), "0", "{method}");
    }
    for (method, connection) in [("POST", "1"), ("PATCH", "2")] {
        let_pass(&scene.proxy, OVER);
        assert_eq!(scene.carries(method), connection, "{method}");
    }
    assert_eq!(opened(&scene.proxy, "write-needs-fresh"), 2);
    assert_eq!(
        (scene.endpoint.opened(), scene.endpoint.closed()),
        (3, 0),
        "the old ones stay"
    );
}

#[test]
fn a_write_uses_a_connection_that_was_in_use_a_moment_ago() {
    let scene = Scene::start("reuse = { writes_if_idle_under = \"50s\" }");
    assert_eq!([scene.carries("POST"), scene.carries("PATCH")], ["0", "0"]);
    assert_eq!(scene.endpoint.opened(), 1);
}

#[test]
fn any_lets_writes_use_whatever_is_there() {
    let scene = Scene::start("reuse = { writes_if_idle_under = \"any\" }");
    let_pass(&scene.proxy, OVER);
    assert_eq!(scene.carries("POST"), "0");
    assert_eq!(opened(&scene.proxy, "write-needs-fresh"), 0);
}

#[test]
fn zero_gives_each_write_a_new_connection() {
    let scene = Scene::start("reuse = { writes_if_idle_under = \"0s\" }");
    assert_eq!([scene.carries("POST"), scene.carries("POST")], ["1", "2"]);
    assert_eq!(opened(&scene.proxy, "write-needs-fresh"), 2);
}

#[test]
fn at_the_limit_an_idle_connection_gives_way_to_the_write() {
    let scene = Scene::start("max_connections = 1\nmax_idle = 1\nwait = { timeout = \"14s\", queue = 10 }");
    let_pass(&scene.proxy, OVER);
    assert_eq!(scene.carries("POST"), "1");
    assert_eq!(scene.endpoint.wait_closed(1)[0].end, Some(End::Fin));
    let first = ["reason=\"gave-way\"", "first=\"us-fin\""];
    assert_eq!(scene.proxy.metric("forebay_pool_closed_total", &first), 1.0);
    assert_eq!(
        (closed_in_all(&scene.proxy), opened(&scene.proxy, "write-needs-fresh")),
        (1, 1)
    );
    assert_eq!(scene.carries("GET"), "1", "the new one is kept");
}
