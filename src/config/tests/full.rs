//! Holds `config/full.toml` and `config/minimal.toml` to the code.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::super::*;

const FULL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml"));
const MINIMAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml"));

/// `full.toml` with its examples in force: they are the lines that begin with `#` and no space.
fn with_examples() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.is_empty() && !example.starts_with(' ') => example.to_owned(),
        _ => line.to_owned(),
    };
    FULL.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The table and the key, the names of clusters replaced by `NAME`, of each key that reading `text` asks for, and of
/// those among them that `text` has.
fn keys(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (top, errors) = DeTable::parse_recoverable(text);
    assert!(errors.is_empty(), "{errors:?}");
    let context = Context::new(text, None);
    Table::read_top(&context, top.get_ref(), Config::read);
    let general = |path: &str| {
        let mut names: Vec<_> = path.split('.').collect();
        if names.len() > 1 && names[0] == "cluster" {
            names[1] = "NAME";
        }
        names.join(".")
    };
    let (mut asked, mut present) = (BTreeSet::new(), BTreeSet::new());
    for (path, key, is_there) in context.asked.into_inner() {
        let key = format!("{}.{key}", general(&path));
        if is_there {
            present.insert(key.clone());
        }
        asked.insert(key);
    }
    (asked, present)
}

fn shown(result: Result<Config, Problems>) -> Config {
    result.unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn full_toml_has_every_default() {
    let config = shown(parse(FULL, "full.toml"));
    assert_eq!(config.process, Process::default());
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.access_log, AccessLog::default());
    assert_eq!(config.forwarding, Forwarding::default());
    assert_eq!(
        config.listeners,
        [Listener::new("127.0.0.1:8080", "127.0.0.1:8080".parse().unwrap())]
    );
    assert_eq!(config.routes, [Route::forward_all("api")]);
    assert_eq!(
        config.clusters["api"],
        Cluster::new(vec!["127.0.0.1:9000".parse().unwrap()])
    );
    assert_eq!(config.clusters.len(), 1);
}

#[test]
fn keys_with_a_default_are_in_force_in_full_toml() {
    let (_, in_force) = keys(FULL);
    let (_, all) = keys(&with_examples());
    let all_have_defaults = [
        "process.",
        "admin.",
        "log.",
        "access_log.",
        "keep_alive.",
        "timeouts.",
        "limits.",
        "http2.",
        "cluster.NAME.pool.",
        "cluster.NAME.source.",
        "cluster.NAME.tcp_keepalive.",
        "cluster.NAME.timeouts.",
        "cluster.NAME.retry.",
    ];
    // A default that stands in an example is compared with nothing, so it could say anything.
    let unchecked: Vec<_> = all
        .difference(&in_force)
        .filter(|key| all_have_defaults.iter().any(|section| key.starts_with(section)))
        .collect();
    assert!(
        unchecked.is_empty(),
        "{unchecked:?} have a default and stand only in examples"
    );
    for section in all_have_defaults {
        assert!(
            in_force.iter().any(|key| key.starts_with(section)),
            "there is no key of {section}"
        );
    }
}

#[test]
fn the_examples_of_full_toml_are_right() {
    let config = shown(parse(&with_examples(), "full.toml"));
    assert_eq!(
        (config.listeners.len(), config.routes.len(), config.clusters.len()),
        (3, 5, 3)
    );
    assert!(config.listeners[1].tls.is_some());
    assert!(config.clusters["api"].probe.is_some());
    let [database, orders] = warnings(&config).try_into().expect("no more is hardly meant");
    assert!(
        database.contains("no route leads to the cluster `database`"),
        "{database}"
    );
    assert!(orders.contains("no route leads to the cluster `orders`"), "{orders}");
}

#[test]
fn full_toml_shows_every_key_that_is_read() {
    let (asked, present) = keys(&with_examples());
    // A listener overrides single keys of sections that stand in full above it.
    let overrides = ["keep_alive", "timeouts", "limits", "http2"].map(|section| format!("listener.{section}."));
    let missing: Vec<_> = asked
        .difference(&present)
        .filter(|key| !overrides.iter().any(|section| key.starts_with(section.as_str())))
        .collect();
    assert!(missing.is_empty(), "config/full.toml does not show {missing:#?}");
    assert!(asked.len() > 90, "only {} keys were asked for", asked.len());
}

#[test]
fn full_toml_explains_every_key() {
    let lines: Vec<_> = FULL.lines().collect();
    for (index, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
    {
        let above = lines[index - 1];
        assert!(
            above.starts_with("# ") || line.starts_with("# "),
            "line {}: {line}",
            index + 1
        );
    }
}

#[test]
fn minimal_toml_is_all_that_is_needed() {
    let config = shown(parse(MINIMAL, "minimal.toml"));
    let mut expected = Config::default();
    expected
        .listeners
        .push(Listener::new("127.0.0.1:8080", "127.0.0.1:8080".parse().unwrap()));
    expected.routes.push(Route::forward_all("api"));
    expected
        .clusters
        .insert("api".to_owned(), Cluster::new(vec!["127.0.0.1:9000".parse().unwrap()]));
    assert_eq!(config, expected);
    assert!(MINIMAL.lines().count() <= 10);
    assert_eq!(warnings(&config), Vec::<String>::new());
}
