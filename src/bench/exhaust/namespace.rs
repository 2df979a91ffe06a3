//! Two network namespaces with a link between them, made and removed by running `ip`.

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    net::Ipv4Addr,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{self, Command},
};

/// The beginning of the names of all namespaces of ours; then come the process that has made it, and what it is for.
const PREFIX: &str = "forebay-bench-";

/// The source address of the proxies. 198.18.0.0/15 is set aside for such experiments (RFC 2544), and nothing outside of
/// the two namespaces can see it.
pub const PROXY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The address at the far end of the link.
pub const ENDPOINT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The first source port in the proxies' namespace.
pub const FIRST_PORT: u16 = 30_000;

/// Why there are no namespaces.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("the program `ip` is missing; it is in the package iproute2")]
    NoIp,
    /// As `ip` says it.
    #[error("network namespaces cannot be made: {0}")]
    NotAllowed(String),
    #[error("`ip` cannot be run")]
    Run(#[source] io::Error),
    #[error("`{command}` says: {complaint}")]
    Ip { command: String, complaint: String },
}

impl NamespaceError {
    /// Whether somebody with more rights could make them.
    pub fn is_of_rights(&self) -> bool {
        matches!(self, Self::NotAllowed(_))
    }
}

/// The two ends; both go with the value.
#[derive(Debug)]
pub struct Namespaces {
    pub proxy: Namespace,
    pub endpoint: Namespace,
}

/// One namespace; it is removed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespaces {
    /// Makes both, where the proxies' has the source ports from [`FIRST_PORT`] to `last_port` and has to wait for each
    /// of them until its TIME_WAIT is over.
    ///
    /// # Errors
    /// See [`NamespaceError`]. What has been made until then is removed.
    pub fn make(last_port: u16) -> Result<Self, NamespaceError> {
        if !is_root() {
            return Err(NamespaceError::NotAllowed("this process is not root's".to_owned()));
        }
        remove_leftovers()?;
        let process = Process::own();
        let made = Self {
            proxy: Namespace::make(&process, "proxy")?,
            endpoint: Namespace::make(&process, "endpoint")?,
        };
        let (near, far) = (made.proxy.name(), made.endpoint.name());
        ip(&format!(
            "link add name veth netns {near} type veth peer name veth netns {far}"
        ))?;
        for (name, address) in [(near, PROXY), (far, ENDPOINT)] {
            ip(&format!("-n {name} address add {address}/30 dev veth"))?;
            ip(&format!("-n {name} link set dev lo up"))?;
            ip(&format!("-n {name} link set dev veth up"))?;
        }
        made.proxy
            .set("ip_local_port_range", &format!("{FIRST_PORT} {last_port}"))?;
        // Which is what the kernel does everywhere but towards loopback addresses.
        made.proxy.set("tcp_tw_reuse", "0")?;
        Ok(made)
    }
}

impl Namespace {
    fn make(process: &Process, role: &str) -> Result<Self, NamespaceError> {
        let name = format!("{PREFIX}{}-{}-{role}", process.id, process.started);
        match ip(&format!("netns add {name}")) {
            Ok(_) => Ok(Self { name }),
            Err(NamespaceError::Ip { complaint, .. }) if complaint.contains("not permitted") => {
                Err(NamespaceError::NotAllowed(complaint))
            }
            Err(error) => Err(error),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a program in it, with the arguments that follow.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Sets a value of `net.ipv4`.
    fn set(&self, key: &str, value: &str) -> Result<(), NamespaceError> {
        let mut command = self.command("sh");
        command.args(["-c", &format!("echo '{value}' > /proc/sys/net/ipv4/{key}")]);
        run(command).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next one that finds it.
        let _ = ip(&format!("netns delete {}", self.name));
    }
}

/// Removes the namespaces that others have left who were killed.
///
/// # Errors
/// They cannot be listed.
fn remove_leftovers() -> Result<(), NamespaceError> {
    let list = ip("netns list")?;
    // A line is a name, and sometimes a number in parentheses.
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| maker(name).is_some_and(|process| !process.runs())) {
        // Somebody else may have been faster.
        let _ = ip(&format!("netns delete {name}"));
    }
    Ok(())
}

/// The process that has made the namespace of this name; `None`: it is not one of ours.
fn maker(name: &str) -> Option<Process> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let (id, started) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next()?;
    Some(Process { id, started })
}

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: u32,
    /// In the kernel's ticks since the machine was started; 0: unknown.
    started: u64,
}

impl Process {
    fn own() -> Self {
        let id = process::id();
        let started = started(id).unwrap_or_default();
        Self { id, started }
    }

    fn runs(&self) -> bool {
        started(self.id).is_some_and(|started| started == self.started)
    }
}

/// Field 22 of `/proc/PID/stat` (`man 5 proc_pid_stat`).
fn started(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field, a name in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(22 - 3)?.parse().ok()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn ip(arguments: &str) -> Result<String, NamespaceError> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    run(command)
}

fn run(mut command: Command) -> Result<String, NamespaceError> {
    // Of its own, so that Ctrl-C does not reach it: what has been begun is finished, and then removed.
    command.process_group(0);
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => NamespaceError::NoIp,
        _ => NamespaceError::Run(error),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    Err(NamespaceError::Ip {
        command: words.join(" "),
        complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_ours_by_its_name() {
        let ours = Some(Process { id: 12, started: 345 });
        assert_eq!(maker("forebay-bench-12-345-proxy"), ours);
        for foreign in [
            "forebay-bench-12-345",
            "forebay-bench-x-345-proxy",
            "forebay-12-345-proxy",
            "blue",
            "",
        ] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_process_runs_until_another_one_has_its_number() {
        let own = Process::own();
        assert!(own.started > 0 && own.runs());
        let earlier = Process {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.runs());
        // The highest number of a process is 2^22 (`man 5 proc_sys_kernel`).
        assert!(
            !Process {
                id: 1 << 22,
                started: 1
            }
            .runs()
        );
    }

    #[test]
    fn a_missing_program_is_said_to_be_missing() {
        assert!(matches!(
            run(Command::new("no-such-program")),
            Err(NamespaceError::NoIp)
        ));
    }

    #[test]
    fn a_complaint_is_told_with_its_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo woe >&2; exit 1"]);
        let error = run(command).unwrap_err().to_string();
        assert_eq!(error, "`sh -c echo woe >&2; exit 1` says: woe");
    }
}
