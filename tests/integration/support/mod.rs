//! What the stories are told with: a proxy, scripted endpoints, clients in raw bytes, and ways to wait for events.

pub mod attack;
pub mod authority;
pub mod certificate;
pub mod client;
pub mod endpoint;
pub mod eventually;
pub mod family;
pub mod h2;
pub mod h2_endpoint;
pub mod lines;
pub mod netns;
pub mod pairing;
pub mod proxy;
pub mod sockets;
pub mod tls_client;
pub mod tls_session;
pub mod tools;
pub mod unreachable;
pub mod wire;

pub use attack::Scene;
pub use client::{Client, Response};
pub use endpoint::{Endpoint, Exchange};
pub use eventually::{Gate, eventually};
pub use proxy::Proxy;
pub use wire::{End, chunk, pattern};

#[cfg(test)]
mod tests;
