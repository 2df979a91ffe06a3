use std::{num::NonZeroUsize, time::Duration};

use serde_json::Value;

use super::*;
use crate::bench::{
    counters::Counters,
    experiment::Traffic,
    figures::{Latency, MEASURES},
    load::{Clients, Encryption, Pace, Protocol},
    run::Moment,
    sockets::Sockets,
    subject::Endpoints,
};

fn number(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).expect("not zero")
}

fn experiment(rounds: usize) -> Experiment {
    Experiment {
        subjects: vec![Subject::Pooled, Subject::Unpooled],
        rounds: number(rounds),
        warmup: Duration::ZERO,
        endpoints: Endpoints::Started {
            count: number(1),
            size: None,
        },
        workers: None,
        traffic: Traffic {
            path: "/".into(),
            tls: Encryption::Off,
            protocol: Protocol::Http1,
            clients: Clients::KeepAlive,
            connections: number(64),
            threads: number(1),
            pace: Pace::Closed,
            request_body: 0,
            duration: Duration::from_secs(1),
        },
    }
}

fn run(subject: Subject, round: usize, answered: u64, opened: u64) -> Run {
    let sockets = Sockets {
        time_wait_proxy: opened as usize,
        time_wait_endpoint: Some(0),
        ports: opened as usize,
    };
    Run {
        subject,
        round,
        figures: Figures {
            elapsed: Duration::from_secs(1),
            answered,
            latency: Latency {
                p50: 900,
                ..Latency::default()
            },
            proxy_cpu: Some(Duration::from_micros(answered * opened.min(50))),
            proxy: Some(Counters {
                opened,
                reused: answered - opened,
                ..Counters::default()
            }),
            time_wait_proxy: Some(opened as usize),
            ports: Some(opened as usize),
            ..Figures::default()
        },
        moments: vec![Moment {
            at: Duration::from_secs(round as u64),
            into_run: Duration::from_secs(1),
            requests_per_second: answered as f64,
            sockets: Some(sockets),
        }],
    }
}

fn report(ending: Ending) -> Report {
    let runs = vec![
        run(Subject::Pooled, 1, 1000, 10),
        run(Subject::Unpooled, 1, 400, 400),
        run(Subject::Pooled, 2, 1400, 20),
        run(Subject::Unpooled, 2, 600, 600),
    ];
    Report {
        experiment: experiment(2),
        results: Results { runs, ending },
        machine: Machine {
            cores: 2,
            processor: None,
            kernel: Some("6.18".into()),
            source_ports: Some((32768, 60999)),
            tw_reuse: Some(2),
        },
        begun: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
    }
}

#[test]
fn the_table_has_medians_and_how_far_the_rounds_are_apart() {
    let text = report(Ending::Complete).text();
    let row = |label: &str| {
        let line = text.lines().find(|line| line.starts_with(label)).expect(label);
        line[36..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("requests per second"), ["1,200", "±17%", "500", "±20%"]);
    assert_eq!(row("connections opened"), ["15", "±33%", "500", "±20%"]);
    assert_eq!(row("TIME_WAIT, proxy's end"), ["20", "600"]);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(
        (row("failed requests"), row("no source port")),
        (vec!["0".to_owned(); 2], vec!["0".to_owned(); 2])
    );
    assert!(!text.contains("never sent"), "none was late");
}

#[test]
fn the_sentences_are_made_of_the_figures() {
    let text = report(Ending::Complete).text().replace('\n', " ");
    assert!(text.contains("2.40 times as many requests"), "{text}");
    assert!(text.contains("held up to 600 source ports in TIME_WAIT"), "{text}");
    assert!(text.contains("tcp_tw_reuse = 2"), "{text}");
}

#[test]
fn an_interruption_is_told() {
    let text = report(Ending::WholeRounds(1)).text().replace('\n', " ");
    assert!(text.contains("Interrupted: of 2 rounds, one is counted"), "{text}");
    let json: Value = serde_json::from_str(&report(Ending::PartOfARound).json()).expect("JSON");
    assert_eq!(json["ending"], "interrupted-first-round");
}

#[test]
fn the_json_has_every_measure_of_every_run() {
    let json: Value = serde_json::from_str(&report(Ending::Complete).json()).expect("JSON");
    assert_eq!(json["begun_unix_seconds"], 5.0);
    for (place, name) in ["pooled", "unpooled"].into_iter().enumerate() {
        let subject = &json["subjects"][place];
        assert_eq!(
            (&subject["name"], subject["runs"].as_array().map(Vec::len)),
            (&name.into(), Some(2))
        );
        for measure in &MEASURES {
            assert!(subject["figures"].get(measure.key).is_some(), "{}", measure.key);
            assert!(
                subject["runs"][1]["figures"].get(measure.key).is_some(),
                "{}",
                measure.key
            );
            assert!(json["measures"][measure.key].is_string(), "{}", measure.key);
        }
    }
    assert_eq!(json["subjects"][0]["figures"]["requests_per_second"]["median"], 1200.0);
    assert_eq!(json["subjects"][1]["runs"][0]["moments"][0]["time_wait_proxy"], 400);
}

#[test]
fn a_chart_has_a_line_for_each_subject_with_a_gap_between_its_turns() {
    let charts = report(Ending::Complete).charts();
    let lines = &charts[0].lines;
    assert_eq!((lines[0].name.as_str(), lines[1].name.as_str()), ("pooled", "unpooled"));
    let values: Vec<_> = lines[0].points.iter().map(|(_, value)| *value).collect();
    assert_eq!((values[0], values[2]), (1000.0, 1400.0));
    assert!(values[1].is_nan() && values[3].is_nan());
}
