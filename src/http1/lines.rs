//! The lines of a head, before it is known what they say.

use memchr::{memchr, memchr_iter};

use super::Limits;

/// Why bytes are not the lines of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineProblem {
    HeadTooLarge,
    TooManyFields,
    /// RFC 9112 2.2.
    BareLf,
}

/// A head that is complete, with a CR before every LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) size: usize,
    pub(super) fields: usize,
}

/// Finds the blank line that ends a head, whose first line is not blank. `None`: it has not come.
pub(super) fn find_end(bytes: &[u8], limits: &Limits) -> Result<Option<Extent>, LineProblem> {
    let window = &bytes[..bytes.len().min(limits.max_head_size)];
    let mut line_start = 0;
    for (line, lf) in memchr_iter(b'\n', window).enumerate() {
        if lf == line_start || window[lf - 1] != b'\r' {
            return Err(LineProblem::BareLf);
        }
        if lf - line_start == 1 && line > 0 {
            return Ok(Some(Extent {
                size: lf + 1,
                fields: line - 1,
            }));
        }
        // Line 0 is the first, so that this number counts the fields.
        if line > limits.max_headers {
            return Err(LineProblem::TooManyFields);
        }
        line_start = lf + 1;
    }
    if bytes.len() >= limits.max_head_size {
        Err(LineProblem::HeadTooLarge)
    } else {
        Ok(None)
    }
}

/// The first line without its CRLF, and what follows it.
#[inline]
pub(super) fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let lf = memchr(b'\n', bytes).expect("find_end saw the end of every line");
    (&bytes[..lf - 1], &bytes[lf + 1..])
}
