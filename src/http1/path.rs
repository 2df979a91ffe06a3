//! The one form of a path that is routed and forwarded.

use thiserror::Error;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum PathProblem {
    /// It does not begin with a slash.
    NotAbsolute,
    /// `.` or `..` as a segment, also with parameters (`..;a`), which some endpoints cut off before they resolve it.
    DotSegment,
    /// `%2f`
    EncodedSlash,
    /// `\` or `%5c`
    Backslash,
    /// A NUL byte or `%00`.
    Nul,
    /// A control byte, a space or DEL.
    Control,
    /// A `%` without two hexadecimal digits after it.
    InvalidEscape,
    /// An escape for a letter, a digit or one of `-._~` (RFC 3986 2.3): an endpoint takes it for that character, a
    /// route would not.
    EscapedUnreserved,
    /// `#`
    Fragment,
    /// `?`: the query is no part of a path.
    Query,
}

impl PathProblem {
    /// The rule in words, for logs and for the answer.
    pub fn description(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::DotSegment => "the path has a dot segment",
            Self::EncodedSlash => "the path has an encoded slash",
            Self::Backslash => "the path has a backslash",
            Self::Nul => "the path has a NUL byte",
            Self::Control => "the path has a control byte or a space",
            Self::InvalidEscape => "the path has an invalid percent escape",
            Self::EscapedUnreserved => "the path escapes a character that needs no escape",
            Self::Fragment => "the path has a fragment",
            Self::Query => "the path has a question mark",
        }
    }
}

/// Accepts a path, without its query, only in the form in which routes are written, so that the router and the endpoint
/// cannot read it in two ways; it is then forwarded byte for byte.
///
/// A doubled slash and bytes above 0x7f are let through as they are. `*` is not a path.
///
/// # Errors
///
/// The first rule that is broken, see [`PathProblem`]; the answer is 400.
pub fn check_path(path: &[u8]) -> Result<(), PathProblem> {
    let [b'/', rest @ ..] = path else {
        return Err(PathProblem::NotAbsolute);
    };
    let mut segment = Segment::Empty;
    let mut bytes = rest.iter();
    while let Some(&byte) = bytes.next() {
        segment = match byte {
            b'/' if segment.is_dots() => return Err(PathProblem::DotSegment),
            b'/' => Segment::Empty,
            b'.' => segment.with_dot(),
            b';' if segment.is_dots() => return Err(PathProblem::DotSegment),
            b'%' => {
                check_escape(bytes.next(), bytes.next())?;
                Segment::Name
            }
            b'\\' => return Err(PathProblem::Backslash),
            0 => return Err(PathProblem::Nul),
            1..=b' ' | 0x7f => return Err(PathProblem::Control),
            b'#' => return Err(PathProblem::Fragment),
            b'?' => return Err(PathProblem::Query),
            _ => Segment::Name,
        };
    }
    if segment.is_dots() {
        Err(PathProblem::DotSegment)
    } else {
        Ok(())
    }
}

/// What of a segment has been seen.
#[derive(Clone, Copy)]
enum Segment {
    Empty,
    Dot,
    DotDot,
    Name,
}

impl Segment {
    fn is_dots(self) -> bool {
        matches!(self, Self::Dot | Self::DotDot)
    }

    fn with_dot(self) -> Self {
        match self {
            Self::Empty => Self::Dot,
            Self::Dot => Self::DotDot,
            Self::DotDot | Self::Name => Self::Name,
        }
    }
}

