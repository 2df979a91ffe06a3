//! The time of an answer, as it is said in `Date` (RFC 9110 5.6.7).

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

thread_local! {
    static TEXT: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// A second, written out: to do that for each answer costs 0.1 µs.
struct Text {
    text: String,
    until: Instant,
}

/// Gives the text of the present second, where `now` is as coarse as the caller's clock.
pub(super) fn with<R>(now: Instant, write: impl FnOnce(&[u8]) -> R) -> R {
    TEXT.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|kept| now >= kept.until) {
            let time = SystemTime::now();
            let into = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            *kept = Some(Text {
                text: httpdate::fmt_http_date(time),
                until: now + Duration::from_secs(1) - Duration::from_nanos(into.into()),
            });
        }
        write(kept.as_ref().map_or(&[][..], |kept| kept.text.as_bytes()))
    })
}
