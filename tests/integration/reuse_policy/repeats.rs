//! What is sent once more after it met a connection that the endpoint was just closing.

use crate::{
    access_log::{TO_FILE, records},
    support::{Endpoint, Proxy},
};

const WRITES_ANYWHERE: &str =
    "[cluster.main.pool]\nreuse = { writes_if_idle_under = \"any\" }\nidle_timeout = \"1m\"\n";
const LIMIT: usize = 1_024;

/// A proxy whose one idle connection will be closed by the endpoint as soon as it has read the next request whole.
struct Scene {
    endpoint: Endpoint,
    proxy: Proxy,
}

impl Scene {
    fn start(retry: &str) -> Scene {
        let endpoint = Endpoint::start(|exchange| {
            exchange.body();
            match exchange.number {
                0 => exchange.respond("x"),
                _ => exchange.close(),
            }
        });
        let proxy = Proxy::in_front_of(&endpoint)
            .workers(1)
            .with(&format!("{WRITES_ANYWHERE}[cluster.main.retry]\n{retry}\n{TO_FILE}"))
            .start();
        assert_eq!(proxy.get("/warm").status, 200);
        Scene { endpoint, proxy }
    }

    /// The answer to a request with these further fields and `length` bytes of body.
    fn send(&self, method: &str, fields: &str, length: usize) -> u16 {
        let mut client = self.proxy.connect();
        client.send(format!(
            "{method} /again HTTP/1.1\r\nHost: test.example\r\n{fields}Content-Length: {length}\r\n\r\n"
        ));
        client.send(vec![b'b'; length]);
        client.response().status
    }

    /// How often the endpoint has read a request of this method, with how many bytes of body each time.
    fn read(&self, method: &str) -> Vec<usize> {
        let requests = self.endpoint.requests().into_iter();
        let of_method = requests.filter(|request| request.head.method() == method);
        of_method.map(|request| request.body.len()).collect()
    }

    /// The only count of stale connections has this method and outcome; so says the access log of the request.
    fn assert_told(&self, method: &str, outcome: &str, reason: Option<&str>) {
        let labels = [format!("method=\"{method}\""), format!("outcome=\"{outcome}\"")];
        let count = |labels: &[&str]| self.proxy.metric("forebay_upstream_stale_total", labels);
        assert_eq!((count(&[&labels[0], &labels[1]]), count(&[])), (1.0, 1.0), "{labels:?}");
        let record = &records(&self.proxy, 2)[1];
        assert_eq!(record["reason"].as_str(), reason, "{record}");
    }
}

#[test]
fn a_post_with_an_idempotency_key_is_sent_again_where_that_is_configured() {
    let scene = Scene::start("idempotency_key = true");
    assert_eq!(scene.send("POST", "Idempotency-Key: \"8e03978e\"\r\n", 5), 200);
    assert_eq!(scene.read("POST"), [5, 5]);
    scene.assert_told("POST", "replaced", None);
    let keys = scene.endpoint.requests();
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|request| request.head.field("idempotency-key"))
        .collect();
    assert_eq!(keys, ["\"8e03978e\""; 2], "the endpoint can tell that they are one");
}

#[test]
fn a_post_without_the_key_is_not_sent_again_even_where_keys_are_honoured() {
    let scene = Scene::start("idempotency_key = true");
    assert_eq!(scene.send("POST", "", 5), 502);
    assert_eq!(scene.read("POST"), [5]);
    scene.assert_told("POST", "not-idempotent", Some("stale"));
}

#[test]
fn the_key_means_nothing_unless_that_is_configured() {
    let scene = Scene::start("");
    assert_eq!(scene.send("POST", "Idempotency-Key: \"8e03978e\"\r\n", 5), 502);
    assert_eq!(scene.read("POST"), [5]);
    scene.assert_told("POST", "not-idempotent", Some("stale"));
}

#[test]
fn a_body_that_is_too_large_to_be_kept_is_not_sent_again_and_the_log_says_so() {
    let scene = Scene::start(&format!("max_replay_body = \"{LIMIT}B\""));
    assert_eq!(scene.send("PUT", "", LIMIT + 1), 502);
    assert_eq!(scene.read("PUT"), [LIMIT + 1]);
    scene.assert_told("PUT", "body-too-large", Some("stale-body"));
}

#[test]
fn a_body_that_can_just_be_kept_is_sent_again() {
    let scene = Scene::start(&format!("max_replay_body = \"{LIMIT}B\""));
    assert_eq!(scene.send("PUT", "", LIMIT), 200);
    assert_eq!(scene.read("PUT"), [LIMIT; 2]);
    scene.assert_told("PUT", "replaced", None);
}

#[test]
fn the_limit_holds_for_requests_with_a_key_too() {
    let scene = Scene::start(&format!("idempotency_key = true\nmax_replay_body = \"{LIMIT}B\""));
    assert_eq!(scene.send("POST", "Idempotency-Key: \"8e03978e\"\r\n", LIMIT + 1), 502);
    assert_eq!(scene.read("POST"), [LIMIT + 1]);
    scene.assert_told("POST", "body-too-large", Some("stale-body"));
}
