//! One value of the file, read as what its key wants it to be.

use std::{
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeArray, DeValue},
};

use super::{
    problem::{Wrong, nearest},
    reader::{Context, Table},
    units::{parse_age, parse_duration, parse_size},
};

/// One value of the file, and the key that it stands under.
#[derive(Clone)]
pub(super) struct Value<'a> {
    context: &'a Context<'a>,
    /// The keys from the top of the file to this one, with dots.
    path: String,
    key: &'a str,
    value: &'a DeValue<'a>,
    span: Range<usize>,
}

/// What [`Value::word`] finds.
pub(super) enum Word {
    Is,
    /// Reported.
    IsNearly,
    IsNot,
}

impl<'a> Value<'a> {
    /// The value of `key` in the table `path`.
    pub(super) fn new(context: &'a Context<'a>, path: &str, key: &'a str, value: &'a Spanned<DeValue<'a>>) -> Self {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        Self {
            context,
            path,
            key,
            span: value.span(),
            value: value.get_ref(),
        }
    }

    pub(super) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// The key in quotes, fit for a message.
    fn key(&self) -> String {
        format!("`{}`", self.key.escape_debug())
    }

    pub(super) fn line(&self) -> usize {
        self.context.problems.line(self.span.start)
    }

    pub(super) fn report(&self, wrong: Wrong) {
        self.context.problems.value(self.span.clone(), wrong);
    }

    /// Reports something that another part of the file should have had.
    pub(super) fn report_absence(&self, wrong: Wrong) {
        self.context.problems.absence(self.span.clone(), wrong);
    }

    /// The value if it is right, else a report.
    pub(super) fn accept<T>(&self, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.report(wrong)).ok()
    }

    fn wrong_type(&self, wanted: &str, example: &str) -> Wrong {
        let message = format!("{} must be {wanted}, not {}", self.key(), type_name(self.value));
        Wrong::new(message).help(format!("write {example}"))
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn as_boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_empty_array(&self) -> bool {
        self.value.as_array().is_some_and(|array| array.is_empty())
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Text, which `example` (as written in the file) stands for in the help.
    pub(super) fn text(&self, example: &str) -> Option<&'a str> {
        let text = self.as_text();
        if text.is_none() {
            self.report(self.wrong_type("a string", example));
        }
        text
    }

    /// Text that `parse` understands.
    pub(super) fn parse<T>(&self, example: &str, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        self.text(example).and_then(|text| self.accept(parse(text)))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let boolean = self.as_boolean();
        if boolean.is_none() {
            self.report(self.wrong_type("true or false", "true or false, without quotes"));
        }
        boolean
    }

    pub(super) fn integer<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else {
            self.report(self.wrong_type("a whole number", &wanted));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fitting = number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok());
        if fitting.is_none() {
            let message = format!("{} is out of range", self.key());
            self.report(Wrong::new(message).help(format!("write {wanted}")));
        }
        fitting
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        self.number(0.0..=1.0, "a number from 0 to 1, such as 0.1")
    }

    /// A number with or without a point; `wanted` says in the help which ones are right.
    pub(super) fn number(&self, range: RangeInclusive<f64>, wanted: &str) -> Option<f64> {
        let written = match self.value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => {
                self.report(self.wrong_type("a number", wanted));
                return None;
            }
        };
        // No range has an infinite end, and `nan` is in none.
        let number = written.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("{} is out of range", self.key());
            self.report(Wrong::new(message).help(format!("write {wanted}")));
        }
        number
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.duration_by(parse_duration)
    }

    /// As [`Value::duration`], for what may last longer than anything that the proxy waits for.
    pub(super) fn age(&self) -> Option<Duration> {
        self.duration_by(parse_age)
    }

    fn duration_by(&self, parse: impl FnOnce(&str) -> Result<Duration, Wrong>) -> Option<Duration> {
        if let DeValue::Integer(integer) = self.value {
            self.report(self.wrong_type(
                "a duration",
                &format!("it with a unit and quotes: \"{}s\"", integer.as_str()),
            ));
            return None;
        }
        self.parse("a duration, such as \"4s\"", parse)
    }

    /// A duration above zero; `instead` says what to write to get what zero was meant for.
    pub(super) fn positive_duration(&self, instead: &str) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.report(Wrong::new(format!("{} must not be zero", self.key())).help(instead));
            return None;
        }
        Some(duration)
    }

    /// Whether the text is `word`, with a report if it is nearly so. For a key that takes a word in place of what its
    /// values usually are.
    pub(super) fn word(&self, word: &str) -> Word {
        match self.as_text() {
            Some(text) if text == word => Word::Is,
            Some(text) if nearest(text, std::iter::once(word)).is_some() => {
                let wrong = Wrong::new(format!("{} cannot be {text:?}", self.key()));
                self.report(wrong.suggest(text, std::iter::once(word)));
                Word::IsNearly
            }
            _ => Word::IsNot,
        }
    }

    /// Bytes, as text with a unit or as a plain number.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        if self.is_integer() {
            return self.integer(range);
        }
        let size = self.parse("a size, such as \"64KiB\"", parse_size)?;
        if range.contains(&size) {
            return Some(size);
        }
        let message = format!("{} is out of range", self.key());
        self.report(Wrong::new(message).help(format!("write {} to {} bytes", range.start(), range.end())));
        None
    }

    pub(super) fn items(&self, example: &str) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.value else {
            self.report(self.wrong_type("an array", example));
            return None;
        };
        Some(self.items_of(array))
    }

    fn items_of(&self, array: &'a DeArray<'a>) -> Vec<Value<'a>> {
        let item = |item: &'a Spanned<DeValue<'a>>| Value {
            value: item.get_ref(),
            span: item.span(),
            ..self.clone()
        };
        array.iter().map(item).collect()
    }

    /// The items that `read` accepts, in order.
    pub(super) fn list<T>(&self, example: &str, read: impl FnMut(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        Some(self.items(example)?.into_iter().filter_map(read).collect())
    }

    /// The entries of a table whose keys are the operator's choice, in the order of the file.
    pub(super) fn entries(&self, example: &str) -> Option<Vec<(Value<'a>, &'a str)>> {
        let DeValue::Table(table) = self.value else {
            self.report(self.wrong_type("a table", example));
            return None;
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| -> (Value<'a>, &'a str) {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            (Value::new(self.context, &self.path, name, value), name)
        };
        Some(entries.into_iter().map(entry).collect())
    }

    /// A table, all of whose keys `read` asks for.
    pub(super) fn table<T>(&self, example: &str, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        let DeValue::Table(entries) = self.value else {
            self.report(self.wrong_type("a table", example));
            return None;
        };
        Some(Table::read(self.context, &self.path, entries, self.span.clone(), read))
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
