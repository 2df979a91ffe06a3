//! What a command writes: text on standard output, and files that it is asked for.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::CommandError;

/// In the place of a file.
const STANDARD_OUTPUT: &str = "-";

pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(CommandError::Output)
}

/// Whether what goes to this file goes to standard output.
pub(super) fn is_standard_output(file: &Path) -> bool {
    file.as_os_str() == STANDARD_OUTPUT
}

/// Replaces a file; `-` is standard output.
pub(super) fn write_file(file: &Path, text: &str) -> Result<(), CommandError> {
    if is_standard_output(file) {
        return print(text);
    }
    fs::write(file, text).map_err(|source| CommandError::File {
        file: file.to_owned(),
        source,
    })
}
