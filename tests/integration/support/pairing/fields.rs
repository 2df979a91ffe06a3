//! Fields as they were on the wire, octets and all.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names in lower case, in the order of their coming.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields(pub Vec<(String, Vec<u8>)>);

impl Fields {
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.iter().filter(|(other, _)| other == name);
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The value of a field that is there once; panics when it is there twice.
    pub fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} is repeated: {all:?}");
        all.pop()
    }

    pub fn octets(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_slice())
    }

    pub fn has(&self, name: &str) -> bool {
        self.octets(name).is_some()
    }

    /// The fields of a head's lines, which end in CRLF.
    pub fn parse(lines: &[u8]) -> Fields {
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| line.len() > 1);
        Fields(lines.map(Self::parse_line).collect())
    }

    fn parse_line(line: &[u8]) -> (String, Vec<u8>) {
        let line = line.strip_suffix(b"\r").expect("a line ends in CRLF");
        let colon = line.iter().position(|&byte| byte == b':').expect("a field has a colon");
        let name = std::str::from_utf8(&line[..colon]).expect("a name is text");
        (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec())
    }

    pub fn of_map(map: &HeaderMap) -> Fields {
        let all = map.iter();
        Fields(
            all.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
        )
    }

    pub fn to_map(&self) -> HeaderMap {
        let all = self.0.iter().map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name is a token"),
                HeaderValue::from_bytes(value).expect("a value is one line"),
            )
        });
        // Collecting would keep the last of each name only.
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append(name, value);
        }
        map
    }

    pub fn to_lines(&self) -> Vec<u8> {
        let all = self.0.iter();
        all.flat_map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat())
            .collect()
    }
}

impl From<&[(&str, &str)]> for Fields {
    fn from(fields: &[(&str, &str)]) -> Fields {
        let all = fields.iter();
        Fields(
            all.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.0.iter();
        formatter
            .debug_map()
            .entries(all.map(|(name, value)| (name, value.escape_ascii().to_string())))
            .finish()
    }
}
