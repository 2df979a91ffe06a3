use proptest::prelude::*;

use super::*;

/// Holds text to the grammar of XML, as far as charts use it, and gives the attributes' names and values, and the texts under an
/// empty name; all unescaped.
fn read_xml(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        let (text, tag) = rest.split_at(start);
        found.push((String::new(), unescape(text)));
        let end = tag.find('>').expect("a tag ends");
        let (tag, after) = (&tag[1..end], &tag[end + 1..]);
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {document}");
        } else {
            let (tag, closes) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(
                name.chars().all(|letter| letter.is_ascii_alphabetic()),
                "<{name}> in {document}"
            );
            let mut quoted = attributes.split('"');
            while let (Some(name), Some(value)) = (quoted.next(), quoted.next()) {
                let name = name.trim().strip_suffix('=').expect("an attribute has a value");
                assert!(
                    name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-'),
                    "{name}"
                );
                found.push((name.to_owned(), unescape(value)));
            }
            if !closes {
                open.push(name);
            }
        }
        rest = after;
    }
    assert!(
        open.is_empty() && rest.trim().is_empty(),
        "{open:?} is open, {rest:?} is left in {document}"
    );
    found
}

fn unescape(text: &str) -> String {
    assert!(!text.contains(['<', '>']), "{text}");
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'")];
    let plain = entities
        .iter()
        .fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter));
    assert_eq!(
        plain.matches('&').count(),
        plain.matches("&amp;").count(),
        "a bare & in {text}"
    );
    plain.replace("&amp;", "&")
}

fn strange() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -10.0..1e6,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-9, 1.0]),
    ]
}

fn any_axis() -> impl Strategy<Value = Axis> {
    let scale = prop::sample::select(vec![Scale::Linear, Scale::Logarithmic]);
    let unit = prop::sample::select(vec![Unit::Count, Unit::Seconds]);
    (any::<String>(), scale, unit).prop_map(|(label, scale, unit)| Axis { label, scale, unit })
}

fn any_chart() -> impl Strategy<Value = Chart> {
    let shape = prop::sample::select(vec![Shape::Straight, Shape::Step]);
    let points = prop::collection::vec((strange(), strange()), 0..9);
    let line = (any::<String>(), points, shape).prop_map(|(name, points, shape)| Line { name, points, shape });
    let mark = prop_oneof![
        (strange(), any::<String>()).prop_map(|(x, label)| Mark::At { x, label }),
        (strange(), any::<String>()).prop_map(|(y, label)| Mark::Level { y, label }),
    ];
    let lines = prop::collection::vec(line, 0..9);
    let marks = prop::collection::vec(mark, 0..4);
    (any::<String>(), any_axis(), any_axis(), lines, marks).prop_map(|(title, x, y, lines, marks)| Chart {
        title,
        x,
        y,
        lines,
        marks,
    })
}

proptest! {
    #[test]
    fn every_chart_is_well_formed_and_says_its_names(chart in any_chart()) {
        let svg = chart.svg();
        let texts = read_xml(&svg);
        let names = chart.lines.iter().map(|line| &line.name).chain([&chart.title, &chart.x.label, &chart.y.label]);
        let is_plain = |letter: char| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}');
        for name in names.filter(|name| name.chars().all(is_plain)) {
            prop_assert!(texts.iter().any(|(attribute, text)| attribute.is_empty() && text == name), "no {name:?} in {svg}");
        }
        for (_, path) in texts.iter().filter(|(attribute, _)| attribute == "d") {
            // No "NaN" and no "inf" either.
            let is_path = path.chars().all(|letter| letter.is_ascii_digit() || " .-MHVLhv".contains(letter));
            prop_assert!(is_path && path.starts_with('M'), "{path}");
        }
    }

    #[test]
    fn ticks_lie_inside_in_order_and_differ(
        axis in any_axis(),
        values in prop::collection::vec(strange(), 1..9),
        about in 2_usize..12,
    ) {
        let axis = axis.project(values.iter().copied(), 10.0, 500.0);
        let ticks = axis.ticks(about);
        prop_assert!(ticks.len() <= 3 * about, "{ticks:?}");
        for tick in &ticks {
            prop_assert!((10.0..=500.0).contains(&tick.at), "{ticks:?}");
            prop_assert!(tick.label.chars().count() <= 16, "{ticks:?}");
        }
        for pair in ticks.windows(2) {
            prop_assert!(pair[0].at < pair[1].at && pair[0].label != pair[1].label, "{ticks:?}");
        }
    }

    #[test]
    fn what_is_larger_is_drawn_further_on(axis in any_axis(), values in prop::collection::vec(0.001_f64..1e6, 2..9)) {
        let axis = axis.project(values.iter().copied(), 10.0, 500.0);
        for pair in values.windows(2) {
            let places = (axis.place(pair[0]).unwrap(), axis.place(pair[1]).unwrap());
            prop_assert!((pair[0] <= pair[1]) == (places.0 <= places.1) || pair[0] == pair[1], "{pair:?}: {places:?}");
        }
    }
}

fn labels(axis: &Axis, low: f64, high: f64, about: usize) -> Vec<String> {
    let ticks = axis.project([low, high].into_iter(), 0.0, 100.0).ticks(about);
    ticks.into_iter().map(|tick| tick.label).collect()
}

