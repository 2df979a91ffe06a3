//! A config as the text that it can be read from.

use std::{net::IpAddr, num::NonZeroUsize, path::Path, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::{
    SourceAddress,
    units::{format_duration, format_size},
};

/// A value as it stands in a TOML file.
pub(super) trait ToToml {
    fn to_toml(&self) -> String;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl ToToml for $type {
            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
plain!(bool, u16, u32, u64, usize, NonZeroUsize);

impl ToToml for f64 {
    fn to_toml(&self) -> String {
        // `{:?}` always has a point or an exponent, without which it would be an integer.
        format!("{self:?}")
    }
}

impl ToToml for str {
    fn to_toml(&self) -> String {
        let mut quoted = String::from("\"");
        for character in self.chars() {
            match character {
                '"' | '\\' => quoted.extend(['\\', character]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
                other => quoted.push(other),
            }
        }
        quoted.push('"');
        quoted
    }
}

macro_rules! quoted {
    ($($type:ty: $text:expr),*) => {$(
        impl ToToml for $type {
            fn to_toml(&self) -> String {
                let text: fn(&$type) -> String = $text;
                text(self).as_str().to_toml()
            }
        }
    )*};
}
quoted!(
    String: Self::clone,
    Path: |path| path.to_string_lossy().into_owned(),
    Duration: |duration| format_duration(*duration),
    IpAddr: Self::to_string,
    IpNet: Self::to_string,
    SourceAddress: Self::to_string,
    Method: Self::to_string,
    HeaderName: Self::to_string,
    HeaderValue: |value| String::from_utf8_lossy(value.as_bytes()).into_owned()
);

impl<T: ToToml> ToToml for Vec<T> {
    fn to_toml(&self) -> String {
        let items: Vec<_> = self.iter().map(ToToml::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A size in bytes.
#[derive(PartialEq)]
pub(super) struct Size(pub(super) u64);

impl ToToml for Size {
    fn to_toml(&self) -> String {
        format_size(self.0).as_str().to_toml()
    }
}

/// A key, quoted where TOML wants it.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        name.to_toml()
    }
}

/// Keys with their values, as they will be written.
#[derive(Default)]
pub(super) struct Entries(Vec<(String, String)>);

impl Entries {
    pub(super) fn put(&mut self, name: &str, value: &(impl ToToml + ?Sized)) {
        self.0.push((key(name), value.to_toml()));
    }

    /// Writes what differs from its default.
    pub(super) fn changed<T: ToToml + PartialEq>(&mut self, name: &str, value: &T, default: &T) {
        if value != default {
            self.put(name, value);
        }
    }

    /// Writes a size in bytes that differs from its default.
    pub(super) fn changed_size(&mut self, name: &str, bytes: usize, default: usize) {
        // No machine has a usize of more than 64 bits.
        self.changed(name, &Size(bytes as u64), &Size(default as u64));
    }

    /// Writes the word of `choices` that stands for `value`, unless it is the default.
    pub(super) fn changed_choice<T: PartialEq>(&mut self, name: &str, value: &T, default: &T, choices: &[(&str, T)]) {
        if let Some((word, _)) = choices.iter().find(|(_, choice)| choice == value && choice != default) {
            self.put(name, *word);
        }
    }

    /// Writes an inline table if there is anything in it.
    pub(super) fn put_table(&mut self, name: &str, table: &Entries) {
        if !table.0.is_empty() {
            self.0.push((key(name), table.inline()));
        }
    }

    /// Writes a value that is TOML already.
    pub(super) fn put_raw(&mut self, name: &str, toml: String) {
        self.0.push((key(name), toml));
    }

    pub(super) fn inline(&self) -> String {
        let entries: Vec<_> = self.0.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        if entries.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{ {} }}", entries.join(", "))
        }
    }

    /// `header` (`[name]`) and the keys, or nothing if there are none.
    pub(super) fn section(&self, header: &str) -> String {
        if self.0.is_empty() {
            String::new()
        } else {
            self.section_even_if_empty(header)
        }
    }

    pub(super) fn section_even_if_empty(&self, header: &str) -> String {
        let lines: String = self.0.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("{header}\n{lines}\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::DeValue;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_read_back(text in any::<String>()) {
            let written = text.as_str().to_toml();
            let value = DeValue::parse(&written).unwrap();
            prop_assert_eq!(value.get_ref().as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn odd_keys_are_quoted() {
        assert_eq!(key("api-2"), "api-2");
        assert_eq!(key("a.b"), "\"a.b\"");
        assert_eq!(key(""), "\"\"");
    }
}
