//! What the proxy says of itself: numbers, the access log, and its own log.
//!
//! * [`counter`] and [`histogram`] are what the data path writes: plain relaxed stores, one writer each, summed over
//!   the workers when somebody asks.
//! * [`recorder`] keeps what is counted rarely and through the macros of the `metrics` crate.
//! * [`page`] puts such sums into Prometheus' text format, anew for each scrape: what is gone is not on the next page.
//! * [`access_log`] writes one line per request, from a thread of its own, and never makes a request wait.
//! * [`log`] is the diagnostics on standard error.
//!
//! Nothing here knows the rest of the crate; the names of series and fields are chosen by those who fill them.

pub mod access_log;
pub mod counter;
pub mod histogram;
pub mod log;
pub mod page;
pub mod recorder;

pub use access_log::{AccessLog, Record};
pub use counter::{Counter, SharedCounter};
pub use histogram::{Histogram, Totals};
pub use page::Page;
pub use recorder::Recorder;
