//! Header fields: what a route asks for, and what it changes.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    problem::Wrong,
    reader::{Table, Value},
    write::Entries,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCondition {
    pub name: HeaderName,
    pub test: HeaderTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderTest {
    Equals(HeaderValue),
    Present,
    Absent,
}

/// Changes to a head, in the order remove, set, add.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Which heads [`HeaderEdits`] change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Request,
    Response,
}

/// Fields that belong to one connection or say where a message ends (RFC 9110 7.6.1, RFC 9112 6): the proxy's own.
const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];
/// As [`FRAMING`], without a constant of their own.
const OLD_FRAMING: [&str; 2] = ["keep-alive", "proxy-connection"];

fn parse_header_name(text: &str) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Wrong::new(format!("{text:?} is not the name of a header field"))
            .help("write letters, digits and dashes: \"x-debug\"")
    })
}

/// A field value (RFC 9110 5.5): without control characters, and without spaces around it, which nobody would see.
pub(super) fn parse_header_value(text: &str) -> Result<HeaderValue, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not the value of a header field"));
    if text.trim_matches([' ', '\t']) != text {
        return Err(wrong().help("leave out the spaces around it"));
    }
    HeaderValue::from_str(text).map_err(|_| wrong().help("leave out line ends and other control characters"))
}

/// Reads `headers = { x-version = "2", x-debug = true, x-old = false }`.
pub(super) fn read_conditions(table: &mut Table<'_>) -> Vec<HeaderCondition> {
    let example = "`headers = { x-version = \"2\", x-debug = true, x-old = false }`";
    let mut conditions: Vec<HeaderCondition> = Vec::new();
    let entries = table
        .value("headers")
        .and_then(|value| value.entries(example))
        .unwrap_or_default();
    for (value, name) in entries {
        let Some(name) = value.accept(parse_header_name(name)) else {
            continue;
        };
        if name == header::HOST {
            value.report(
                Wrong::new("`host` is a condition of its own").help("write `host = \"shop.example\"` in the route"),
            );
        } else if conditions.iter().any(|condition| condition.name == name) {
            value.report(Wrong::new(format!("`{name}` is there twice")).help("write each name once, in lower case"));
        } else if let Some(test) = read_test(&value) {
            conditions.push(HeaderCondition { name, test });
        }
    }
    conditions
}

fn read_test(value: &Value<'_>) -> Option<HeaderTest> {
    match value.as_boolean() {
        Some(true) => Some(HeaderTest::Present),
        Some(false) => Some(HeaderTest::Absent),
        None => {
            let example = "a text that the field equals, true if it must be there, or false if it must not";
            value.parse(example, parse_header_value).map(HeaderTest::Equals)
        }
    }
}

pub(super) fn write_conditions(conditions: &[HeaderCondition]) -> Entries {
    let mut entries = Entries::default();
    for HeaderCondition { name, test } in conditions {
        match test {
            HeaderTest::Equals(value) => entries.put(name.as_str(), value),
            HeaderTest::Present => entries.put(name.as_str(), &true),
            HeaderTest::Absent => entries.put(name.as_str(), &false),
        }
    }
    entries
}

impl HeaderEdits {
    /// Changes the fields of a head.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(super) fn read(table: &mut Table<'_>, head: Head) -> Self {
        let remove = table.value("remove").and_then(|value| {
            value.list("[\"x-old\"]", |item| {
                let name = item.parse("the name of a header field, such as \"x-old\"", parse_header_name)?;
                item.accept(check_editable(&name, head)).map(|()| name)
            })
        });
        Self {
            remove: remove.unwrap_or_default(),
            set: read_fields(table, "set", head, |value| Some(vec![read_value(value)?])),
            add: read_fields(table, "add", head, |value| match value.is_array() {
                true => value.list("[\"a\", \"b\"]", |item| read_value(&item)),
                false => Some(vec![read_value(value)?]),
            }),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let mut set = Entries::default();
        for (name, value) in &self.set {
            set.put(name.as_str(), value);
        }
        let mut entries = Entries::default();
        entries.changed("remove", &self.remove, &Vec::new());
        entries.put_table("set", &set);
        entries.put_table("add", &self.added());
        entries
    }

    /// The added fields, those of one name as an array.
    fn added(&self) -> Entries {
        let mut by_name: Vec<(&HeaderName, Vec<HeaderValue>)> = Vec::new();
        for (name, value) in &self.add {
            match by_name.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value.clone()),
                None => by_name.push((name, vec![value.clone()])),
            }
        }
        let mut entries = Entries::default();
        for (name, values) in by_name {
            match values.as_slice() {
                [value] => entries.put(name.as_str(), value),
                _ => entries.put(name.as_str(), &values),
            }
        }
        entries
    }
}

fn read_value(value: &Value<'_>) -> Option<HeaderValue> {
    value.parse("a text, which becomes the field's value", parse_header_value)
}

fn read_fields<'a>(
    table: &mut Table<'a>,
    key: &'static str,
    head: Head,
    read_values: impl Fn(&Value<'a>) -> Option<Vec<HeaderValue>>,
) -> Vec<(HeaderName, HeaderValue)> {
    let example = format!("`{key} = {{ x-name = \"value\" }}`");
    let entries = table
        .value(key)
        .and_then(|value| value.entries(&example))
        .unwrap_or_default();
    let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (value, name) in entries {
        let Some(name) = value.accept(parse_header_name(name)) else {
            continue;
        };
        if value.accept(check_editable(&name, head)).is_none() {
            continue;
        }
        if fields.iter().any(|(known, _)| *known == name) {
            value.report(Wrong::new(format!("`{name}` is there twice")).help("write each name once, in lower case"));
            continue;
        }
        let values = read_values(&value).unwrap_or_default();
        fields.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    fields
}

fn check_editable(name: &HeaderName, head: Head) -> Result<(), Wrong> {
    if FRAMING.contains(name) || OLD_FRAMING.contains(&name.as_str()) {
        let wrong = Wrong::new(format!(
            "`{name}` belongs to the connection, which is the proxy's own business"
        ));
        return Err(wrong.help("leave it out"));
    }
    if head == Head::Request && *name == header::HOST {
        let wrong = Wrong::new("`host` is not changed here");
        return Err(wrong.help("write `host_header = \"api.example\"` in the route"));
    }
    Ok(())
}
