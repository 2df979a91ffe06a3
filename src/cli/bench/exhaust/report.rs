//! The story as it is printed. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    bench::exhaust::{
        Scene, Subject,
        story::{Failure, Fate, Story},
    },
    cli::{
        counted,
        words::{rate, time},
    },
    net::Kernel,
    ports::budget::ports_of,
};

const COLUMNS: [&str; 7] = [
    "answered",
    "failed",
    "connections",
    "ports",
    "TIME_WAIT",
    "EADDRNOTAVAIL",
    "at last",
];

pub(super) fn text(story: &Story, kernel: &Kernel) -> String {
    let fates = story.fates();
    let mut lines = vec![
        heading(story, kernel),
        String::new(),
        row("", COLUMNS.map(str::to_owned)),
    ];
    lines.extend(fates.iter().map(|fate| row(fate.subject.name(), columns(fate))));
    lines.push(String::new());
    match story.plan.scene {
        Scene::Namespaces { ports } => lines.extend(fates.iter().map(|fate| told(story, fate, ports, kernel))),
        Scene::Loopback => lines.extend(told_of_loopback(story, &fates, kernel)),
    }
    lines.push(String::new());
    lines.join("\n")
}

fn heading(story: &Story, kernel: &Kernel) -> String {
    let length = story.samples.last().map_or(0.0, |sample| sample.at);
    let load = format!(
        "{} requests/s to each of three proxies, for {}",
        rate(story.plan.rate),
        time(Duration::from_secs_f64(length))
    );
    match story.plan.scene {
        Scene::Namespaces { ports } => format!("{load}, with {ports} source ports and tcp_tw_reuse = 0"),
        Scene::Loopback => format!(
            "{load}, on the loopback interface with tcp_tw_reuse = {}",
            tw_reuse(kernel)
        ),
    }
}

fn tw_reuse(kernel: &Kernel) -> u32 {
    // What the kernel has by default.
    kernel.tw_reuse.unwrap_or(2)
}

/// At most 100 characters, for less than a million requests.
fn row(label: &str, [answered, failed, connections, ports, time_wait, no_port, last]: [String; 7]) -> String {
    format!("  {label:26}{answered:>9}{failed:>8}{connections:>13}{ports:>7}{time_wait:>11}{no_port:>15}{last:>9}")
}

fn columns(fate: &Fate) -> [String; 7] {
    let end = &fate.end;
    [
        end.answered.to_string(),
        end.errors.to_string(),
        end.opened.to_string(),
        fate.ports.to_string(),
        fate.time_wait.to_string(),
        end.no_port.to_string(),
        format!("{}/s", rate(fate.last_rate)),
    ]
}

/// What one proxy has lived through, with few ports.
fn told(story: &Story, fate: &Fate, ports: u16, kernel: &Kernel) -> String {
    let name = fate.subject.name();
    let end = &fate.end;
    match (&fate.failed, fate.subject) {
        (Some(failure), subject) => {
            let sustained = story.sustained(subject, ports.into(), kernel);
            format!("{name}: {}", of_failure(failure, story, sustained, kernel))
        }
        (None, Subject::UnpooledFin) => format!("{name}: {}", of_the_rest(story, fate, ports, kernel)),
        (None, Subject::Pooled) => format!(
            "{name}: {} went over {}; no port was ever missing.",
            counted(end.answered as usize, "request"),
            counted(end.opened as usize, "connection"),
        ),
        (None, Subject::UnpooledFinNoTimeWait) => format!(
            "{name}: each of the {} had a connection of its own,\n  and {}.",
            counted(end.answered as usize, "request"),
            match fate.ports {
                0 => "each port was free again before the next look at them".to_owned(),
                some => format!("no look found more than {} in use", counted(some, "port")),
            },
        ),
    }
}

fn of_failure(failure: &Failure, story: &Story, sustained: Option<f64>, kernel: &Kernel) -> String {
    let answered = failure.answered_since;
    let mut text = format!(
        "after {} and {} no source port was left.\n  In the {} since, {} were answered and {} failed.",
        time(failure.at),
        counted(failure.answered as usize, "request"),
        time(failure.lasted),
        counted(answered as usize, "request"),
        failure.errors_since
    );
    let hold = story.time_wait(kernel);
    if let Some(sustained) = sustained {
        text += &format!(
            "\n  Each port comes back {} after its connection was closed: {}/s can go on for ever (reckoned).",
            time(hold),
            rate(sustained)
        );
    }
    // Before the first ports have come back there is nothing to compare that with.
    if failure.lasted > hold {
        let measured = answered as f64 / failure.lasted.as_secs_f64();
        text += &format!("\n  Measured since: {}/s.", rate(measured));
    }
    text
}

