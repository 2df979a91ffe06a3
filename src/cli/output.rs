//! What a command writes: text on standard output, and files that it is asked for.

use std::{
    fs::{self, OpenOptions},
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

/// Looks whether a file can be written, for work of which the result would else be lost. One that was not there is empty
/// from then on.
pub(super) fn check_writable(file: &Path) -> Result<(), CommandError> {
    if is_standard_output(file) {
        return Ok(());
    }
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|source| unwritable(file, source))
}

/// Replaces a file; `-` is standard output.
pub(super) fn write_file(file: &Path, text: &str) -> Result<(), CommandError> {
    if is_standard_output(file) {
        return print(text);
    }
    fs::write(file, text).map_err(|source| unwritable(file, source))
}

fn unwritable(file: &Path, source: io::Error) -> CommandError {
    CommandError::File {
        file: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_tried_before_and_then_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.json");
        fs::write(&file, "what was there before, and is longer").unwrap();
        check_writable(&file).unwrap();
        assert!(
            fs::read_to_string(&file).unwrap().starts_with("what was"),
            "a look changes nothing"
        );
        write_file(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let nowhere = folder.path().join("no/such/folder");
        for refused in [check_writable(&nowhere), write_file(&nowhere, "x")] {
            assert_eq!(
                refused.unwrap_err().to_string(),
                format!("cannot write {}", nowhere.display())
            );
        }
        assert!(is_standard_output(Path::new("-")) && check_writable(Path::new("-")).is_ok());
    }
}
