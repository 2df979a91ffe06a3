//! A reverse proxy and load balancer that ends client connections under one keep-alive policy and sends their requests
//! over pooled, long-lived upstream connections, so that TIME_WAIT never uses up the source ports between the proxy and
//! its endpoints.
//!
//! # Floors
//!
//! A module imports only from the floors below its own; a test reads this table and holds the code to it.
//!
//! ```text
//! main
//! cli                                                | run proxy check endpoint demo bench
//! server bench                                       | composition root: workers, control, signals | the experiment
//! admin                                              | metrics page, health, status
//! proxy reload                                       | one request | one new snapshot
//! snapshot                                           | routes and clusters as one immutable view
//! upstream                                           | cluster, endpoint, connector, the HTTP/1 exchange
//! downstream health                                  | clients' connections and their policy | probes
//! tunnel                                             | the bytes after an upgrade
//! pool ports balance routing http1 tls worker        | each knows nothing of the others
//! net                                                | sockets and their options
//! config telemetry                                   | import nothing of ours
//! ```
//!
//! One request travels: accept ([`downstream`]) -> serve -> handle ([`proxy`]) -> route ([`routing`]) -> pick
//! ([`balance`]) -> check out ([`pool`]) -> exchange ([`upstream`]) -> stream back -> check in.

pub mod admin;
pub mod balance;
pub mod bench;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod health;
pub mod http1;
pub mod net;
pub mod pool;
pub mod ports;
pub mod proxy;
pub mod reload;
pub mod routing;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod tunnel;
pub mod upstream;
pub mod worker;
