//! The same story with clients and endpoints that speak HTTP/1.1 or HTTP/2: what passes, and what must not.

mod bodies;
mod broken;
mod fields;
mod heads;
mod hosts;
mod interim;
mod lengths;
mod trailers;
