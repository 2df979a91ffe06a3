//! The answers as they are printed. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::CapacityArgs;
use crate::{
    bench::capacity::{Answer, Question},
    cli::{
        counted,
        words::{policy, rate, runs_out, sustains, time},
    },
    config::Close,
    net::Kernel,
    ports::budget::{DEFAULT_RANGE, Pooling, leaves_time_wait},
};

const COLUMNS: [&str; 7] = ["new/s", "open", "closing", "needed", "runs out", "one address", "all"];

/// At most 100 characters in a line, for numbers below a million.
pub(super) fn table(args: &CapacityArgs, question: &Question, answers: &[Answer], kernel: &Kernel) -> String {
    let mut lines = vec![
        format!(
            "{} requests/s, {} each, from {} to {}",
            rate(question.requests_per_second),
            time(question.response_time),
            addresses(question.supply.sources),
            counted(question.destinations, "destination"),
        ),
        source_ports(args, question, kernel),
    ];
    lines.extend(limit(question));
    lines.extend([
        time_wait(args, question, kernel),
        String::new(),
        row("", COLUMNS.map(str::to_owned)),
    ]);
    lines.extend(
        answers
            .iter()
            .map(|answer| row(&policy(&answer.demand), columns(answer))),
    );
    lines.push(String::new());
    lines.extend(in_words(question, answers));
    lines.push(String::new());
    lines.join("\n")
}

fn addresses(count: usize) -> String {
    format!("{count} source address{}", if count == 1 { "" } else { "es" })
}

fn row(label: &str, [new, open, closing, needed, runs_out, one, all]: [String; 7]) -> String {
    format!("  {label:28}{new:>8}{open:>8}{closing:>9}{needed:>9}{runs_out:>10}{one:>13}{all:>12}")
}

fn columns(answer: &Answer) -> [String; 7] {
    let budget = &answer.budget;
    [
        rate(budget.connections_per_second),
        budget.open.to_string(),
        budget.closing.to_string(),
        budget.needed().to_string(),
        runs_out(budget),
        sustains(answer.of_one_address),
        sustains(answer.of_all),
    ]
}

fn source_ports(args: &CapacityArgs, question: &Question, kernel: &Kernel) -> String {
    let own = kernel.port_range.unwrap_or(DEFAULT_RANGE);
    let whence = match (args.ports, args.range, kernel.port_range) {
        (Some(_), ..) => String::new(),
        (None, Some((first, last)), _) => format!(" ({first}-{last})"),
        (None, None, Some(_)) => format!(" ({}-{}, this machine's)", own.0, own.1),
        (None, None, None) => format!(" ({}-{}, Linux' default)", own.0, own.1),
    };
    format!(
        "Source ports: {}{whence} of each source address towards each destination",
        question.supply.ports
    )
}

/// `None`: all of them may be in use.
fn limit(question: &Question) -> Option<String> {
    let limit = question.supply.limit() / question.supply.sources;
    (limit != question.supply.ports)
        .then(|| format!("Of these, {limit} may be in use, since the last ones are expensive to find"))
}

fn time_wait(args: &CapacityArgs, question: &Question, kernel: &Kernel) -> String {
    let because = match (args.time_wait, args.tcp_tw_reuse, kernel.tw_reuse) {
        (Some(_), ..) => String::new(),
        (None, Some(asked), _) => format!(", with tcp_tw_reuse = {asked}"),
        (None, None, Some(own)) => format!(", with tcp_tw_reuse = {own} (this machine's)"),
        (None, None, None) => ", as Linux does by default".to_owned(),
    };
    format!("TIME_WAIT holds a port for {}{because}", time(question.time_wait))
}

/// What the table says of the worst policy and of the one that a pool has by default.
fn in_words(question: &Question, answers: &[Answer]) -> Vec<String> {
    let is_plain = |answer: &&Answer| answer.demand.pooling == Pooling::Off && leaves_time_wait(answer.demand.close);
    let plain = answers.iter().find(is_plain).map(|answer| {
        let hold = time(question.time_wait + question.response_time);
        let each = format!("Unpooled, with plain FIN closes, each request holds a port for {hold}");
        match answer.runs_out() {
            Some(Duration::ZERO) => format!(
                "{each},\n\
                 and there are fewer than the connections that are open at once."
            ),
            Some(after) => format!(
                "{each}: none is left after {},\n\
                 and {} is what can go on for ever.",
                time(after),
                sustains(answer.of_all)
            ),
            None => format!("{each}: {} are in use in the long run.", answer.budget.needed()),
        }
    });
    let mut pooled = answers.iter().filter(|answer| answer.demand.pooling != Pooling::Off);
    let is_default = |answer: &&Answer| answer.demand.close == Close::default();
    let pooled = pooled.clone().find(is_default).or_else(|| pooled.next()).map(|answer| {
        let ports = counted(answer.budget.needed(), "port");
        match answer.runs_out() {
            Some(_) => format!(
                "Pooled, with close = \"{}\", there are too few as well.",
                answer.demand.close.name()
            ),
            None => format!(
                "Pooled, with close = \"{}\", the same load needs {ports}.",
                answer.demand.close.name()
            ),
        }
    });
    plain.into_iter().chain(pooled).collect()
}

