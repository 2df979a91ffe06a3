//! `[process]` and `[admin]`.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use super::{
    address::parse_listen_address,
    problem::Wrong,
    reader::{Table, Value},
    write::Entries,
};

/// `[process]`
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Worker threads; `None` (`"auto"`) is one per core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// How long running requests may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Whether a change of the file is a reload.
    pub watch: bool,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            workers: None,
            drain_timeout: Duration::from_secs(30),
            watch: true,
        }
    }
}

impl Process {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        Self {
            workers: table.or("workers", default.workers, read_workers),
            drain_timeout: table.duration("drain_timeout", default.drain_timeout),
            watch: table.boolean("watch", default.watch),
        }
    }

    pub(super) fn write(&self) -> String {
        let default = Self::default();
        let mut entries = Entries::default();
        if let Some(workers) = &self.workers {
            entries.put("workers", workers);
        }
        entries.changed("drain_timeout", &self.drain_timeout, &default.drain_timeout);
        entries.changed("watch", &self.watch, &default.watch);
        entries.section("[process]")
    }
}

fn read_workers(value: Value<'_>) -> Option<Option<NonZeroUsize>> {
    if value.is_integer() {
        return value.integer::<usize>(1..=1024).map(NonZeroUsize::new);
    }
    value.parse("\"auto\" or a whole number", |text| match text {
        "auto" => Ok(None),
        _ => {
            Err(Wrong::new(format!("`workers` cannot be {text:?}")).help("write \"auto\", or a number without quotes"))
        }
    })
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// `None` (`"off"`): no admin listener.
    pub address: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Some(([127, 0, 0, 1], 9900).into()),
        }
    }
}

impl Admin {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let address = table.or("address", Self::default().address, |value| {
            value.parse("\"127.0.0.1:9900\" or \"off\"", |text| match text {
                "off" => Ok(None),
                _ => parse_listen_address(text).map(Some),
            })
        });
        Self { address }
    }

    pub(super) fn write(&self) -> String {
        let mut entries = Entries::default();
        if *self != Self::default() {
            let address = self
                .address
                .map_or_else(|| "off".to_owned(), |address| address.to_string());
            entries.put("address", &address);
        }
        entries.section("[admin]")
    }
}
