//! Line charts as SVG, to stand in a page or alone.
//!
//! Text stays text, and what is no line is drawn in `currentColor`, so that a chart takes the colours of the page that it
//! stands in, light or dark. Alone it follows the reader's preference.

mod axis;
mod page;
mod palette;
#[cfg(test)]
mod tests;

use std::fmt::Write;

pub use axis::{Axis, Scale, Unit};
use axis::{Projection, Tick};
pub use page::page;
pub use palette::Palette;

const WIDTH: f64 = 700.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = WIDTH - 16.0;
const BOTTOM: f64 = HEIGHT - 42.0;

/// Where the names of the lines begin, and how much lower each further row of them is.
const LEGEND: f64 = 44.0;
const LEGEND_ROW: f64 = 17.0;

/// The length of the sample before a name.
const SAMPLE: f64 = 18.0;

/// Wider than a letter of the fonts that browsers choose, on average; text cannot be measured here.
const LETTER: f64 = 6.6;

/// One chart: some lines over a common x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// Values that lines are compared with.
    pub marks: Vec<Mark>,
}

/// One line of a chart. Two of the same name in charts of one page have the same colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub name: String,
    /// In the order of x. What an axis cannot show (no number, or nothing above zero on a logarithmic one) is a gap.
    pub points: Vec<(f64, f64)>,
    pub shape: Shape,
}

/// What is between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A slope.
    Straight,
    /// The first one's value, up to the second one.
    Step,
}

/// A value with a name, as a dashed line across the chart.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// Of x: a moment.
    At { x: f64, label: String },
    /// Of y: a limit.
    Level { y: f64, label: String },
}

impl Line {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            shape: Shape::Straight,
        }
    }

    pub fn steps(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            shape: Shape::Step,
            ..Self::new(name, points)
        }
    }
}

