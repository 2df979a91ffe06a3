//! Values of arguments that no other part of the program can read.

use std::{fs::File, io, net::IpAddr, path::PathBuf};

use crate::config::{Admin, Wrong, parse_listen_address};

/// Why a text is no source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error("expected an IP address without port, such as \"10.0.1.1\"")]
    Malformed,
    #[error("without --source the kernel chooses")]
    Unspecified,
    #[error("expected an address of this machine")]
    Shared,
}

/// An address to listen on, or `off`.
pub(super) fn parse_admin(text: &str) -> Result<Admin, Wrong> {
    let address = match text {
        "off" => None,
        _ => Some(parse_listen_address(text)?),
    };
    Ok(Admin { address })
}

/// An address that a connection can come from.
pub(super) fn parse_source(text: &str) -> Result<IpAddr, SourceError> {
    let address: IpAddr = text.parse().map_err(|_| SourceError::Malformed)?;
    if address.is_unspecified() {
        Err(SourceError::Unspecified)
    } else if address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]) {
        Err(SourceError::Shared)
    } else {
        Ok(address)
    }
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
    fn a_source_is_one_address_without_port() {
        assert_eq!(parse_source("10.0.1.1"), Ok([10, 0, 1, 1].into()));
        assert_eq!(parse_source("fd00::1"), Ok("fd00::1".parse().unwrap()));
        for (text, error) in [
            ("10.0.1.1:80", SourceError::Malformed),
            ("[::1]", SourceError::Malformed),
            ("eth0", SourceError::Malformed),
            ("0.0.0.0", SourceError::Unspecified),
            ("::", SourceError::Unspecified),
            ("224.0.0.1", SourceError::Shared),
            ("255.255.255.255", SourceError::Shared),
        ] {
            assert_eq!(parse_source(text), Err(error), "{text}");
        }
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