fn check_escape(high: Option<&u8>, low: Option<&u8>) -> Result<(), PathProblem> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(PathProblem::InvalidEscape);
    };
    match char::from_u32(high * 16 + low) {
        Some('/') => Err(PathProblem::EncodedSlash),
        Some('\\') => Err(PathProblem::Backslash),
        Some('\0') => Err(PathProblem::Nul),
        Some('a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~') => Err(PathProblem::EscapedUnreserved),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_form_passes() {
        use PathProblem::*;
        const PASSES: Result<(), PathProblem> = Ok(());
        let cases: &[(&[u8], Result<(), PathProblem>)] = &[
            (b"/", PASSES),
            (b"//", PASSES),
            (b"/a", PASSES),
            (b"/a/", PASSES),
            (b"/a//b", PASSES),
            (b"//a", PASSES),
            (b"/a.b", PASSES),
            (b"/.a", PASSES),
            (b"/a.", PASSES),
            (b"/..a", PASSES),
            (b"/a..", PASSES),
            (b"/...", PASSES),
            (b"/.../a", PASSES),
            (b"/.well-known/acme", PASSES),
            (b"/a;b=c/d", PASSES),
            (b"/a..;b", PASSES),
            (b"/~user/a_b-c", PASSES),
            (b"/a:b@c!$&'()*+,=", PASSES),
            (b"/%20", PASSES),
            (b"/a%20b%C3%a4", PASSES),
            (b"/%25", PASSES),
            (b"/%252e%252e", PASSES),
            (b"/%3Ba", PASSES),
            (b"/%3F%23", PASSES),
            (b"/caf\xc3\xa9", PASSES),
            (b"/a\"<>[]^`{|}", PASSES),
            (b"", Err(NotAbsolute)),
            (b"*", Err(NotAbsolute)),
            (b"a", Err(NotAbsolute)),
            (b"./a", Err(NotAbsolute)),
            (b"http://a/", Err(NotAbsolute)),
            (b"%2fa", Err(NotAbsolute)),
            (b"\\a", Err(NotAbsolute)),
            (b"/.", Err(DotSegment)),
            (b"/..", Err(DotSegment)),
            (b"/./", Err(DotSegment)),
            (b"/../", Err(DotSegment)),
            (b"/./a", Err(DotSegment)),
            (b"/a/../b", Err(DotSegment)),
            (b"/a/..", Err(DotSegment)),
            (b"/a/.", Err(DotSegment)),
            (b"//..", Err(DotSegment)),
            (b"/..//a", Err(DotSegment)),
            (b"/..;/a", Err(DotSegment)),
            (b"/a/.;b=c/d", Err(DotSegment)),
            (b"/%2e", Err(EscapedUnreserved)),
            (b"/%2E%2e/a", Err(EscapedUnreserved)),
            (b"/.%2e/a", Err(EscapedUnreserved)),
            (b"/%2e./a", Err(EscapedUnreserved)),
            (b"/a%2eb", Err(EscapedUnreserved)),
            (b"/%61dmin", Err(EscapedUnreserved)),
            (b"/%41", Err(EscapedUnreserved)),
            (b"/%30", Err(EscapedUnreserved)),
            (b"/%7Euser", Err(EscapedUnreserved)),
            (b"/a%2fb", Err(EncodedSlash)),
            (b"/a%2Fb", Err(EncodedSlash)),
            (b"/..%2fa", Err(EncodedSlash)),
            (b"/a\\b", Err(Backslash)),
            (b"/..\\a", Err(Backslash)),
            (b"/a%5cb", Err(Backslash)),
            (b"/a%5Cb", Err(Backslash)),
            (b"/\0", Err(Nul)),
            (b"/a%00", Err(Nul)),
            (b"/\x01", Err(Control)),
            (b"/a b", Err(Control)),
            (b"/a\tb", Err(Control)),
            (b"/a\r\nb", Err(Control)),
            (b"/\x7f", Err(Control)),
            (b"/%", Err(InvalidEscape)),
            (b"/%2", Err(InvalidEscape)),
            (b"/%zz", Err(InvalidEscape)),
            (b"/%2g", Err(InvalidEscape)),
            (b"/%+2", Err(InvalidEscape)),
            (b"/%%20", Err(InvalidEscape)),
            (b"/%u002e", Err(InvalidEscape)),
            (b"/a#b", Err(Fragment)),
            (b"/a?b", Err(Query)),
        ];
        for (path, verdict) in cases {
            assert_eq!(check_path(path), *verdict, "{}", path.escape_ascii());
        }
    }
}
