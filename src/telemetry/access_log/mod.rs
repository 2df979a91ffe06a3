//! The access log: one line per request.
//!
//! * What is in a line, and under which names: `record`.
//! * How bytes from the wire become text that cannot break a line: `encode`.
//! * The two shapes of a line: JSON, and text after a `template`.
//! * The way to the file: a bounded `queue`, and one thread that writes it (`writer`).
//!
//! *When is a line lost?* When the queue is full (the output is slower than the requests) or the output refuses it
//! (the disk is full). Such lines are counted, never waited for; a line is written whole or not at all.

mod encode;
mod queue;
mod record;
mod template;
mod writer;

use std::{cell::RefCell, fs::File, io, os::fd::AsFd, path::PathBuf, sync::Arc, thread, time::Duration};

pub use record::{Field, Record};
pub use template::{Template, TemplateError};

use queue::Queue;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
    /// Appended to; made if it is not there.
    File(PathBuf),
}

impl Output {
    fn open(&self) -> io::Result<File> {
        match self {
            // A descriptor of our own, so that no buffer and no lock of the standard streams is between.
            Self::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Self::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            Self::File(path) => File::options().append(true).create(true).open(path),
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// One object per line; absent fields are left out.
    Json,
    /// Absent fields are `-`.
    Text(Template),
}

/// A handle to the log; clones are cheap and write to the same output, from any thread.
///
/// The writing thread ends when the last handle is dropped, after it has written what was queued.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    format: Format,
    output: Output,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AccessLog {
    /// Opens the output and starts the writing thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn open(output: Output, format: Format) -> io::Result<Self> {
        let file = output.open()?;
        let queue = Arc::new(Queue::new());
        let theirs = queue.clone();
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer::run(&theirs, file))?;
        Ok(Self(Arc::new(Shared { queue, format, output })))
    }

    /// Queues one line. Never waits for the output; see [`dropped`](Self::dropped).
    pub fn write(&self, record: &Record<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match &self.0.format {
                Format::Json => record::write_json(line, record),
                Format::Text(template) => template.write(line, record),
            }
            line.push(b'\n');
            self.0.queue.push(line);
        });
    }

    /// Lines that were not written: the queue was full, or the output refused them.
    pub fn dropped(&self) -> u64 {
        self.0.queue.dropped.get()
    }

    /// Opens the file anew, after it was renamed (rotation). Lines queued until now still go to the old one, and so may
    /// a few that come before the next batch is written.
    /// Standard streams stay as they are.
    ///
    /// # Errors
    /// The file cannot be opened; the old one is then kept.
    pub fn reopen(&self) -> io::Result<()> {
        if let Output::File(_) = self.0.output {
            self.0.queue.replace_output(self.0.output.open()?);
        }
        Ok(())
    }

    /// Waits until every line queued before this call is written or counted as dropped; false when `timeout` was too
    /// short. Blocks the thread, so it is for the end of the process.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.queue.flush(timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn text(template: &str) -> Format {
        Format::Text(Template::parse(template).unwrap())
    }

    fn record(path: &str) -> Record<'_> {
        Record {
            path: Some(path.as_bytes()),
            ..Record::at(SystemTime::UNIX_EPOCH, "[::1]:1".parse().unwrap())
        }
    }

    #[test]
    fn lines_arrive_in_order_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = AccessLog::open(Output::File(path.clone()), text("{time} {client} {path} {status}")).unwrap();
        for i in 0..3000 {
            log.write(&record(&format!("/{i}")));
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 0);
        let written = fs::read_to_string(&path).unwrap();
        let expected: String = (0..3000)
            .map(|i| format!("1970-01-01T00:00:00.000Z [::1]:1 /{i} -\n"))
            .collect();
        assert!(written == expected, "{} bytes", written.len());
    }

    #[test]
    fn an_existing_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(Output::File(path.clone()), text("{path}")).unwrap();
        log.write(&record("/after"));
        assert!(log.flush(PATIENCE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n/after\n");
    }

    #[test]
    fn clones_on_many_threads_tear_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = AccessLog::open(Output::File(path.clone()), Format::Json).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                let log = log.clone();
                scope.spawn(move || (0..1000).for_each(|i| log.write(&record(&"x".repeat(i)))));
            }
        });
        assert!(log.flush(PATIENCE));
        let written = fs::read_to_string(&path).unwrap();
        let parsed = written
            .lines()
            .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
            .count();
        assert_eq!(parsed, written.lines().count());
        assert_eq!(parsed as u64 + log.dropped(), 4000);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let log = AccessLog::open(Output::File(path.clone()), text("{path}")).unwrap();
        log.write(&record("/1"));
        fs::rename(&path, &old).or_else(|_| fs::write(&old, "")).unwrap();
        log.reopen().unwrap();
        assert!(log.flush(PATIENCE));
        log.write(&record("/2"));
        assert!(log.flush(PATIENCE));
        assert_eq!(fs::read_to_string(&old).unwrap(), "/1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "/2\n");
    }

    #[test]
    fn a_reopen_that_fails_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a/log"), dir.path().join("b"));
        fs::create_dir(dir.path().join("a")).unwrap();
        let log = AccessLog::open(Output::File(path), text("{path}")).unwrap();
        fs::rename(dir.path().join("a"), &moved).unwrap();
        assert_eq!(log.reopen().unwrap_err().kind(), io::ErrorKind::NotFound);
        log.write(&record("/kept"));
        assert!(log.flush(PATIENCE));
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "/kept\n");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        // /dev/full refuses every write with ENOSPC.
        let log = AccessLog::open(Output::File("/dev/full".into()), text("{path}")).unwrap();
        for _ in 0..5 {
            log.write(&record("/"));
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 5);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = AccessLog::open(Output::File(dir.path().join("no/log")), Format::Json).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_queued_is_written_after_the_last_handle_is_gone() {
        let (reader, pipe) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
        let queue = Arc::new(Queue::new());
        let theirs = queue.clone();
        let thread = thread::spawn(move || writer::run(&theirs, pipe));
        let log = AccessLog(Arc::new(Shared {
            queue,
            format: text("{path}"),
            output: Output::Stdout,
        }));
        log.write(&record("/last"));
        drop(log);
        assert_eq!(io::read_to_string(reader).unwrap(), "/last\n");
        thread.join().unwrap();
    }

    fn assert_shared<T: Send + Sync + Clone>() {}

    #[test]
    fn handles_go_to_any_thread() {
        assert_shared::<AccessLog>();
    }
}
