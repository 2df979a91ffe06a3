//! Where the experiment runs.

use std::fs;

use crate::{net::Kernel, worker};

/// What the figures depend on, besides the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// That this process may use.
    pub cores: usize,
    /// As the processor calls itself.
    pub processor: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    pub source_ports: Option<(u16, u16)>,
    /// `net.ipv4.tcp_tw_reuse`: 2 is reuse of ports in TIME_WAIT on loopback only.
    pub tw_reuse: Option<u32>,
}

impl Machine {
    pub fn look() -> Self {
        let kernel = Kernel::read();
        Self {
            cores: worker::available().get(),
            processor: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| processor(&text)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|text| text.trim().to_owned()),
            source_ports: kernel.port_range,
            tw_reuse: kernel.tw_reuse,
        }
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = line.split_once(':')?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_where_it_is_known() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(processor(cpuinfo).as_deref(), Some("A CPU @ 2 GHz"));
        assert_eq!(processor("processor\t: 0\nBogoMIPS\t: 50\n"), None);
    }

    #[test]
    fn a_machine_has_cores() {
        assert!(Machine::look().cores > 0);
    }
}
