//! Texts with `{name}` in them: the format of the access log and the target of a redirect.

use super::problem::Wrong;

/// A part of a text with fields in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplatePart<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// `{name}`: stands for the field of that name.
    Field(&'a str),
}

/// Splits a text that a [`Config`](super::Config) holds; an opening brace without its closing one stands for itself.
pub fn template_parts(mut text: &str) -> Vec<TemplatePart<'_>> {
    let mut parts = Vec::new();
    while let Some((before, rest)) = text.split_once('{') {
        let Some((field, after)) = rest.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            parts.push(TemplatePart::Text(before));
        }
        parts.push(TemplatePart::Field(field));
        text = after;
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text));
    }
    parts
}

/// Accepts a text whose fields are all known.
pub(super) fn check_template(text: &str, known: &[&str]) -> Result<(), Wrong> {
    for part in template_parts(text) {
        match part {
            TemplatePart::Field(field) if !known.contains(&field) => {
                return Err(Wrong::new(format!("unknown field {field:?}")).suggest(field, known.iter().copied()));
            }
            TemplatePart::Text(text) if text.contains('{') => {
                return Err(
                    Wrong::new("a brace is opened and not closed").help("write the name of a field in braces: {name}")
                );
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_stand_between_texts() {
        use TemplatePart::{Field, Text};
        assert_eq!(
            template_parts("{a} b{c}{d} e}"),
            [Field("a"), Text(" b"), Field("c"), Field("d"), Text(" e}")]
        );
        assert_eq!(template_parts("a {b"), [Text("a {b")]);
        assert_eq!(template_parts(""), []);
    }

    #[test]
    fn unknown_fields_and_open_braces_are_refused() {
        let known = ["status", "path"];
        assert_eq!(check_template("{path}: {status}", &known), Ok(()));
        assert_eq!(
            check_template("{statsu}", &known).unwrap_err().what_to_write(),
            Some("did you mean `status`?")
        );
        assert!(check_template("{}", &known).is_err());
        assert!(check_template("{path} {status", &known).is_err());
    }

    proptest! {
        #[test]
        fn nothing_gets_lost(text in "[a{}]{0,12}") {
            let joined: String = template_parts(&text)
                .into_iter()
                .map(|part| match part {
                    TemplatePart::Text(text) => text.to_owned(),
                    TemplatePart::Field(field) => format!("{{{field}}}"),
                })
                .collect();
            prop_assert_eq!(joined, text);
        }
    }
}
