//! The thread that writes.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::time::Instant;

use super::queue::{Queue, Work};

/// How often a log that loses lines says so.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// What a buffer may keep after a burst.
const KEPT_BYTES: usize = 256 << 10;

/// Writes what is queued until the queue is closed and empty.
pub(super) fn run<W: Write>(queue: &Queue<W>, output: W) {
    let mut sink = Sink {
        output,
        rest: Vec::new(),
    };
    let mut warning = Warning { dropped: 0, last: None };
    let mut buffer = Vec::new();
    while let Work::Write { lines, then } = queue.take(&mut buffer) {
        let result = sink.write_lines(&buffer);
        if let Err(refused) = &result {
            queue.dropped.add(refused.lines);
        }
        if let Some(output) = then {
            queue.dropped.add(sink.replace(output));
        }
        buffer.clear();
        buffer.shrink_to(KEPT_BYTES);
        queue.settle(lines);
        warning.after_batch(
            queue.dropped.get(),
            Instant::now(),
            result.err().map(|refused| refused.error),
        );
    }
}

/// An output that takes whole lines only.
struct Sink<W> {
    output: W,
    /// The end of a line whose beginning is written. It goes first when the output takes bytes again, or the next line
    /// would be glued to a torn one.
    rest: Vec<u8>,
}

struct Refused {
    lines: u64,
    error: io::Error,
}

impl<W: Write> Sink<W> {
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), Refused> {
        let rest = std::mem::take(&mut self.rest);
        if let Err((written, error)) = write_all(&mut self.output, &rest) {
            self.rest = rest[written..].to_vec();
            return Err(Refused {
                lines: count(lines),
                error,
            });
        }
        write_all(&mut self.output, lines).map_err(|(written, error)| {
            let (done, left) = lines.split_at(written);
            let torn = if done.is_empty() || done.ends_with(b"\n") {
                0
            } else {
                line_length(left)
            };
            self.rest = left[..torn].to_vec();
            Refused {
                lines: count(&left[torn..]),
                error,
            }
        })
    }

    /// Goes on with another output; returns the lines (none or one) that can now never be finished.
    fn replace(&mut self, output: W) -> u64 {
        self.output = output;
        count(&std::mem::take(&mut self.rest))
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Bytes up to and with the first line feed.
fn line_length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |i| i + 1)
}

/// Like [`Write::write_all`], but an error says how many bytes were written before it.
fn write_all(output: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err((written, e)),
        }
    }
    Ok(())
}

/// Says that lines are lost, at once and then no more than once per [`WARN_INTERVAL`].
struct Warning {
    dropped: u64,
    last: Option<Instant>,
}

impl Warning {
    fn after_batch(&mut self, dropped: u64, now: Instant, error: Option<io::Error>) {
        if let Some(lines) = self.lines_to_tell(dropped, now) {
            match error {
                Some(error) => tracing::warn!(lines, %error, "access log drops lines"),
                None => tracing::warn!(lines, "access log drops lines: its output is too slow"),
            }
        }
    }

    /// The lines dropped since the last warning, if it is time to tell.
    fn lines_to_tell(&mut self, dropped: u64, now: Instant) -> Option<u64> {
        let new = dropped - self.dropped;
        if new == 0 || self.last.is_some_and(|last| now.duration_since(last) < WARN_INTERVAL) {
            return None;
        }
        self.dropped = dropped;
        self.last = Some(now);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `room` bytes, then refuses.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let n = bytes.len().min(self.room);
            self.room -= n;
            self.bytes.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink(room: usize) -> Sink<Disk> {
        Sink {
            output: Disk {
                bytes: Vec::new(),
                room,
            },
            rest: Vec::new(),
        }
    }

    #[test]
    fn a_torn_line_is_finished_when_there_is_room_again() {
        let mut sink = sink(5);
        let refused = sink.write_lines(b"abc\ndef\nghi\n").unwrap_err();
        assert_eq!((refused.lines, refused.error.kind()), (1, io::ErrorKind::StorageFull));
        assert_eq!(sink.write_lines(b"lost\n").unwrap_err().lines, 1);
        sink.output.room = 99;
        assert!(sink.write_lines(b"jkl\n").is_ok());
        assert_eq!(sink.output.bytes, b"abc\ndef\njkl\n");
    }

    #[test]
    fn a_torn_line_is_lost_with_its_output() {
        let mut sink = sink(5);
        assert!(sink.write_lines(b"abc\ndef\n").is_err());
        assert_eq!(
            sink.replace(Disk {
                bytes: Vec::new(),
                room: 99
            }),
            1
        );
        assert!(sink.write_lines(b"x\n").is_ok());
        assert_eq!(sink.output.bytes, b"x\n");
    }

    proptest! {
        #[test]
        fn every_line_is_whole_or_counted(rooms in prop::collection::vec(0usize..12, 1..20)) {
            let mut sink = sink(0);
            let mut dropped = 0;
            for room in &rooms {
                sink.output.room = *room;
                dropped += sink.write_lines(b"one\ntwo\n").err().map_or(0, |refused| refused.lines);
            }
            sink.output.room = usize::MAX;
            prop_assert!(sink.write_lines(b"").is_ok());
            let written = String::from_utf8(sink.output.bytes).unwrap();
            prop_assert!(written.lines().all(|line| line == "one" || line == "two"), "{}", written);
            prop_assert_eq!(written.lines().count() as u64 + dropped, 2 * rooms.len() as u64);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_at_once_and_then_once_a_minute() {
        let mut warning = Warning { dropped: 0, last: None };
        assert_eq!(warning.lines_to_tell(0, Instant::now()), None);
        assert_eq!(warning.lines_to_tell(3, Instant::now()), Some(3));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(warning.lines_to_tell(5, Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(warning.lines_to_tell(7, Instant::now()), Some(4));
    }
}
