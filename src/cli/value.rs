//! Values of arguments that no other part of the program can read.

use std::{fs::File, io, path::PathBuf};

use crate::config::{Admin, Wrong, parse_listen_address};

/// An address to listen on, or `off`.
pub(super) fn parse_admin(text: &str) -> Result<Admin, Wrong> {
    let address = match text {
        "off" => None,
        _ => Some(parse_listen_address(text)?),
    };
    Ok(Admin { address })
}

/// A file that can be read, by a path that stays right when the printed config is put into another folder.
pub(super) fn parse_file(text: &str) -> io::Result<PathBuf> {
    let path = std::path::absolute(text)?;
    if File::open(&path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_listener_can_be_off() {
        assert_eq!(parse_admin("off").unwrap().address, None);
        assert_eq!(parse_admin(":99").unwrap().address, Some(([0, 0, 0, 0], 99).into()));
        assert!(parse_admin("on").is_err());
    }

    #[test]
    fn a_file_has_to_be_one_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "").unwrap();
        assert_eq!(parse_file(file.to_str().unwrap()).unwrap(), file);
        let error = |path: &std::path::Path| parse_file(path.to_str().unwrap()).unwrap_err().kind();
        assert_eq!(error(&folder.path().join("b.pem")), io::ErrorKind::NotFound);
        assert_eq!(error(folder.path()), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        // Tests run in the folder of the package.
        let folder = std::env::current_dir().unwrap();
        assert_eq!(parse_file("Cargo.toml").unwrap(), folder.join("Cargo.toml"));
    }
}
