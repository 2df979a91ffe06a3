//! `listener.proxy_protocol`: whether a header ahead of the first byte says who the client is.

use ipnet::IpNet;

use super::{forwarding::read_networks, problem::Wrong, reader::Table, write::Entries};

/// `listener.proxy_protocol`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    pub mode: ProxyMode,
    /// Who is believed; never empty.
    pub from: Vec<IpNet>,
}

/// What is done without a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// Connections without one, and those that do not come from a trusted network, are closed.
    Required,
    /// They are served as they are.
    Optional,
}

const MODES: [(&str, ProxyMode); 2] = [("required", ProxyMode::Required), ("optional", ProxyMode::Optional)];
const DEFAULT_MODE: ProxyMode = ProxyMode::Required;

impl ProxyProtocol {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let is_there = table.has("from");
        let from = read_networks(table, "from", Vec::new());
        let nobody = Wrong::new("a PROXY header has to be believed to somebody");
        let nobody = nobody.help("write the networks that send it, such as `from = [\"10.0.0.0/8\"]`");
        if !is_there {
            table.report_absence(nobody);
        } else if table.is_empty_array("from") {
            table.report("from", nobody);
        }
        Self {
            mode: table.choice("mode", DEFAULT_MODE, &MODES),
            from,
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.changed_choice("mode", &self.mode, &DEFAULT_MODE, &MODES);
        entries.put("from", &self.from);
        entries
    }
}
