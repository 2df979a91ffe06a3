//! Text and charts as one page.

use super::{Chart, Palette, escape};

/// As the text is printed in a terminal: it is laid out in columns.
const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1d2126; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --paper: #16181c; } }
body { max-width: 920px; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font-family: system-ui, sans-serif; }
pre { overflow-x: auto; font-size: 0.85rem; line-height: 1.45; }
svg.chart { display: block; width: 100%; height: auto; margin: 1.5rem 0; }";

/// An HTML page that needs nothing from elsewhere.
pub fn page(title: &str, text: &str, charts: &[Chart]) -> String {
    let palette = Palette::of(charts);
    let charts: String = charts.iter().map(|chart| chart.svg_with(&palette)).collect();
    let (title, text) = (escape(title), escape(text));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{title}</h1>\n<pre>\n{text}</pre>\n{charts}</body>\n</html>\n"
    )
}
