//! What is known of the source ports from one address to one destination.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::time::Instant;

use super::recent::{Recent, TIME_WAIT_SECONDS};
use crate::net::Reach;

/// How long a pair that had no free port twice is left alone. A failing `connect()` on a full range costs 6 to 8 ms of
/// processor time, so asking again and again would eat a core.
pub const BACK_OFF: Duration = Duration::from_secs(1);

/// How often the log says that a pair has no free port.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The ports from one source address to one destination: a name space of its own, for the kernel tells connections
/// apart by both ends. Shared by all clusters that open such connections.
#[derive(Debug)]
pub struct Pair {
    /// `None` where the kernel has not been able to say which address it takes.
    pub source: Option<IpAddr>,
    pub destination: SocketAddr,
    epoch: Instant,
    /// Ports that a connection of ours holds, in whatever state.
    held: AtomicUsize,
    connecting: AtomicUsize,
    closing: AtomicUsize,
    /// Ports that others hold, as of the last look at the kernel's sockets.
    foreign: AtomicUsize,
    /// As many ports as there were when the kernel had no more: fewer than the limit where listeners and others hold
    /// some. `usize::MAX`: the limit alone counts.
    ceiling: AtomicUsize,
    exhausted: AtomicU64,
    /// Milliseconds after `epoch` at which that was last so.
    exhausted_at: AtomicU64,
    refused: AtomicU64,
    /// Milliseconds after `epoch` until which it is left alone.
    resumes: AtomicU64,
    /// Milliseconds after `epoch` from which on the log may speak of it again.
    silent_until: AtomicU64,
    absent: AtomicBool,
    /// The source is not assigned to an interface, but a route leads it to this machine.
    routed: AtomicBool,
    rare: Mutex<Rare>,
    /// Seconds for which a TIME_WAIT keeps its port from being used again, as the kernel is set.
    blocking: AtomicU64,
    /// Whether `rare` has anything that holds ports, so that most never lock it.
    has_left_some: AtomicBool,
}

#[derive(Debug)]
struct Rare {
    /// By the second.
    time_wait: Recent,
    /// FINs of ours that the endpoint may not have acknowledged yet, by the millisecond: a few dozen of these are
    /// remembered, longer than the acknowledgement takes (40 ms at most).
    unacknowledged: Recent,
    observed: Option<Observed>,
    /// Ports that seemed to be others' then.
    others: Option<usize>,
    /// Our count of open connections less the kernel's, at that moment.
    difference: Option<i64>,
}

/// What the kernel's own list of sockets says of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    pub established: usize,
    pub syn_sent: usize,
    /// FIN_WAIT1, FIN_WAIT2, CLOSING and LAST_ACK.
    pub closing: usize,
    pub close_wait: usize,
    pub time_wait: usize,
}

/// A pair as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct PairStatus {
    pub source: Option<IpAddr>,
    pub destination: SocketAddr,
    /// Whether the source address is on this machine.
    pub present: bool,
    /// Connections that a SYN has been sent for.
    pub connecting: usize,
    /// Connections in use or idle.
    pub established: usize,
    /// Connections that are closed, and whose port is not free yet.
    pub closing: usize,
    /// TIME_WAIT sockets that our closes have left.
    pub time_wait: u64,
    /// Ports that other processes hold, or an earlier run of this one, as of the last look.
    pub foreign: usize,
    /// Ports that nobody else can have now.
    pub used: usize,
    /// Ports that may be in use.
    pub limit: usize,
    /// Times that the kernel had no free port.
    pub exhausted: u64,
    /// Times that the limit was reached, so that the kernel was not asked.
    pub refused: u64,
    /// In how many seconds the ports are used up if closes go on as now; `None`: never.
    pub exhausted_in: Option<u64>,
    pub observed: Option<Observed>,
    /// Our count of open connections less the kernel's, when it was last looked at.
    pub difference: Option<i64>,
}

impl Pair {
    pub(super) fn new(source: Option<IpAddr>, destination: SocketAddr, epoch: Instant) -> Self {
        Self {
            source,
            destination,
            epoch,
            held: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            closing: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            ceiling: AtomicUsize::new(usize::MAX),
            exhausted: AtomicU64::new(0),
            exhausted_at: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            resumes: AtomicU64::new(0),
            silent_until: AtomicU64::new(0),
            absent: AtomicBool::new(false),
            routed: AtomicBool::new(false),
            rare: Mutex::new(Rare {
                time_wait: Recent::new(),
                unacknowledged: Recent::new(),
                observed: None,
                others: None,
                difference: None,
            }),
            blocking: AtomicU64::new(TIME_WAIT_SECONDS),
            has_left_some: AtomicBool::new(false),
        }
    }