/// What is left where the load was too short, or too low, to use up all ports.
fn of_the_rest(story: &Story, fate: &Fate, ports: u16, kernel: &Kernel) -> String {
    let lasts = Duration::try_from_secs_f64(f64::from(ports) / story.plan.rate).unwrap_or(Duration::MAX);
    let prospect = match lasts < story.time_wait(kernel) {
        true => format!("At this rate none is left after {} (reckoned).", time(lasts)),
        false => "At this rate they come back before they are used up (reckoned).".to_owned(),
    };
    format!(
        "{} of the {ports} ports were held at once, {} in TIME_WAIT.\n  {prospect}",
        fate.ports, fate.time_wait
    )
}

/// What the loopback interface shows, and what it hides.
fn told_of_loopback(story: &Story, fates: &[Fate], kernel: &Kernel) -> Vec<String> {
    let unpooled = fates.iter().find(|fate| fate.subject == Subject::UnpooledFin);
    let ports = ports_of(kernel);
    let hold = story.time_wait(kernel);
    let mut lines = Vec::new();
    if let Some(fate) = unpooled {
        lines.push(format!(
            "{}: {} were in TIME_WAIT at once, with a port each.",
            fate.subject.name(),
            counted(fate.time_wait, "connection")
        ));
    }
    lines.push(if hold < Duration::from_secs(60) {
        format!(
            "With tcp_tw_reuse = {} the kernel gives such a port to a new connection after {}\n\
             towards loopback addresses, which hides the problem here.",
            tw_reuse(kernel),
            time(hold)
        )
    } else {
        format!(
            "With tcp_tw_reuse = {} each of them is held for {}, here too.",
            tw_reuse(kernel),
            time(hold)
        )
    });
    let lasts = ports as f64 / story.plan.rate;
    let elsewhere = crate::ports::budget::time_wait(Some(0), kernel.timestamps, None);
    if lasts < elsewhere.as_secs_f64() {
        lines.push(format!(
            "Towards an endpoint on another machine it would be held for {},\n\
             and the {ports} ports would last for {} (reckoned).",
            time(elsewhere),
            time(Duration::from_secs_f64(lasts))
        ));
    } else {
        lines.push(format!(
            "Towards an endpoint on another machine it would be held for {},\n\
             and {} of the {ports} ports would be in use (reckoned).",
            time(elsewhere),
            rate(story.plan.rate * elsewhere.as_secs_f64())
        ));
    }
    lines
}

