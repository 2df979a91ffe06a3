//! Line charts as SVG, to stand in a page or alone.

/// One chart: some lines over a common x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    /// What x counts, with its unit: "seconds".
    pub x: String,
    /// What y counts, with its unit.
    pub y: String,
    pub lines: Vec<Line>,
}

/// One line of a chart. Two of the same name in charts of one page have the same colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub name: String,
    /// In the order of x.
    pub points: Vec<(f64, f64)>,
}
