//! What [`Config::to_toml`] writes is read back as an equal config.

use http::{HeaderValue, StatusCode};
use proptest::prelude::*;

use super::{super::*, arbitrary::config};

fn assert_read_back(config: &Config) {
    let text = config.to_toml();
    match parse(&text, "f") {
        Ok(read) => assert_eq!(&read, config, "\n{text}"),
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

proptest! {
    #[test]
    fn every_config_is_read_back(config in config()) {
        assert_read_back(&config);
    }
}

#[test]
fn what_is_the_default_is_not_written() {
    let mut config = Config::default();
    config
        .listeners
        .push(Listener::new("public", "0.0.0.0:8080".parse().unwrap()));
    config.routes.push(Route::forward_all("api"));
    config
        .clusters
        .insert("api".into(), Cluster::new(vec!["10.0.0.11:9000".parse().unwrap()]));
    let expected = "\
[[listener]]
name = \"public\"
address = \"0.0.0.0:8080\"

[[route]]
cluster = \"api\"

[cluster.api]
endpoints = [\"10.0.0.11:9000\"]
";
    assert_eq!(config.to_toml(), expected);
    assert_read_back(&config);
}

#[test]
fn what_listeners_share_is_written_once() {
    let mut config = Config::default();
    config.routes.push(Route {
        action: Action::Respond(Respond {
            status: StatusCode::OK,
            body: String::new(),
            content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
        }),
        ..Route::forward_all("")
    });
    for port in [1, 2] {
        let mut listener = Listener::new(format!("l{port}"), ([127, 0, 0, 1], port).into());
        listener.limits.max_headers = 7;
        listener.keep_alive.max_requests = u64::from(port);
        config.listeners.push(listener);
    }
    let text = config.to_toml();
    assert!(text.contains("[limits]\nmax_headers = 7\n"), "{text}");
    assert_eq!(text.matches("max_headers").count(), 1, "{text}");
    assert!(text.contains("keep_alive = { max_requests = 2 }"), "{text}");
    assert_read_back(&config);
}
