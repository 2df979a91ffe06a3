//! One story told over each pairing of protocols: a client and an endpoint that speak HTTP/1.1 or HTTP/2, and that the
//! story sees only as requests and answers.

mod caller;
mod channel;
mod fields;
mod http1;
mod http2;
mod service;

use std::{
    cell::RefCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

pub use caller::{Answer, Ask, Caller, Length};
pub use channel::{Channel, Piece};
pub use fields::Fields;
pub use service::{Call, Service};

use super::{
    proxy::{Proxy, Setup},
    wire::DEADLINE,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Who speaks what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairing {
    pub client: Protocol,
    pub endpoint: Protocol,
}

/// Tells `story` over every pairing; a failure says over which.
pub fn on_each(story: impl Fn(Pairing)) {
    use Protocol::{Http1, Http2};
    for (client, endpoint) in [(Http1, Http1), (Http2, Http1), (Http1, Http2), (Http2, Http2)] {
        let pairing = Pairing { client, endpoint };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(pairing))) {
            eprintln!("this was {pairing:?}");
            resume_unwind(panic);
        }
    }
}

impl Pairing {
    /// An endpoint that runs `script` for each request.
    pub fn service(self, script: impl Fn(&mut Call) + Send + Sync + 'static) -> Service {
        Service::start(self.endpoint, script)
    }

    /// A proxy in front of it.
    pub fn setup(self, service: &Service) -> Setup {
        let setup = Proxy::to(&[service.address()]);
        match self.endpoint {
            Protocol::Http1 => setup,
            Protocol::Http2 => setup.with("protocol = \"http2\"\n"),
        }
    }

    pub fn proxy(self, service: &Service) -> Proxy {
        self.setup(service).start()
    }

    pub fn connect(self, proxy: &Proxy) -> Caller {
        Caller::connect(self.client, proxy.address())
    }

    /// One request on a connection of its own.
    pub fn call(self, proxy: &Proxy, ask: &Ask, body: &[u8]) -> Answer {
        self.connect(proxy).call(ask, body)
    }
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime can be made"),
    );
}

/// Waits for what the HTTP/2 engine on another thread gives; `None` at the deadline.
fn wait<F: Future>(future: F) -> Option<F::Output> {
    RUNTIME.with_borrow(|runtime| runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.ok() }))
}
