//! Axes: which values there is room for, where each is drawn, and which are named.

/// What an axis counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// With the unit, unless it is [`Unit::Seconds`]: "requests/s".
    pub label: String,
    pub scale: Scale,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero, if that is not far off the values.
    Linear,
    /// Equal ratios have equal lengths. Values above zero only.
    Logarithmic,
}

/// How the values at the ticks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `500`, `20k`, `1.5M`.
    Count,
    /// Values are seconds: `100 µs`, `5 ms`, `20 s`, `3 min`, `2 h`.
    Seconds,
}

impl Axis {
    pub fn count(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            scale: Scale::Linear,
            unit: Unit::Count,
        }
    }

    pub fn seconds(label: impl Into<String>) -> Self {
        Self {
            unit: Unit::Seconds,
            ..Self::count(label)
        }
    }

    #[must_use]
    pub fn logarithmic(self) -> Self {
        Self {
            scale: Scale::Logarithmic,
            ..self
        }
    }

    /// The axis with room for all of `values`, drawn between `start` and `end`, which may lie in either direction.
    pub(super) fn project(&self, values: impl Iterator<Item = f64>, start: f64, end: f64) -> Projection {
        let shown = values.filter(|value| self.scale.shows(*value));
        let range = shown.fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) = match self.scale {
            Scale::Linear => linear_range(range.unwrap_or((0.0, 1.0))),
            Scale::Logarithmic => logarithmic_range(range.unwrap_or((1.0, 10.0))),
        };
        Projection {
            scale: self.scale,
            unit: self.unit,
            low,
            high,
            start,
            end,
        }
    }
}

impl Scale {
    fn shows(self, value: f64) -> bool {
        // Beyond these there is no arithmetic left for ticks, and nothing that anybody measures.
        let is_number = value.is_finite() && value.abs() < 1e18;
        match self {
            Self::Linear => is_number,
            Self::Logarithmic => is_number && value > 1e-12,
        }
    }
}

/// Zero belongs to it unless all values are on one side and their differences are small against their size.
fn linear_range((low, high): (f64, f64)) -> (f64, f64) {
    let spread = high - low;
    let low = if low > 0.0 && spread < low / 4.0 && spread > low * 1e-9 {
        low
    } else {
        low.min(0.0)
    };
    let high = high.max(if low < 0.0 { 0.0 } else { low });
    // Differences below that are nothing that anybody measures.
    if high - low > 1e-9 {
        (low, high)
    } else {
        (low, low + 1.0)
    }
}

/// Whole decades, if there are several; else up to the next of 1, 2 and 5.
fn logarithmic_range((low, high): (f64, f64)) -> (f64, f64) {
    let low = steps_down(low);
    let high = steps_up(high);
    if high > low { (low, high) } else { (low, low * 10.0) }
}

fn steps_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let fits = |factor: &f64| decade * factor <= value * (1.0 + 1e-9);
    [5.0, 2.0, 1.0].into_iter().find(fits).unwrap_or(1.0) * decade
}

fn steps_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let fits = |factor: &f64| decade * factor >= value * (1.0 - 1e-9);
    [1.0, 2.0, 5.0, 10.0].into_iter().find(fits).unwrap_or(10.0) * decade
}

/// Where the values of an axis are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projection {
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

/// A value that is named on its axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub at: f64,
    pub label: String,
}

impl Projection {
    /// `None`: the axis cannot show the value.
    pub fn place(&self, value: f64) -> Option<f64> {
        if !self.scale.shows(value) {
            return None;
        }
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        Some(self.start + share.clamp(0.0, 1.0) * (self.end - self.start))
    }

    /// Some `about` as many ticks, at round values.
    pub fn ticks(&self, about: usize) -> Vec<Tick> {
        let values = match self.scale {
            Scale::Linear => self.linear_ticks(about),
            Scale::Logarithmic => self.logarithmic_ticks(about),
        };
        let placed = values.into_iter().filter_map(|(value, label)| {
            let at = self.place(value)?;
            Some(Tick { at, label })
        });
        placed.collect()
    }

    fn linear_ticks(&self, about: usize) -> Vec<(f64, String)> {
        // All ticks in the same unit.
        let largest = self.low.abs().max(self.high.abs());
        let (unit, name) = self.unit.for_size(largest);
        let step = round_step((self.high - self.low) / unit / about as f64);
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (self.low / unit / step - 1e-6).ceil() as i64;
        let last = (self.high / unit / step + 1e-6).floor() as i64;
        let values = (first..=last).map(|count| count as f64 * step);
        values
            .map(|value| (value * unit, labelled(value, decimals, name)))
            .collect()
    }

    /// Powers of ten; where there are few, also twice and five times as much; where there are many, not all.
    fn logarithmic_ticks(&self, about: usize) -> Vec<(f64, String)> {
        let (low, high) = (self.low.log10(), self.high.log10());
        let factors: &[f64] = if (high - low) * 3.0 <= about as f64 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let every = ((high - low) / about as f64).ceil().max(1.0) as usize;
        let decades = ((low - 1e-9).floor() as i32..=(high + 1e-9).floor() as i32).step_by(every);
        let values = decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)));
        let inside = values.filter(|value| *value >= self.low * (1.0 - 1e-9) && *value <= self.high * (1.0 + 1e-9));
        let label = |value: f64| {
            let (unit, name) = self.unit.for_size(value);
            let decimals = (-(value / unit * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 12.0) as usize;
            labelled(value / unit, decimals, name)
        };
        inside.map(|value| (value, label(value))).collect()
    }
}

impl Unit {
    /// The unit for values of about this size, and what is written after them.
    fn for_size(self, size: f64) -> (f64, &'static str) {
        // A little less, for what arithmetic makes of a round value.
        let is_from = |least: &(f64, f64, &str)| size >= least.0 * (1.0 - 1e-9);
        let of = |units: &[(f64, f64, &'static str)], smallest| {
            let found = units.iter().find(|unit| is_from(unit));
            found.map_or(smallest, |&(_, unit, name)| (unit, name))
        };
        match self {
            Self::Count => of(&[(1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")], (1.0, "")),
            Self::Seconds => of(
                &[
                    (7200.0, 3600.0, " h"),
                    (300.0, 60.0, " min"),
                    (1.0, 1.0, " s"),
                    (1e-3, 1e-3, " ms"),
                ],
                (1e-6, " µs"),
            ),
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    steps_up(least.max(1e-12))
}

/// Of a label; others have an exponent.
const LONGEST_NUMBER: usize = 12;

fn labelled(value: f64, decimals: usize, unit: &str) -> String {
    let number = format!("{value:.decimals$}");
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => &number,
    };
    // Zero is zero in all units, and has no sign.
    if matches!(number, "0" | "-0") {
        "0".to_owned()
    } else if number.len() > LONGEST_NUMBER {
        // The values of ticks have few digits.
        format!("{value:.4e}{unit}")
    } else {
        format!("{number}{unit}")
    }
}
