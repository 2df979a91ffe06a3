//! How problems are reported, whatever the file.

use proptest::prelude::*;

use super::super::*;

const FULL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml"));

pub(super) const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
pub(super) const ROUTE: &str = "[[route]]\ncluster = \"api\"\n";
pub(super) const CLUSTER: &str = "[cluster.api]\nendpoints = [\"10.0.0.1:9000\"]\n";

pub(super) fn problems_of(text: &str) -> Vec<Problem> {
    match parse(text, "forebay.toml") {
        Ok(config) => panic!("no problem in\n{text}\n{config:#?}"),
        Err(problems) => problems.iter().cloned().collect(),
    }
}

/// Demands one problem, with these parts in its message and its help.
pub(super) fn expect_one(text: &str, message: &str, help: &str) {
    let problems = problems_of(text);
    let [problem] = problems.as_slice() else {
        panic!("not one problem in\n{text}\n{problems:#?}")
    };
    assert!(
        problem.message.contains(message),
        "{message:?} is not in {problem:#?} of\n{text}"
    );
    let given = problem.help.as_deref().unwrap_or_default();
    assert!(
        !given.is_empty() && given.contains(help),
        "{help:?} is not in {problem:#?} of\n{text}"
    );
}

#[test]
fn a_problem_is_shown_with_everything_that_helps() {
    let text = format!("{LISTENER}{ROUTE}{CLUSTER}[cluster.api.pool]\nidle_timout = \"4s\"\n");
    let expected = "\
error: unknown key `idle_timout` in `cluster.api.pool`
 --> forebay.toml:8:1
  |
8 | idle_timout = \"4s\"
  | ^^^^^^^^^^^
  |
  = help: did you mean `idle_timeout`?";
    assert_eq!(parse(&text, "forebay.toml").unwrap_err().to_string(), expected);
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
[log]
level = \"loud\"
[process]
workers = 0
[[listener]]
adress = \":8080\"
[[route]]
cluster = \"apy\"
[cluster.api]
endpoints = [\"a\", \"b\"]
";
    let lines: Vec<_> = problems_of(text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4, 5, 6, 8, 10, 10]);
}

#[test]
fn broken_syntax_is_reported_with_what_is_wrong_elsewhere() {
    let text = "[log]\nlevel = info\n[process]\nworkers = 0\n[[listener]\naddress = \":1\"\n";
    let problems = problems_of(text);
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!((lines[0], lines[1]), (2, 4), "{problems:#?}");
    assert!(lines.contains(&5), "{problems:#?}");
    assert!(problems[0].help.as_deref().unwrap().contains("quotes"), "{problems:#?}");
    assert!(
        problems.iter().all(|problem| !problem.message.contains("there is no")),
        "{problems:#?}"
    );
    expect_one(
        "[log]\nlevel = \"info\"\nlevel = \"warn\"\n[[listener]]\n",
        "duplicate key",
        "once",
    );
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    let text = "\"\\u001bx\" = 1\n[log]\nlevel = \"\\u001b[2J\"\n[cluster.\"\\u0007\"]\n";
    let shown = parse(text, "f").unwrap_err().to_string();
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
}

/// Both of the text, in its own terms.
fn assert_inside(text: &str, problems: &Problems) {
    let lines: Vec<_> = text.split('\n').collect();
    for problem in problems.iter() {
        assert!((1..=lines.len()).contains(&problem.line), "{problem:?} of {text:?}");
        let length = lines[problem.line - 1].chars().count();
        assert!((1..=length + 1).contains(&problem.column), "{problem:?} of {text:?}");
        assert!(!problem.message.is_empty());
    }
    assert!(problems.iter().count() > 0);
    assert!(problems.render(Rendering::Colored).len() >= problems.to_string().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Err(problems) = parse(&text, "f") {
            assert_inside(&text, &problems);
        }
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_or_refused(
        at in 0..FULL.len(),
        length in 0_usize..60,
        instead in "[\\[\\]{}=\"'#.,\\n\\r\\t a-z0-9é\u{0}-]{0,8}",
    ) {
        let mut text = FULL.replace("\n#[", "\n[").into_bytes();
        let end = (at + length).min(text.len());
        text.splice(at.min(end)..end, instead.bytes());
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Err(problems) = parse(&text, "f") {
            assert_inside(&text, &problems);
        }
    }
}
