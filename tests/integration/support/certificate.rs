//! Certificates made for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A self-signed certificate in files of its own.
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    pub fn of(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are host names");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certificate = Certificate { directory };
        fs::write(certificate.chain(), made.cert.pem()).expect("the chain can be written");
        fs::write(certificate.key(), made.signing_key.serialize_pem()).expect("the key can be written");
        certificate
    }

    pub fn chain(&self) -> PathBuf {
        self.file("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.file("key.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    /// An entry of a listener's `certificates`.
    pub fn toml(&self) -> String {
        format!("{{ chain = {:?}, key = {:?} }}", self.chain(), self.key())
    }
}
