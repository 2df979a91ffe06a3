//! Typed access to the keys of a TOML table, which reports what is wrong where it stands.
//!
//! A [`Table`] remembers which keys were asked for, so that all others are reported as unknown. Reading never stops:
//! a wrong value is reported and replaced by its default, which nobody gets to see, because a file with a problem
//! gives no config.

use std::{
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;

use super::problem::{Collector, Wrong};
pub(super) use super::value::{Value, Word};

/// What reading one file needs everywhere.
pub(super) struct Context<'a> {
    pub(super) problems: Collector<'a>,
    /// The folder of the file; `None` for a text of no folder, whose paths stay as they are and are not looked at.
    pub(super) base: Option<&'a Path>,
    /// The table, the key, and whether it was there, for each key that was asked for.
    #[cfg(test)]
    pub(super) asked: std::cell::RefCell<Vec<(String, &'static str, bool)>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(source: &'a str, base: Option<&'a Path>) -> Self {
        Self {
            problems: Collector::new(source),
            base,
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    /// `path` as seen from the folder of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base.map_or_else(|| path.into(), |base| base.join(path))
    }
}

/// A table whose keys are known.
pub(super) struct Table<'a> {
    context: &'a Context<'a>,
    /// The keys from the top of the file to this table, with dots; empty for the top.
    path: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Reads the whole file.
    pub(super) fn read_top<T>(
        context: &'a Context<'a>,
        entries: &'a DeTable<'a>,
        read: impl FnOnce(&mut Table<'a>) -> T,
    ) -> T {
        Self::read(context, "", entries, 0..0, read)
    }

    /// Reads the table at `path`, and reports each key that `read` does not ask for.
    pub(super) fn read<T>(
        context: &'a Context<'a>,
        path: &str,
        entries: &'a DeTable<'a>,
        span: Range<usize>,
        read: impl FnOnce(&mut Table<'a>) -> T,
    ) -> T {
        let mut table = Self {
            context,
            path: path.to_owned(),
            entries,
            span,
            asked: Vec::new(),
        };
        let read = read(&mut table);
        table.report_unknown_keys();
        read
    }

    fn report_unknown_keys(&self) {
        for key in self
            .entries
            .keys()
            .filter(|key| !self.asked.iter().any(|asked| *asked == key.get_ref().as_ref()))
        {
            let message = match self.path.as_str() {
                "" => format!("unknown key `{}`", key.get_ref().escape_debug()),
                path => format!(
                    "unknown key `{}` in `{}`",
                    key.get_ref().escape_debug(),
                    path.escape_debug()
                ),
            };
            let wrong = Wrong::new(message).suggest(key.get_ref(), self.asked.iter().copied());
            self.context.problems.value(key.span(), wrong);
        }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        let value = self.entries.get(key);
        #[cfg(test)]
        self.context
            .asked
            .borrow_mut()
            .push((self.path.clone(), key, value.is_some()));
        self.asked.push(key);
        value.map(|value| Value::new(self.context, &self.path, key, value))
    }

    /// Whether the file has `key`, which something else asks for.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the file has `key` with an array of nothing.
    pub(super) fn is_empty_array(&self, key: &str) -> bool {
        let array = self.entries.get(key).and_then(|value| value.get_ref().as_array());
        array.is_some_and(|array| array.is_empty())
    }

    /// Reports something wrong with the value of `key`, or with the table if the key is not there.
    pub(super) fn report(&self, key: &str, wrong: Wrong) {
        let span = self
            .entries
            .get(key)
            .map_or_else(|| self.span.clone(), |value| value.span());
        self.context.problems.value(span, wrong);
    }

    /// Reports that the table lacks something.
    pub(super) fn report_absence(&self, wrong: Wrong) {
        self.context.problems.absence(self.span.clone(), wrong);
    }

    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(Value<'a>) -> Option<T>) -> T {
        self.value(key).and_then(read).unwrap_or(default)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.or(key, default, |value| value.boolean())
    }

    pub(super) fn integer<T: TryFrom<u64>>(&mut self, key: &'static str, default: T, range: RangeInclusive<u64>) -> T {
        self.or(key, default, |value| value.integer(range))
    }

    /// Bytes.
    pub(super) fn size<T: TryFrom<u64>>(&mut self, key: &'static str, default: T, range: RangeInclusive<u64>) -> T {
        self.or(key, default, |value| {
            value.size(range).and_then(|size| T::try_from(size).ok())
        })
    }

    /// A duration that may be zero.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.or(key, default, |value| value.duration())
    }

    /// A duration above zero; `instead` says what to write to get what zero was meant for.
    pub(super) fn positive_duration(&mut self, key: &'static str, default: Duration, instead: &str) -> Duration {
        self.or(key, default, |value| value.positive_duration(instead))
    }

    /// One of the words of `choices`.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&'static str, T)]) -> T {
        self.or(key, default, |value| {
            let words = choices.iter().map(|(word, _)| *word);
            let example = words
                .clone()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(" or ");
            value.parse(&example, |text| {
                let chosen = choices.iter().find(|(word, _)| *word == text);
                let unknown = || Wrong::new(format!("`{key}` cannot be {text:?}")).suggest(text, words);
                chosen.map(|(_, choice)| *choice).ok_or_else(unknown)
            })
        })
    }

    /// The table under `key`, or `default` without one.
    pub(super) fn section<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&mut Table<'a>) -> T) -> T {
        let example = format!("`[{key}]` on a line of its own, or `{key} = {{ ... }}`");
        self.or(key, default, |value| value.table(&example, read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `read` makes of `source`, and the messages and helps of what it reports.
    fn read<T>(source: &str, read: impl for<'a> FnOnce(&mut Table<'a>) -> T) -> (T, Vec<(String, String)>) {
        let (entries, errors) = DeTable::parse_recoverable(source);
        assert!(errors.is_empty(), "{errors:?}");
        let context = Context::new(source, None);
        let value = Table::read_top(&context, entries.get_ref(), read);
        let problems = context.problems.finish("f");
        let texts =
            |problem: &super::super::Problem| (problem.message.clone(), problem.help.clone().unwrap_or_default());
        (
            value,
            problems
                .iter()
                .flat_map(|problems| problems.iter())
                .map(texts)
                .collect(),
        )
    }

    #[test]
    fn absent_keys_have_their_default() {
        let (values, problems) = read("", |table| {
            (
                table.integer("a", 7_u32, 1..=9),
                table.boolean("b", true),
                table.duration("c", Duration::from_secs(4)),
            )
        });
        assert_eq!(values, (7, true, Duration::from_secs(4)));
        assert_eq!(problems, []);
    }

    #[test]
    fn keys_that_nobody_asked_for_are_reported() {
        let (_, problems) = read("idle_timout = 1\n[zzz]\n", |table| {
            table.value("idle_timeout");
        });
        assert_eq!(problems[0].0, "unknown key `idle_timout`");
        assert_eq!(problems[0].1, "did you mean `idle_timeout`?");
        assert_eq!(problems[1].0, "unknown key `zzz`");
        assert_eq!(problems[1].1, "known here: `idle_timeout`");
    }

    #[test]
    fn wrong_types_say_what_to_write() {
        let (_, problems) = read("a = \"yes\"\nb = 4\nc = 1.5\nd = 3\ne = [1]\n", |table| {
            table.boolean("a", true);
            table.duration("b", Duration::ZERO);
            table.integer("c", 0_u32, 0..=9);
            table.choice("d", 0, &[("on", 1), ("off", 0)]);
            table.section("e", (), |_| ());
        });
        let messages: Vec<_> = problems.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "`a` must be true or false, not a string",
                "`b` must be a duration, not a whole number",
                "`c` must be a whole number, not a number",
                "`d` must be a string, not a whole number",
                "`e` must be a table, not an array",
            ]
        );
        assert!(
            problems.iter().all(|(_, help)| help.starts_with("write ")),
            "{problems:?}"
        );
        assert!(problems[1].1.contains("\"4s\""));
    }

    #[test]
    fn numbers_outside_their_range_are_reported() {
        for source in ["a = 0", "a = 10", "a = -1", "a = 99999999999999999999", "a = 0x10"] {
            let (number, problems) = read(source, |table| table.integer("a", 5_u8, 1..=9));
            assert_eq!((number, problems.len()), (5, 1), "{source}");
        }
        let (number, problems) = read("a = 1_000", |table| table.integer("a", 5_u32, 1..=9_999));
        assert_eq!((number, problems.len()), (1_000, 0));
    }

    #[test]
    fn sizes_are_written_with_or_without_unit() {
        for source in ["a = 65536", "a = \"64KiB\""] {
            assert_eq!(
                read(source, |table| table.size("a", 0_usize, 1..=1 << 20)),
                (65_536, vec![]),
                "{source}"
            );
        }
        for source in ["a = 0", "a = \"2MiB\"", "a = true"] {
            assert_eq!(
                read(source, |table| table.size("a", 1_usize, 1..=1 << 20)).1.len(),
                1,
                "{source}"
            );
        }
    }

    #[test]
    fn shares_lie_between_zero_and_one() {
        for (source, share) in [("a = 0", 0.0), ("a = 1", 1.0), ("a = 0.25", 0.25)] {
            assert_eq!(
                read(source, |table| table.value("a").unwrap().share()).0,
                Some(share),
                "{source}"
            );
        }
        for source in ["a = 1.5", "a = -0.1", "a = nan", "a = inf", "a = \"0.1\""] {
            assert_eq!(
                read(source, |table| table.value("a").unwrap().share()).1.len(),
                1,
                "{source}"
            );
        }
    }
}
