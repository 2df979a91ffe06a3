//! Forebay as its users meet it: the real binary, real sockets, raw bytes on both sides.
//!
//! A file per behaviour; `support` has what the stories are told with. Tests that need a program that is not
//! installed, or root, say so and pass; with `FOREBAY_TESTS_STRICT=1` they fail instead.

#![allow(
    clippy::disallowed_types,
    reason = "the proxy is another process, whose clock no test can pause"
)]

mod access_log;
mod admin;
mod answers;
mod back_pressure;
mod bench;
mod bench_exhaust;
mod check;
mod cli;
mod config;
mod drain;
mod endings;
mod forwarding;
mod grpc;
mod headers;
mod health;
mod http2;
mod http2_floods;
mod http2_violations;
mod interim;
mod keep_alive;
mod large_bodies;
mod large_uploads;
mod limits;
mod pairings;
mod parking;
mod peers;
mod pipelined;
mod pool;
mod ports;
mod ports_audit;
mod proxy_protocol;
mod proxy_protocol_to_endpoints;
mod real_servers;
mod redirect_to_https;
mod reload;
mod request_bodies;
mod responses;
mod reuse_policy;
mod routing;
mod smuggling;
mod stale;
mod support;
mod tcp;
mod timewait;
mod tls;
mod tls_clients;
mod tls_files;
mod tls_policy;
mod tls_resumption;
mod tunnels;
mod upstream_http2;
mod upstream_tls;
mod workers;