#[test]
fn ticks_are_round_and_in_units_that_people_use() {
    let count = Axis::count("");
    assert_eq!(labels(&count, 0.0, 470.0, 5), ["0", "100", "200", "300", "400"]);
    assert_eq!(labels(&count, 3.0, 28_232.0, 5), ["0", "10k", "20k"]);
    assert_eq!(labels(&count, 0.0, 1.0, 5), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    assert_eq!(labels(&count, -2.0, 2.0, 5), ["-2", "-1", "0", "1", "2"]);
    let seconds = Axis::seconds("");
    assert_eq!(labels(&seconds, 0.0, 20.0, 4), ["0", "5 s", "10 s", "15 s", "20 s"]);
    assert_eq!(labels(&seconds, 0.0, 360.0, 3), ["0", "2 min", "4 min", "6 min"]);
    let logarithmic = seconds.logarithmic();
    assert_eq!(
        labels(&logarithmic, 0.000_1, 0.05, 9),
        [
            "100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"
        ]
    );
    assert_eq!(
        labels(&count.logarithmic(), 1.0, 1e6, 9),
        ["1", "10", "100", "1000", "10k", "100k", "1M"]
    );
}

#[test]
fn a_line_has_one_colour_in_all_charts() {
    let chart = |names: &[&str]| Chart {
        lines: names.iter().map(|name| Line::new(*name, vec![(0.0, 1.0)])).collect(),
        ..Chart::new("", Axis::seconds(""), Axis::count(""))
    };
    let (one, other) = (chart(&["pooled", "unpooled"]), chart(&["direct", "unpooled"]));
    let palette = Palette::of([&one, &other]);
    let strokes = ["pooled", "unpooled", "direct", "unheard of"].map(|name| palette.stroke(name));
    for svg in [one.svg_with(&palette), other.svg_with(&palette)] {
        assert_eq!(svg.matches(&strokes[1]).count(), 2, "the line and its sample in {svg}");
    }
    let many: Vec<String> = (0..24).map(|index| format!("line {index}")).collect();
    let many = chart(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let palette = Palette::of([&many]);
    let mut strokes: Vec<_> = many.lines.iter().map(|line| palette.stroke(&line.name)).collect();
    strokes.sort_unstable();
    strokes.dedup();
    assert_eq!(strokes.len(), 24);
}

#[test]
fn what_cannot_be_shown_is_a_gap() {
    let line = Line::new("some", vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 3.0)]);
    let chart = Chart {
        lines: vec![line],
        ..Chart::new("gap", Axis::seconds("time"), Axis::count("requests"))
    };
    let svg = chart.svg();
    let path = svg
        .lines()
        .find(|line| line.contains("<title>some</title>"))
        .expect("the line is drawn");
    assert_eq!(
        (
            path.matches('M').count(),
            path.matches('L').count(),
            path.matches("h0").count()
        ),
        (2, 1, 1),
        "{path}"
    );
    let nothing = Chart {
        lines: Vec::new(),
        ..chart
    };
    assert!(nothing.svg().contains(">nothing was measured<"));
}

#[test]
fn a_step_goes_up_at_its_end() {
    let chart = Chart {
        lines: vec![Line::steps("step", vec![(0.0, 0.0), (1.0, 1.0)])],
        ..Chart::new("", Axis::seconds(""), Axis::count(""))
    };
    let svg = chart.svg();
    let path = svg
        .lines()
        .find(|line| line.contains("<title>step</title>"))
        .expect("the line is drawn");
    assert!(path.contains("H684.0V") && !path.contains('L'), "{path}");
}

#[test]
fn labels_of_marks_do_not_lie_on_each_other() {
    let mut taken = Vec::new();
    let heights = [100.0, 101.0, 100.0, 200.0].map(|wanted| free_height(&mut taken, wanted));
    for (index, height) in heights.iter().enumerate() {
        for other in &heights[..index] {
            assert!((height - other).abs() >= 12.0, "{heights:?}");
        }
    }
    assert_eq!(heights[3], 200.0);
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let chart = Chart::new("<a>", Axis::seconds(""), Axis::count(""));
    let html = page("ports & more", "  1 < 2\n", &[chart]);
    assert!(
        html.contains("<h1>ports &amp; more</h1>") && html.contains("<pre>\n  1 &lt; 2\n</pre>"),
        "{html}"
    );
    assert!(html.contains(">&lt;a&gt;</text>"), "{html}");
    let namespace = "http://www.w3.org/2000/svg";
    assert_eq!(html.matches("http").count(), html.matches(namespace).count(), "{html}");
    assert!(!html.contains("src=") && !html.contains("href="), "{html}");
}

#[test]
fn charts_can_be_one_document() {
    let chart = |name: &str| Chart {
        lines: vec![Line::new(name, vec![(0.0, 1.0)])],
        ..Chart::new(name, Axis::seconds(""), Axis::count(""))
    };
    let svg = stacked(&[chart("one"), chart("other")]);
    let texts = read_xml(&svg);
    let heights: Vec<_> = texts
        .iter()
        .filter(|(attribute, _)| attribute == "viewBox")
        .map(|(_, text)| text)
        .collect();
    assert_eq!(heights, ["0 0 700 560", "0 0 700 280", "0 0 700 280"]);
    assert!(svg.contains("<svg y=\"280\" ") && svg.contains("#d55e00") && svg.contains("#0072b2"));
}