pub(super) fn json(story: &Story, kernel: &Kernel) -> String {
    let ports = story.ports().map_or_else(|| ports_of(kernel), usize::from);
    let fate = |fate: &Fate| {
        json!({
            "subject": fate.subject,
            "answered": fate.end.answered,
            "errors": fate.end.errors,
            "connections": fate.end.opened,
            "ports": fate.ports,
            "time_wait": fate.time_wait,
            "eaddrnotavail": fate.end.no_port,
            "refused_without_asking_the_kernel": fate.end.held_back,
            "first_failure_seconds": fate.failed.map(|failure| failure.at.as_secs_f64()),
            "answered_since": fate.failed.map(|failure| failure.answered_since),
            "errors_since": fate.failed.map(|failure| failure.errors_since),
            "last_requests_per_second": fate.last_rate,
            "reckoned_requests_per_second": (!fate.subject.is_pooled())
                .then(|| story.sustained(fate.subject, ports, kernel))
                .flatten(),
        })
    };
    let value = json!({
        "place": match story.plan.scene {
            Scene::Namespaces { .. } => "namespaces",
            Scene::Loopback => "loopback",
        },
        "requests_per_second": story.plan.rate,
        "duration_seconds": story.samples.last().map(|sample| sample.at),
        "source_ports": ports,
        "time_wait_seconds": story.time_wait(kernel).as_secs_f64(),
        "subjects": story.fates().iter().map(fate).collect::<Vec<Value>>(),
        "samples": story.samples,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::exhaust::{
        Plan,
        inside::{End, Sample, Seen},
    };

    fn kernel() -> Kernel {
        Kernel {
            port_range: Some((32_768, 60_999)),
            tw_reuse: Some(2),
            ..Kernel::default()
        }
    }

    /// 100 requests per second, of which the first proxy could answer 500.
    fn story(scene: Scene, seconds: u64) -> Story {
        let plan = Plan {
            scene,
            rate: 100.0,
            duration: Duration::from_secs(seconds),
        };
        let seen = |second: u64, most: u64| Seen {
            answered: (second * 100).min(most),
            errors: (second * 100).saturating_sub(most),
            time_wait: 0,
            ports: 1,
        };
        let sample = |second| {
            let unpooled = Seen {
                time_wait: 500,
                ports: 500,
                ..seen(second, 500)
            };
            Sample {
                at: second as f64,
                seen: vec![unpooled, seen(second, u64::MAX), seen(second, u64::MAX)],
            }
        };
        let end = End {
            answered: seconds * 100,
            opened: 7,
            ..End::default()
        };
        let unpooled = End {
            answered: 500,
            errors: seconds * 100 - 500,
            opened: 500,
            no_port: 3,
            held_back: 4,
        };
        Story {
            samples: (0..=seconds).map(sample).collect(),
            ends: vec![unpooled, end, end],
            ..Story::new(plan)
        }
    }

    #[test]
    fn the_story_is_told_with_what_was_measured() {
        let text = text(&story(Scene::Namespaces { ports: 500 }, 20), &kernel());
        let expected = "\
100 requests/s to each of three proxies, for 20 s, with 500 source ports and tcp_tw_reuse = 0

                             answered  failed  connections  ports  TIME_WAIT  EADDRNOTAVAIL  at last
  unpooled, fin                   500    1500          500    500        500              3      0/s
  unpooled, fin-no-time-wait     2000       0            7      1          0              0    100/s
  pooled                         2000       0            7      1          0              0    100/s

unpooled, fin: after 6 s and 500 requests no source port was left.
  In the 14 s since, 0 requests were answered and 1400 failed.
  Each port comes back 61 s after its connection was closed: 8.2/s can go on for ever (reckoned).
unpooled, fin-no-time-wait: each of the 2000 requests had a connection of its own,
  and no look found more than 1 port in use.
pooled: 2000 requests went over 7 connections; no port was ever missing.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_long_one_is_compared_with_what_was_reckoned() {
        let text = text(&story(Scene::Namespaces { ports: 500 }, 100), &kernel());
        assert!(text.contains("(reckoned).\n  Measured since: 0/s.\n"), "{text}");
    }

    #[test]
    fn a_load_that_uses_not_all_ports_up_is_told_what_would_come() {
        let mut story = story(Scene::Namespaces { ports: 5000 }, 5);
        let of = |story: &Story| text(story, &kernel());
        let short = of(&story);
        assert!(
            short.contains("unpooled, fin: 500 of the 5000 ports were held at once, 500 in TIME_WAIT.\n"),
            "{short}"
        );
        assert!(short.contains("none is left after 50 s"), "{short}");
        story.plan.rate = 5000.0 / 61.0;
        assert!(
            of(&story).contains("come back before they are used up"),
            "{}",
            of(&story)
        );
    }

    #[test]
    fn on_loopback_it_is_said_what_hides_the_problem() {
        let mut story = story(Scene::Loopback, 20);
        let of = |story: &Story, kernel: &Kernel| text(story, kernel);
        let hidden = of(&story, &kernel());
        for part in [
            "tcp_tw_reuse = 2",
            "after 1 s\n",
            "500 connections were in TIME_WAIT",
            "6100 of the 28232 ports",
        ] {
            assert!(hidden.contains(part), "{part}: {hidden}");
        }
        story.plan.rate = 1000.0;
        assert!(of(&story, &kernel()).contains("the 28232 ports would last for 28 s"));
        let strict = Kernel {
            tw_reuse: Some(0),
            ..kernel()
        };
        assert!(of(&story, &strict).contains("each of them is held for 61 s, here too"));
    }

    #[test]
    fn json_has_the_same_figures() {
        let text = json(&story(Scene::Namespaces { ports: 500 }, 20), &kernel());
        let value: Value = serde_json::from_str(&text).unwrap();
        let [fin, no_time_wait, pooled] = [0, 1, 2].map(|index| value["subjects"][index].clone());
        assert_eq!(
            (fin["subject"].as_str(), fin["errors"].as_u64()),
            (Some("unpooled-fin"), Some(1500))
        );
        assert_eq!(fin["reckoned_requests_per_second"].as_f64().map(f64::round), Some(8.0));
        assert_eq!(fin["first_failure_seconds"], 6.0);
        assert!(pooled["reckoned_requests_per_second"].is_null() && pooled["first_failure_seconds"].is_null());
        assert_eq!(no_time_wait["connections"], 7);
        assert_eq!(value["samples"].as_array().map(Vec::len), Some(21));
    }
}
