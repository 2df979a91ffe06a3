//! Whether the source addresses of a config are on this machine.

use std::{io, net::IpAddr};

use crate::{config::Config, net};

/// A config names a source address that no connection of this machine can have.
#[derive(Debug, thiserror::Error)]
#[error("connections to the cluster `{}` cannot come from {address}", cluster.escape_debug())]
pub(in crate::cli) struct SourceError {
    address: String,
    cluster: String,
    source: io::Error,
}

/// Looks whether the source addresses of all clusters are on this machine; of a prefix, whether its first address is.
///
/// # Errors
/// All from which no connection can come.
pub(in crate::cli) fn check_sources(config: &Config) -> Result<(), Vec<SourceError>> {
    let errors = absent_sources(config, |address| net::check_source(address).map(drop));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn absent_sources(config: &Config, check: impl Fn(IpAddr) -> io::Result<()>) -> Vec<SourceError> {
    let mut errors = Vec::new();
    for (name, cluster) in &config.clusters {
        for address in &cluster.source.addresses {
            let first = address.expand().into_iter().next();
            if let Some(source) = first.and_then(|first| check(first).err()) {
                errors.push(SourceError {
                    address: address.to_string(),
                    cluster: name.clone(),
                    source,
                });
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(addresses: &str) -> Config {
        let text = format!(
            "[[listener]]\naddress = \":8080\"\n[[route]]\ncluster = \"api\"\n[cluster.api]\n\
             endpoints = [\"10.0.0.1:80\"]\nsource = {{ addresses = [{addresses}] }}\n"
        );
        config::parse(&text, "f").unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn each_source_address_that_is_not_here_is_named() {
        let here: [IpAddr; 2] = [[10, 0, 0, 8].into(), [10, 8, 0, 1].into()];
        let check = |address| match here.contains(&address) {
            true => Ok(()),
            false => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let errors = absent_sources(
            &config("\"10.0.0.8\", \"10.0.0.9\", \"10.9.0.0/24\", \"10.8.0.0/24\""),
            check,
        );
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let expected = ["10.0.0.9", "10.9.0.0/24"]
            .map(|address| format!("connections to the cluster `api` cannot come from {address}"));
        assert_eq!(shown, expected);
    }

    #[test]
    fn this_machine_has_loopback_addresses_and_none_of_the_documentation() {
        assert!(check_sources(&config("\"127.0.0.1\"")).is_ok());
        let errors = check_sources(&config("\"192.0.2.1\"")).unwrap_err();
        assert_eq!(errors.len(), 1);
    }
}