pub(super) fn json(question: &Question, answers: &[Answer]) -> String {
    let policy = |answer: &Answer| {
        let budget = &answer.budget;
        json!({
            "pooling": if answer.demand.pooling == Pooling::Off { "unpooled" } else { "pooled" },
            "close": answer.demand.close.name(),
            "connections_per_second": budget.connections_per_second,
            "open": budget.open,
            "closing": budget.closing,
            "needed": budget.needed(),
            "runs_out_after_seconds": answer.runs_out().map(|after| after.as_secs_f64()),
            "requests_per_second_of_one_address": answer.of_one_address,
            "requests_per_second_of_all": answer.of_all,
        })
    };
    let value = json!({
        "requests_per_second": question.requests_per_second,
        "response_time_seconds": question.response_time.as_secs_f64(),
        "sources": question.supply.sources,
        "destinations": question.destinations,
        "ports": question.supply.ports,
        "limit": question.supply.limit(),
        "time_wait_seconds": question.time_wait.as_secs_f64(),
        "policies": answers.iter().map(policy).collect::<Vec<Value>>(),
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/capacity.md"));

    fn kernel() -> Kernel {
        Kernel {
            port_range: Some(DEFAULT_RANGE),
            tw_reuse: Some(2),
            timestamps: Some(1),
            local_port_range_option: true,
            ..Kernel::default()
        }
    }

    fn printed(line: &str) -> String {
        let flags = line.strip_prefix("forebay bench capacity ").expect(line);
        let (args, kernel) = (parse(flags).expect(line), kernel());
        let question = args.question(&kernel);
        table(&args, &question, &question.answers(), &kernel)
    }

    /// Commands of a page and what it shows as their output.
    fn shown() -> Vec<(&'static str, &'static str)> {
        let blocks = PAGE.split("```").skip(1).step_by(2);
        let commands = blocks.filter_map(|block| block.split_once("\n$ ")?.1.split_once('\n'));
        commands
            .filter(|(command, _)| command.starts_with("forebay bench capacity"))
            .collect()
    }

    #[test]
    fn the_page_shows_what_the_command_prints() {
        let shown = shown();
        assert!(shown.len() >= 4, "{shown:?}");
        for (command, output) in shown {
            assert_eq!(output.trim_end(), printed(command).trim_end(), "{command}");
        }
    }

    #[test]
    fn the_figures_are_those_of_the_formula() {
        for (line, closes_per_second) in [
            ("--time-wait 240s --ports 60000", 60_000.0 / 240.0),
            ("--tcp-tw-reuse 0 --ports 60000", 60_000.0 / 61.0),
            ("--tcp-tw-reuse 2", 28_232.0 / 61.0),
            ("--tcp-tw-reuse 1", 28_232.0),
            (
                "--tcp-tw-reuse 0 --range 1024-65535 --sources 2 --destinations 3",
                6.0 * 64_512.0 / 61.0,
            ),
        ] {
            let text = printed(&format!(
                "forebay bench capacity --response-time 0s --max-fill 1 --pooling unpooled --close fin {line}"
            ));
            let row = text
                .lines()
                .find(|line| line.starts_with("  unpooled"))
                .expect("there is one policy");
            assert_eq!(
                row.split_whitespace().last(),
                Some(&*format!("{closes_per_second:.0}/s")),
                "{text}"
            );
        }
    }

    #[test]
    fn lines_fit_into_100_columns() {
        let text = printed(
            "forebay bench capacity --requests-per-second 999999 --response-time 7s --sources 9 --destinations 1",
        );
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{longest:?} in\n{text}");
    }

    #[test]
    fn json_has_the_same_figures() {
        let args = parse("--requests-per-second 1000 --close fin --pooling unpooled").unwrap();
        let question = args.question(&kernel());
        let value: Value = serde_json::from_str(&json(&question, &question.answers())).unwrap();
        let policy = &value["policies"][0];
        assert_eq!(
            (policy["needed"].as_u64(), policy["pooling"].as_str()),
            (Some(61_130), Some("unpooled"))
        );
        assert_eq!(policy["runs_out_after_seconds"].as_f64().map(f64::floor), Some(26.0));
        assert_eq!(value["limit"], 26_820);
    }
}