    /// Ports that nobody else can have now.
    pub(super) fn used(&self, now: Instant) -> usize {
        self.held.load(Relaxed) + self.others(now)
    }

    /// Ports held by no connection of ours: in TIME_WAIT after one, or by somebody else.
    fn others(&self, now: Instant) -> usize {
        let foreign = self.foreign.load(Relaxed);
        if !self.has_left_some.load(Relaxed) {
            return foreign;
        }
        let (second, blocking) = (self.second(now), self.blocking.load(Relaxed));
        let mut rare = self.rare();
        let unacknowledged = rare.unacknowledged.total(self.millis(now));
        if unacknowledged + rare.time_wait.total(second) == 0 {
            self.has_left_some.store(false, Relaxed);
        }
        let left = unacknowledged + rare.time_wait.within(second, blocking);
        foreign + usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Sets for how long a TIME_WAIT keeps its port from being used again.
    pub(super) fn set_time_wait(&self, time_wait: Duration) {
        self.blocking.store(time_wait.as_secs(), Relaxed);
    }

    /// As many ports as may be in use where `limit` is the limit.
    pub(super) fn most(&self, limit: usize) -> usize {
        limit.min(self.ceiling.load(Relaxed))
    }

    /// Takes a port if fewer than `limit` are in use.
    pub(super) fn take(&self, limit: usize, now: Instant) -> bool {
        let limit = self.most(limit);
        let others = self.others(now);
        let room = |held| (held + others < limit).then_some(held + 1);
        let taken = self.held.fetch_update(SeqCst, SeqCst, room).is_ok();
        if taken {
            self.connecting.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Takes over the port of a connection that another pair was thought to hold.
    pub(super) fn take_over_connecting(&self) {
        self.held.fetch_add(1, SeqCst);
        self.connecting.fetch_add(1, Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connecting.fetch_sub(1, Relaxed);
    }

    pub(super) fn closing(&self) {
        self.closing.fetch_add(1, Relaxed);
    }

    pub(super) fn free_connecting(&self) {
        self.connecting.fetch_sub(1, Relaxed);
        self.held.fetch_sub(1, SeqCst);
    }

    pub(super) fn free_open(&self) {
        self.held.fetch_sub(1, SeqCst);
    }

    pub(super) fn free_closing(&self) {
        self.closing.fetch_sub(1, Relaxed);
        self.held.fetch_sub(1, SeqCst);
    }

    pub(super) fn left_time_wait(&self, now: Instant) {
        let second = self.second(now);
        self.rare().time_wait.add(second);
        self.has_left_some.store(true, Relaxed);
    }

    pub(super) fn left_fin(&self, now: Instant) {
        let millis = self.millis(now);
        self.rare().unacknowledged.add(millis);
        self.has_left_some.store(true, Relaxed);
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resumes.load(Relaxed) > self.millis(now)
    }

    pub(super) fn is_present(&self) -> bool {
        !self.absent.load(Relaxed)
    }

    /// Notes whether the source address is on this machine; says whether that is news.
    pub(super) fn set_present(&self, present: Presence) -> bool {
        let absent = present == Presence::Absent;
        self.absent.swap(absent, Relaxed) != absent
    }

    pub(super) fn reach(&self) -> Reach {
        if self.routed.load(Relaxed) {
            Reach::Routed
        } else {
            Reach::Assigned
        }
    }

    pub(super) fn set_reach(&self, reach: Reach) {
        self.routed.store(reach == Reach::Routed, Relaxed);
    }

    /// The kernel had no free port for a connection that still holds its place: no more are tried than there are now.
    /// If that was so just before too, the pair rests for [`BACK_OFF`].
    pub(super) fn note_exhausted(&self, now: Instant) {
        self.ceiling.fetch_min(self.used(now).saturating_sub(1), Relaxed);
        let times = self.exhausted.fetch_add(1, Relaxed) + 1;
        let before = self.exhausted_at.swap(self.millis(now), Relaxed);
        let is_soon = self.millis(now) < before + BACK_OFF.as_millis() as u64;
        if times > 1 && is_soon {
            self.resumes.store(self.millis(now + BACK_OFF), Relaxed);
        }
        if self.may_log(now) {
            tracing::warn!(
                source = self.source.map(tracing::field::display),
                endpoint = %self.destination,
                times,
                "the kernel has no free source port towards the endpoint"
            );
        }
    }

    /// Lets a quarter more be tried than the kernel last had, up to `limit`. To be called every [`BACK_OFF`].
    pub(super) fn raise_ceiling(&self, limit: usize) {
        let raised = |ceiling: usize| match ceiling {
            usize::MAX => None,
            ceiling if ceiling >= limit => Some(usize::MAX),
            ceiling => Some(ceiling + (ceiling / 4).max(1)),
        };
        let _ = self.ceiling.fetch_update(Relaxed, Relaxed, raised);
    }

    /// The limit was reached, and the kernel was not asked.
    pub(super) fn note_refused(&self, limit: usize, now: Instant) {
        let times = self.refused.fetch_add(1, Relaxed) + 1;
        if self.may_log(now) {
            tracing::warn!(
                source = self.source.map(tracing::field::display),
                endpoint = %self.destination,
                limit,
                times,
                "all source ports towards the endpoint are in use"
            );
        }
    }

    /// One line per pair and minute, whatever happens.
    fn may_log(&self, now: Instant) -> bool {
        let (millis, next) = (self.millis(now), self.millis(now + LOG_INTERVAL));
        let due = |until| (until <= millis).then_some(next);
        self.silent_until.fetch_update(Relaxed, Relaxed, due).is_ok()
    }

    /// Compares with what the kernel shows, `None` if it could not be asked.
    pub(super) fn observe(&self, observed: Option<Observed>, now: Instant) {
        let second = self.second(now);
        let (held, connecting) = (self.held.load(SeqCst), self.connecting.load(Relaxed));
        let open = held.saturating_sub(connecting + self.closing.load(Relaxed));
        let mut rare = self.rare();
        let own_time_wait = usize::try_from(rare.time_wait.total(second)).unwrap_or(usize::MAX);
        let reusable = self.blocking.load(Relaxed) < TIME_WAIT_SECONDS;
        // Without those that close: ours are among them, and all are gone before the next look.
        let others = |seen: Observed| {
            let open = (seen.established + seen.syn_sent + seen.close_wait).saturating_sub(held);
            let time_wait = if reusable {
                0
            } else {
                seen.time_wait.saturating_sub(own_time_wait)
            };
            open + time_wait
        };
        // The list takes its time, in which connections come and go; others' ports are those of two looks.
        let looked = observed.map(others);
        let before = std::mem::replace(&mut rare.others, looked);
        let lasting = looked.map_or(0, |looked| before.map_or(looked, |before| before.min(looked)));
        self.foreign.store(lasting, Relaxed);
        let difference = |seen: Observed| Some(i64::try_from(open).ok()? - i64::try_from(seen.established).ok()?);
        rare.difference = observed.and_then(difference);
        rare.observed = observed;
    }

    pub fn status(&self, now: Instant, limit: usize) -> PairStatus {
        let (held, connecting, closing) = (
            self.held.load(SeqCst),
            self.connecting.load(Relaxed),
            self.closing.load(Relaxed),
        );
        let used = self.used(now);
        let second = self.second(now);
        let mut rare = self.rare();
        PairStatus {
            source: self.source,
            destination: self.destination,
            present: self.is_present(),
            connecting,
            established: held.saturating_sub(connecting + closing),
            closing,
            time_wait: rare.time_wait.total(second),
            foreign: self.foreign.load(Relaxed),
            used,
            limit,
            exhausted: self.exhausted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            exhausted_in: match self.blocking.load(Relaxed) {
                TIME_WAIT_SECONDS => rare.time_wait.exhausted_in(second, limit.saturating_sub(used) as u64),
                // The kernel takes such ports over again.
                _ => None,
            },
            observed: rare.observed,
            difference: rare.difference,
        }
    }

    /// Whether nothing of it is left that anybody could ask for.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.used(now) == 0
    }

    fn rare(&self) -> MutexGuard<'_, Rare> {
        self.rare.lock().expect("no panic under this lock")
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }
}

/// Whether an address is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Present,
    Absent,
}

#[cfg(test)]
mod tests;
