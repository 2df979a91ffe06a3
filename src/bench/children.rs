//! Processes that are started from the same program, and never outlive it.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

/// The flag, ahead of the command, under which a process ends when its standard input does.
///
/// The parent holds the other end of it, and the kernel closes that whichever way the parent ends. So no child is left
/// behind even by a parent that is killed, without any system call that would need `unsafe`.
pub const ENDS_WITH_STDIN: &str = "ends-with-stdin";

/// Lines on standard error that are kept, to say why a child has ended.
const LAST_LINES: usize = 20;

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    /// Held open for as long as the child shall run.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Reads standard error: what a child writes has to be read, or it would wait for room some day. Ends with the
    /// child, and gives the last lines.
    complaints: Option<JoinHandle<VecDeque<String>>>,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("the program itself cannot be started again")]
    Start(#[source] io::Error),
    #[error("a process of the experiment has ended{0}")]
    Ended(Complaint),
}

/// The last words of a child, if it had any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint(Option<String>);

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(words) => write!(f, ": {words}"),
            None => Ok(()),
        }
    }
}

impl Child {
    /// Starts `forebay ARGUMENTS`. Ctrl-C does not reach it: it has a process group of its own.
    ///
    /// # Errors
    /// The program cannot be found or started.
    pub fn start(arguments: &[&str]) -> Result<Self, ChildError> {
        let program = std::env::current_exe().map_err(ChildError::Start)?;
        let mut command = Command::new(program);
        command.arg(format!("--{ENDS_WITH_STDIN}")).args(arguments);
        Self::spawn(command)
    }

    /// Starts what `command` is, which ends when its standard input does.
    ///
    /// # Errors
    /// It cannot be found or started.
    pub fn spawn(mut command: Command) -> Result<Self, ChildError> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut process = command.spawn().map_err(ChildError::Start)?;
        let stdin = process.stdin.take().expect("it was asked for");
        let stdout = BufReader::new(process.stdout.take().expect("it was asked for"));
        let stderr = process.stderr.take().expect("it was asked for");
        let complaints = Some(thread::spawn(move || last_lines(stderr)));
        Ok(Self {
            process,
            stdin: Some(stdin),
            stdout,
            complaints,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends its standard input, and so asks it to end, if it is one that does so.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// It has ended.
    pub fn line(&mut self) -> Result<String, ChildError> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(1..) => Ok(line.trim_end().to_owned()),
            Ok(0) | Err(_) => {
                let complaints = self.complaints.take().and_then(|reader| reader.join().ok());
                let last = complaints.and_then(|mut lines| lines.pop_back());
                Err(ChildError::Ended(Complaint(last)))
            }
        }
    }

    /// Reads lines to the first that `read` makes something of.
    ///
    /// # Errors
    /// It has ended before.
    pub fn first<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<T, ChildError> {
        loop {
            if let Some(found) = read(&self.line()?) {
                return Ok(found);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and only its entry to be collected.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is no text is left out.
fn last_lines(from: impl Read) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if kept.len() == LAST_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    kept
}

/// The address in `NAME listening on ADDRESS`, as an endpoint prints it, and in `listening on ADDRESS (...)`, as a
/// proxy does.
pub fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The address in `admin on ADDRESS`.
pub fn admin_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("admin on ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn(command).unwrap()
    }

    #[test]
    fn addresses_are_read_from_what_commands_print() {
        let address = "127.0.0.1:9000".parse().ok();
        assert_eq!(listening_address("a b listening on 127.0.0.1:9000"), address);
        assert_eq!(
            listening_address("listening on 127.0.0.1:9000 (http, listener x)"),
            address
        );
        assert_eq!(admin_address("admin on 127.0.0.1:9000"), address);
        for line in ["", "ready", "admin on", "listening on nothing"] {
            assert_eq!((listening_address(line), admin_address(line)), (None, None), "{line}");
        }
    }

    #[test]
    fn a_child_that_ends_leaves_its_last_words() {
        let mut child = shell("echo one; echo two; echo first >&2; echo last >&2; exit 3");
        assert_eq!(child.line().unwrap(), "one");
        let error = child.first(|line| (line == "three").then_some(())).unwrap_err();
        assert_eq!(error.to_string(), "a process of the experiment has ended: last");
    }

    #[test]
    fn a_child_ends_when_it_is_dropped() {
        let mut child = shell("echo here; exec sleep 1000");
        assert_eq!(child.line().unwrap(), "here");
        let folder = format!("/proc/{}", child.id());
        assert!(std::path::Path::new(&folder).exists());
        drop(child);
        assert!(!std::path::Path::new(&folder).exists());
    }
}
