//! Which line has which colour.

use super::Chart;

/// Colours that readers with any kind of colour blindness tell apart (Okabe and Ito, "Color Universal Design"), of those
/// the ones that can be seen on white and on black.
const COLOURS: [&str; 6] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Once all colours are taken, they are used again with other dashes.
const DASHES: [&str; 4] = ["", "7 4", "2 4", "9 3 2 3"];

/// The colours of the lines of some charts: the same for the same name.
#[derive(Debug, Clone, Default)]
pub struct Palette {
    /// In the order of the colours.
    names: Vec<String>,
}

impl Palette {
    /// Colours for the lines of these charts, in the order of their names' first appearance.
    pub fn of<'a>(charts: impl IntoIterator<Item = &'a Chart>) -> Self {
        let mut names: Vec<String> = Vec::new();
        for line in charts.into_iter().flat_map(|chart| &chart.lines) {
            if !names.contains(&line.name) {
                names.push(line.name.clone());
            }
        }
        Self { names }
    }

    /// The attributes that give a path the colour of the line of this name.
    pub(super) fn stroke(&self, name: &str) -> String {
        // A name from elsewhere comes after all that are known.
        let known = self.names.iter().position(|other| other == name);
        let index = known.unwrap_or(self.names.len());
        let colour = COLOURS[index % COLOURS.len()];
        match DASHES[index / COLOURS.len() % DASHES.len()] {
            "" => format!(" stroke=\"{colour}\""),
            dashes => format!(" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\""),
        }
    }
}
