//! Socket options, pipes, process limits and the allocator's housekeeping, which no crate offers safely: the only file
//! where `unsafe` is allowed.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// `IP_LOCAL_PORT_RANGE` of `linux/in.h` (Linux 6.3); libc does not name it.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// Retransmissions without an answer after which a peer counts as gone. The third comes some 1.4 s after the sending
/// (200 ms, doubled each time).
const RETRANSMISSIONS: u8 = 3;

/// Leaves the choice of the source port to `connect()` although the address is bound before, so that each destination
/// has the whole range of ports to itself (`IP_BIND_ADDRESS_NO_PORT`). IPv4 and IPv6.
pub fn set_bind_address_no_port(socket: impl AsFd) -> io::Result<()> {
    set(
        &socket,
        libc::IPPROTO_IP,
        libc::IP_BIND_ADDRESS_NO_PORT,
        1 as libc::c_int,
    )
}

/// Restricts the source ports to `low..=high`, and makes the search for a free one cheap: above half fill of the
/// default range a `connect()` costs 3.7 ms without this option and 21 µs with it. IPv4 and IPv6.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.3.
pub fn set_local_port_range(socket: impl AsFd, low: u16, high: u16) -> io::Result<()> {
    set(
        &socket,
        libc::IPPROTO_IP,
        IP_LOCAL_PORT_RANGE,
        u32::from(low) | u32::from(high) << 16,
    )
}

/// Makes `close()` send a FIN and, once that is acknowledged, forget the socket: the endpoint reads a clean end and we
/// keep no TIME_WAIT (`TCP_LINGER2 = -1`). The option also holds when the process is killed.
pub fn set_no_time_wait(socket: impl AsFd) -> io::Result<()> {
    set(&socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1 as libc::c_int)
}

/// Takes [`set_no_time_wait`] back: a `close()` that comes first leaves a TIME_WAIT of 60 s.
pub fn set_time_wait(socket: impl AsFd) -> io::Result<()> {
    set(&socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, 0 as libc::c_int)
}

/// Whether the peer has left what was sent unacknowledged through several retransmissions (`TCP_INFO`): it is dead, or
/// the way to it is, for a live host acknowledges even what it cannot handle.
pub fn is_unacknowledged(socket: impl AsFd) -> io::Result<bool> {
    // SAFETY: `tcp_info` is a C struct of integers, for which all zeros is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the length of the call, since `socket` lends it; `info` and `length` are valid,
    // exclusive places, and the kernel writes at most `length` bytes to `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.tcpi_unacked > 0 && info.tcpi_retransmits >= RETRANSMISSIONS)
}

fn set<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: T) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, since `socket` lends it; the pointer and the length
    // describe `value`, which outlives the call; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A pipe that holds `capacity` bytes and never waits: the end to read from, and the one to write to.
///
/// # Errors
/// No descriptor is left, or `EPERM` where the user has more than `pipe-user-pages-soft` already.
pub fn pipe(capacity: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` is a valid, exclusive place for the kernel to write two descriptors to.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened both, and nobody else knows of them.
    let [from, to] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let capacity = libc::c_int::try_from(capacity).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open for the length of the call, since `to` owns it; the command takes an integer.
    if unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, capacity) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((from, to))
}

/// Moves up to `length` bytes without copying them, where one of the two is a pipe and neither waits; gives how many.
/// None are the end of what `from` has.
pub fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    // SAFETY: both descriptors are open for the length of the call, since `from` and `to` lend them; without offsets the
    // kernel touches no memory of ours.
    let moved = unsafe {
        libc::splice(
            from.as_fd().as_raw_fd(),
            ptr::null_mut(),
            to.as_fd().as_raw_fd(),
            ptr::null_mut(),
            length,
            libc::SPLICE_F_NONBLOCK,
        )
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// The soft limit on open files.
pub fn open_file_limit() -> io::Result<u64> {
    Ok(open_file_limits()?.rlim_cur)
}

fn open_file_limits() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid, exclusive place for the kernel to write one `rlimit` to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

/// Raises the soft limit on open files to the hard limit; gives the limit now in force.
pub fn raise_open_file_limit() -> io::Result<u64> {
    let mut limit = open_file_limits()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid `rlimit` that the kernel only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Keeps the kernel from giving this process huge pages, of which a few bytes of a client that stays would hold 2 MiB:
/// with them, each idle client over HTTP/2 took 39 KiB, without 22 KiB.
pub fn use_small_pages() -> io::Result<()> {
    // SAFETY: the call takes numbers alone, and changes nothing but how memory is mapped from now on.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the allocator give back to the system what the calling thread has freed. It does so by itself only while it is
/// busy: after a burst of 2000 clients it kept 15 KiB for each of them for as long as they were idle. `all` also looks at what it has only set aside, which
/// takes longer.
pub fn release_free_memory(all: bool) {
    // SAFETY: the function has no preconditions; it may be called on any thread at any time, also where another
    // allocator is in use.
    unsafe { libmimalloc_sys::mi_collect(all) }
}
