//! The text format: what the operator wrote, with `{field}` for what is known of the request.

use super::record::{self, Field, Record};

/// A line of text with places for fields, for example `{client} "{method} {path}" {status} {total_ms}`.
///
/// Field names are those of [`Field`]; `{{` and `}}` are braces. Values cannot contain a raw quote, control character
/// or line end; they may contain spaces, so those that clients choose belong between quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
}

/// Why a text is no template. Positions are bytes from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("unknown field {{{name}}} at {position}")]
    UnknownField { name: String, position: usize },
    #[error("{{ at {position} has no }}; a brace itself is written {{{{")]
    Unclosed { position: usize },
    #[error("}} at {position} has no {{; a brace itself is written }}}}")]
    Unopened { position: usize },
    /// A line end in the template would make several lines of one request.
    #[error("control character at {position}")]
    ControlCharacter { position: usize },
    #[error("template is empty")]
    Empty,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((position, c)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
                '{' => {
                    let rest = &text[position + 1..];
                    let length = rest.find(['{', '}']).filter(|i| rest.as_bytes()[*i] == b'}');
                    let name = &rest[..length.ok_or(TemplateError::Unclosed { position })?];
                    let unknown = || TemplateError::UnknownField {
                        name: name.to_owned(),
                        position,
                    };
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Field(Field::named(name).ok_or_else(unknown)?));
                    while chars.next().is_some_and(|(_, c)| c != '}') {}
                }
                '}' => return Err(TemplateError::Unopened { position }),
                // A tab separates columns, and nothing from outside can bring one.
                c if c.is_control() && c != '\t' => return Err(TemplateError::ControlCharacter { position }),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if parts.is_empty() {
            Err(TemplateError::Empty)
        } else {
            Ok(Self(parts))
        }
    }

    /// Writes one line, without its end.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        for part in &self.0 {
            match part {
                Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                Part::Field(field) => record::write_text(out, record, *field),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    fn record() -> Record<'static> {
        Record {
            method: Some("GET"),
            path: Some(b"/a b\"\nc"),
            host: Some(b""),
            status: Some(204),
            total: Duration::from_micros(1234),
            ..Record::at(SystemTime::UNIX_EPOCH, ([10, 0, 0, 9], 4711).into())
        }
    }

    fn write(template: &str) -> String {
        let mut out = Vec::new();
        Template::parse(template).unwrap().write(&mut out, &record());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_stand_in_their_places() {
        assert_eq!(
            write("{client} \"{method} {path}\"\t{status} {total_ms}ms"),
            "10.0.0.9:4711 \"GET /a b\\\"\\u000ac\"\t204 1.234ms"
        );
    }

    #[test]
    fn absent_and_empty_are_a_dash() {
        assert_eq!(write("{endpoint}|{host}|{reused}|{connect_ms}"), "-|-|-|-");
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(write("{{{status}}} {{status}}"), "{204} {status}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        use TemplateError::*;
        for (text, error) in [
            (
                "a {nope}",
                UnknownField {
                    name: "nope".into(),
                    position: 2,
                },
            ),
            (
                "é{}",
                UnknownField {
                    name: String::new(),
                    position: 2,
                },
            ),
            ("{status", Unclosed { position: 0 }),
            ("{sta{tus}", Unclosed { position: 0 }),
            ("status}", Unopened { position: 6 }),
            ("a\nb", ControlCharacter { position: 1 }),
            ("", Empty),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn errors_read_well() {
        assert_eq!(
            Template::parse("{x}").unwrap_err().to_string(),
            "unknown field {x} at 0"
        );
        assert_eq!(
            Template::parse("{x").unwrap_err().to_string(),
            "{ at 0 has no }; a brace itself is written {{"
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[{}a-z\n é]{0,20}") {
            let _ = Template::parse(&text);
        }

        #[test]
        fn one_request_is_one_line(path in prop::collection::vec(any::<u8>(), 0..300), name in any::<String>()) {
            let record = Record { path: Some(&path), reason: Some(&name), ..record() };
            let mut out = Vec::new();
            Template::parse("\"{path}\" \"{reason}\"").unwrap().write(&mut out, &record);
            let line = String::from_utf8(out).unwrap();
            prop_assert!(!line.chars().any(char::is_control));
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes, 4);
        }
    }
}
