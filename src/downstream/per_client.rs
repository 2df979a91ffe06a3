//! How many connections each client address has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use crate::config;

/// Counts of one listener, over all workers. The lock is taken once per connection, and only where a limit is set.
#[derive(Debug, Default)]
pub(super) struct PerClient {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted connection; gives itself back when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Arc<PerClient>,
    key: IpAddr,
}

/// The client has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl PerClient {
    /// Counts a connection of `client`; `None` where no limit applies to it.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        policy: &config::KeepAlive,
    ) -> Result<Option<Counted>, TooMany> {
        if policy.per_client == 0
            || policy
                .per_client_exempt
                .iter()
                .any(|net| net.contains(&client.to_canonical()))
        {
            return Ok(None);
        }
        let key = key(client);
        let mut counts = self.counts.lock().expect("no panic under this lock");
        let count = counts.entry(key).or_default();
        if *count >= policy.per_client {
            return Err(TooMany);
        }
        *count += 1;
        drop(counts);
        Ok(Some(Counted {
            counts: Arc::clone(self),
            key,
        }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.counts.lock().expect("no panic under this lock");
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one of its addresses has all of them.
fn key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(per_client: usize) -> config::KeepAlive {
        config::KeepAlive {
            per_client,
            per_client_exempt: vec!["10.9.0.0/16".parse().expect("net")],
            ..Default::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_client_gets_its_limit_and_no_more_until_one_ends() {
        let counts = Arc::new(PerClient::default());
        let first = counts.admit(address("192.0.2.1"), &policy(1)).expect("first");
        assert!(first.is_some());
        assert_eq!(counts.admit(address("192.0.2.1"), &policy(1)).err(), Some(TooMany));
        assert!(counts.admit(address("192.0.2.2"), &policy(1)).is_ok());
        drop(first);
        assert!(counts.admit(address("192.0.2.1"), &policy(1)).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_client() {
        let counts = Arc::new(PerClient::default());
        let _first = counts.admit(address("::ffff:192.0.2.1"), &policy(1)).expect("first");
        assert!(counts.admit(address("192.0.2.1"), &policy(1)).is_err());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let counts = Arc::new(PerClient::default());
        let _first = counts.admit(address("2001:db8::1"), &policy(1)).expect("first");
        assert!(counts.admit(address("2001:db8::2"), &policy(1)).is_err());
        assert!(counts.admit(address("2001:db8:0:1::1"), &policy(1)).is_ok());
    }

    #[test]
    fn exempt_networks_and_no_limit_count_nothing() {
        let counts = Arc::new(PerClient::default());
        assert!(counts.admit(address("10.9.1.1"), &policy(1)).expect("exempt").is_none());
        assert!(
            counts
                .admit(address("192.0.2.1"), &policy(0))
                .expect("no limit")
                .is_none()
        );
        assert!(counts.counts.lock().expect("lock").is_empty());
    }
}