/// One SVG document with all charts, one below the other.
pub fn stacked(charts: &[Chart]) -> String {
    let palette = Palette::of(charts);
    let height = HEIGHT * charts.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\">\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let y = HEIGHT * index as f64;
        svg.push_str(
            &chart
                .svg_with(&palette)
                .replacen("<svg ", &format!("<svg y=\"{y}\" "), 1),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

impl Chart {
    /// A chart of nothing so far.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            lines: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// An SVG document, 700 x 280, which can also stand in HTML as it is.
    pub fn svg(&self) -> String {
        self.svg_with(&Palette::of([self]))
    }

    /// The same, with the colours that lines have in the other charts of `palette` too.
    pub fn svg_with(&self, palette: &Palette) -> String {
        let mut svg = String::new();
        let title = escape(&self.title);
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\" fill=\"currentColor\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
             <style>@media (prefers-color-scheme: dark) {{ :root.chart {{ color: #e4e4e4; background: #16181c }} }}\
             </style>\n<text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"600\">{title}</text>\n",
        );
        let top = self.draw_legend(&mut svg, palette) + 14.0;
        let x = self.x.project(self.xs(), LEFT, RIGHT);
        let y = self.y.project(self.ys(), BOTTOM, top + self.headroom());
        self.draw_axes(&mut svg, &x, &y, top);
        if self.lines.iter().all(|line| subpaths(line, &x, &y).is_empty()) {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" opacity=\"0.6\">nothing was measured</text>",
                (LEFT + RIGHT) / 2.0,
                (top + BOTTOM) / 2.0
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            let stroke = format!(
                " stroke-width=\"{:.1}\"{}",
                self.width(index),
                palette.stroke(&line.name)
            );
            draw_line(&mut svg, line, &stroke, &x, &y);
        }
        self.draw_marks(&mut svg, &x, &y, top);
        svg.push_str("</svg>\n");
        svg
    }

    /// Thinner from line to line, so that one that lies on another hides it only in part.
    fn width(&self, index: usize) -> f64 {
        let below = self.lines.len() - 1 - index;
        2.0 + 2.0 * below as f64 / self.lines.len().max(2) as f64
    }

    /// What is left free above the highest value: a little, or room for what is written at moments.
    fn headroom(&self) -> f64 {
        let has_moments = self.marks.iter().any(|mark| matches!(mark, Mark::At { .. }));
        if has_moments { 30.0 } else { 8.0 }
    }

    fn xs(&self) -> impl Iterator<Item = f64> {
        let of_lines = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.0));
        of_lines.chain(self.marks.iter().filter_map(|mark| match mark {
            Mark::At { x, .. } => Some(*x),
            Mark::Level { .. } => None,
        }))
    }

    fn ys(&self) -> impl Iterator<Item = f64> {
        let of_lines = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1));
        of_lines.chain(self.marks.iter().filter_map(|mark| match mark {
            Mark::Level { y, .. } => Some(*y),
            Mark::At { .. } => None,
        }))
    }

    /// The names of the lines, in as many rows as they need; gives where the last row stands.
    fn draw_legend(&self, svg: &mut String, palette: &Palette) -> f64 {
        let (mut x, mut y) = (12.0, LEGEND);
        for line in &self.lines {
            let width = SAMPLE + 6.0 + line.name.chars().count() as f64 * LETTER + 16.0;
            if x + width > WIDTH && x > 12.0 {
                (x, y) = (12.0, y + LEGEND_ROW);
            }
            let (end, middle, text) = (x + SAMPLE, y - 4.0, x + SAMPLE + 6.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {middle:.1}H{end:.1}\" fill=\"none\" stroke-width=\"3\"{}/>\
                 <text x=\"{text:.1}\" y=\"{y:.1}\">{}</text>",
                palette.stroke(&line.name),
                escape(&line.name)
            );
            x += width;
        }
        y
    }

    fn draw_axes(&self, svg: &mut String, x: &Projection, y: &Projection, top: f64) {
        for Tick { at, label } in y.ticks(5) {
            let text = at + 4.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"currentColor\" opacity=\"0.15\"/>\
                 <text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\" opacity=\"0.8\">{label}</text>",
                LEFT - 8.0
            );
        }
        for Tick { at, label } in x.ticks(9) {
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {BOTTOM}v5\" stroke=\"currentColor\" opacity=\"0.6\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" opacity=\"0.8\">{label}</text>",
                BOTTOM + 18.0
            );
        }
        let (side, above) = (escape(&self.x.label), escape(&self.y.label));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {top:.1}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"currentColor\" opacity=\"0.6\"/>\
             <text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\" opacity=\"0.8\">{side}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\" opacity=\"0.8\">{above}</text>",
            HEIGHT - 8.0,
            (top + BOTTOM) / 2.0
        );
    }

    fn draw_marks(&self, svg: &mut String, x: &Projection, y: &Projection, top: f64) {
        let mut taken = Vec::new();
        for mark in &self.marks {
            let (path, label, text_x, wanted, anchor) = match mark {
                Mark::At { x: value, label } => {
                    let Some(at) = x.place(*value) else { continue };
                    let path = format!("M{at:.1} {top:.1}V{BOTTOM}");
                    // Beside the mark, on the side where there is more room.
                    let (text, anchor) = if at > (LEFT + RIGHT) / 2.0 {
                        (at - 5.0, "end")
                    } else {
                        (at + 5.0, "start")
                    };
                    (path, label, text, top + 11.0, anchor)
                }
                Mark::Level { y: value, label } => {
                    let Some(at) = y.place(*value) else { continue };
                    (format!("M{LEFT} {at:.1}H{RIGHT}"), label, RIGHT - 4.0, at - 4.0, "end")
                }
            };
            let text_y = free_height(&mut taken, wanted.max(top + 11.0));
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"currentColor\" stroke-dasharray=\"5 4\" opacity=\"0.7\"/>\
                 <text x=\"{text_x:.1}\" y=\"{text_y:.1}\" text-anchor=\"{anchor}\" font-size=\"11\">{}</text>",
                escape(label)
            );
        }
    }
}

/// The first height at or below the `wanted` one where no other label stands.
fn free_height(taken: &mut Vec<f64>, wanted: f64) -> f64 {
    let mut height = wanted;
    while taken.iter().any(|other: &f64| (other - height).abs() < 12.0) {
        height += 4.0;
    }
    taken.push(height);
    height
}

fn draw_line(svg: &mut String, line: &Line, stroke: &str, x: &Projection, y: &Projection) {
    let mut path = String::new();
    for points in subpaths(line, x, y) {
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = match (index, line.shape) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, Shape::Straight) => write!(path, "L{x:.1} {y:.1}"),
                (_, Shape::Step) => write!(path, "H{x:.1}V{y:.1}"),
            };
        }
        if points.len() == 1 {
            // A dot: the caps of a line without length.
            path.push_str("h0");
        }
    }
    if path.is_empty() {
        return;
    }
    let _ = writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\"{stroke}>\
         <title>{}</title></path>",
        escape(&line.name)
    );
}

/// The points of a line where they are drawn, without its gaps.
fn subpaths(line: &Line, x: &Projection, y: &Projection) -> Vec<Vec<(f64, f64)>> {
    let place = |&(at, value): &(f64, f64)| Some((x.place(at)?, y.place(value)?));
    let placed: Vec<_> = line.points.iter().map(place).collect();
    let parts = placed.split(Option::is_none).filter(|part| !part.is_empty());
    parts.map(|part| part.iter().flatten().copied().collect()).collect()
}

/// Text that means itself in XML and HTML, inside of elements and of quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No document may hold these, escaped or not (XML 1.0, 2.2).
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            _ if letter.is_control() && !matches!(letter, '\n' | '\t') => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(letter),
        }
    }
    escaped
}
