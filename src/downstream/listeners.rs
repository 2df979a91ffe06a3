//! The listeners of one worker: they accept clients, keep them here or hand them to a less busy sibling, and end them
//! in good order.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::Instant,
};

use super::{
    Handle, connection,
    idle::{IdleClients, idle_timeout_under_pressure},
    listener::{Admission, Draining, Listener, Local, Yield},
    proxy_protocol::{self, Expectation, ProxyOutcome},
};
use crate::{
    config,
    tls::ServerTls,
    worker::{Board, Timers},
};

/// How long accepting pauses when descriptors or memory run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that accepting pauses, at most.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// What workers send each other.
#[derive(Debug)]
pub struct Message(Kind);

#[derive(Debug)]
enum Kind {
    /// A fresh client for the receiver to serve.
    Take {
        listener: Arc<Listener>,
        stream: std::net::TcpStream,
        address: SocketAddr,
        admission: Admission,
    },
    /// The receiver's longest-idle client gives way.
    Shed(Arc<Listener>),
}

/// All listeners of one worker.
#[derive(Debug)]
pub struct Listeners<H> {
    handler: Rc<H>,
    timers: Timers,
    worker: usize,
    board: Arc<Board<Message>>,
    active: RefCell<Vec<Rc<Active>>>,
    /// Clients whose listener a sibling knew before this worker did.
    early: RefCell<Vec<Kind>>,
    connections: Rc<Connections>,
}

/// One listener on this worker.
#[derive(Debug)]
struct Active {
    listener: Arc<Listener>,
    /// Changes with a reload; clients keep the one they came under.
    local: RefCell<Rc<Local>>,
    stop: Notify,
    /// When it stopped accepting. It stays a little, since a sibling may still hand over a client of it.
    stopped: Cell<Option<Instant>>,
    /// When the log last said that accepting pauses.
    warned: Cell<Option<Instant>>,
}

/// The clients of this worker.
#[derive(Debug, Default)]
struct Connections {
    count: Cell<usize>,
    none: Notify,
}

impl<H: Handle> Listeners<H> {
    pub fn new(handler: Rc<H>, timers: Timers, worker: usize, board: Arc<Board<Message>>) -> Rc<Self> {
        let connections = Rc::default();
        Rc::new(Self {
            handler,
            timers,
            worker,
            board,
            active: RefCell::default(),
            early: RefCell::default(),
            connections,
        })
    }

    /// Begins to accept on `socket`, this worker's own of the listener.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn listen(
        self: &Rc<Self>,
        listener: Arc<Listener>,
        socket: std::net::TcpListener,
        config: Arc<config::Listener>,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let local = Rc::new(Local {
            listener: Arc::clone(&listener),
            config,
            tls,
            timers: self.timers.clone(),
            idle: IdleClients::new(),
            draining: Rc::new(Cell::new(Draining::No)),
            streams: Rc::default(),
            said: Cell::default(),
        });
        let active = Rc::new(Active {
            listener,
            local: RefCell::new(local),
            stop: Notify::new(),
            stopped: Cell::new(None),
            warned: Cell::new(None),
        });
        self.active.borrow_mut().push(Rc::clone(&active));
        for kind in self.early.take() {
            self.receive(Message(kind));
        }
        tokio::task::spawn_local(Rc::clone(self).accept(active, socket));
        Ok(())
    }

    /// Puts a new config in force for the clients that come from now on.
    pub fn update(&self, listener: &Arc<Listener>, config: &Arc<config::Listener>, tls: Option<&Arc<ServerTls>>) {
        let Some(active) = self.find(listener) else { return };
        let old = Rc::clone(&active.local.borrow());
        *active.local.borrow_mut() = Rc::new(Local {
            listener: Arc::clone(listener),
            config: Arc::clone(config),
            tls: tls.cloned(),
            timers: self.timers.clone(),
            idle: Rc::clone(&old.idle),
            draining: Rc::clone(&old.draining),
            streams: Rc::clone(&old.streams),
            said: old.said.clone(),
        });
    }

    /// Stops accepting on one listener: who is queued is still served, idle clients are closed, running requests end in
    /// their own time.
    pub fn close(&self, listener: &Arc<Listener>) {
        if let Some(active) = self.find(listener) {
            active.drain();
        }
        self.timers.wake_all();
    }

    /// [`Listeners::close`] for all of them.
    pub fn drain(&self) {
        for active in self.active.borrow().iter() {
            active.drain();
        }
        self.timers.wake_all();
    }

    /// The drain has taken long enough: tunnels, which may go on for ever, are ended.
    pub fn cut(&self) {
        for active in self.active.borrow().iter() {
            active.local.borrow().draining.set(Draining::Cut);
        }
        self.timers.wake_all();
    }

    /// Whether no client is left, nor on its way here from a sibling.
    pub fn is_empty(&self) -> bool {
        self.connections.count.get() == 0 && self.board.connections(self.worker) == 0
    }

    /// Waits until the last client here is gone.
    ///
    /// Cancellation: nothing is lost.
    pub async fn emptied(&self) {
        self.connections.none.notified().await;
    }

    /// Takes what a sibling sent.
    pub fn receive(self: &Rc<Self>, message: Message) {
        match message.0 {
            Kind::Shed(listener) => {
                if let Some(active) = self.find(&listener) {
                    active.local.borrow().idle.shed_one();
                }
            }
            Kind::Take {
                listener,
                stream,
                address,
                admission,
            } => {
                let Some(active) = self.find(&listener) else {
                    let early = Kind::Take {
                        listener,
                        stream,
                        address,
                        admission,
                    };
                    return self.early.borrow_mut().push(early);
                };
                self.board.remove(self.worker);
                let local = Rc::clone(&active.local.borrow());
                if let Ok(stream) = TcpStream::from_std(stream) {
                    self.serve(stream, address, local, admission);
                }
            }
        }
    }

    /// To be called every 250 ms or so: what pressure and the siblings need to know.
    pub fn tick(&self, now: Instant) {
        self.active.borrow_mut().retain(|active| !active.is_over(now));
        for active in self.active.borrow().iter() {
            let local = active.local.borrow();
            let listener = &local.listener;
            listener.note_idle(self.worker, &local.idle);
            local.streams.sweep(now);
            let policy = &local.config.keep_alive;
            if policy.under_pressure == config::UnderPressure::ShedIdle {
                let (connections, max) = (listener.connections(), local.config.max_connections);
                let idle_timeout = idle_timeout_under_pressure(policy.idle_timeout, connections, max);
                if idle_timeout < policy.idle_timeout {
                    local.idle.shed_idle(idle_timeout, now);
                }
            }
        }
    }

    /// Whether clients have left memory behind since this was last asked.
    pub fn take_memory_left(&self) -> bool {
        let mut left = false;
        for active in self.active.borrow().iter() {
            left |= active.local.borrow().idle.take_memory_left();
        }
        left
    }

    fn find(&self, listener: &Arc<Listener>) -> Option<Rc<Active>> {
        self.active
            .borrow()
            .iter()
            .find(|active| Arc::ptr_eq(&active.listener, listener))
            .cloned()
    }

    async fn accept(self: Rc<Self>, active: Rc<Active>, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = socket.accept() => accepted,
                () = active.stop.notified() => return self.accept_queued(&active, &socket).await,
            };
            match accepted {
                Ok((stream, address)) => self.place(&active, stream, address),
                Err(error) => self.accept_failed(&active, &error).await,
            }
        }
    }

    /// The kernel resets whom it has queued when a listening socket closes, so they are taken first.
    async fn accept_queued(self: Rc<Self>, active: &Active, socket: &TcpListener) {
        loop {
            let queued = poll_fn(|context| match socket.poll_accept(context) {
                Poll::Ready(Ok(client)) => Poll::Ready(Some(client)),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
            });
            match queued.await {
                Some((stream, address)) => self.place(active, stream, address),
                None => return,
            }
        }
    }

    async fn accept_failed(&self, active: &Active, error: &io::Error) {
        active.listener.counts.accept_errors.fetch_add(1, Relaxed);
        // A client that went away before it was accepted is no reason to wait.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
        ) {
            return;
        }
        let now = Instant::now();
        if active
            .warned
            .get()
            .is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL)
        {
            active.warned.set(Some(now));
            tracing::warn!(
                listener = active.listener.name,
                %error,
                "accepting pauses for {} ms at a time: new clients wait in the kernel's queue",
                ACCEPT_PAUSE.as_millis()
            );
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn place(self: &Rc<Self>, active: &Active, stream: TcpStream, address: SocketAddr) {
        active.listener.counts.accepted.fetch_add(1, Relaxed);
        let local = Rc::clone(&active.local.borrow());
        let client = match proxy_protocol::expectation(&local.config, address.ip()) {
            Expectation::Nothing => Some(address.ip()),
            // Its header will say who it is.
            Expectation::Header(_) => None,
            Expectation::Untrusted => return proxy_protocol::note(&local, address, ProxyOutcome::Untrusted, None),
        };
        let yields = || match local.config.keep_alive.under_pressure {
            config::UnderPressure::Refuse => Yield::Nobody,
            config::UnderPressure::ShedIdle => active.listener.longest_idle(self.worker, local.idle.oldest()),
        };
        let admission = match active.listener.admit(client, &local.config, yields) {
            Ok((admission, who)) => {
                self.make_room(active, &local, who);
                admission
            }
            Err(rejected) => {
                let handler = Rc::clone(&self.handler);
                tokio::task::spawn_local(connection::turn_away(stream, address, handler, local, rejected));
                return;
            }
        };
        match self.board.place(self.worker) {
            own if own == self.worker => self.serve(stream, address, local, admission),
            sibling => self.hand_over(sibling, active, stream, address, admission),
        }
    }

    fn make_room(&self, active: &Active, local: &Local, who: Yield) {
        match who {
            Yield::Nobody => {}
            Yield::Own => {
                local.idle.shed_one();
            }
            Yield::Sibling(sibling) => {
                let _ = self
                    .board
                    .send(sibling, Message(Kind::Shed(Arc::clone(&active.listener))));
            }
        }
    }

    fn hand_over(
        self: &Rc<Self>,
        sibling: usize,
        active: &Active,
        stream: TcpStream,
        address: SocketAddr,
        admission: Admission,
    ) {
        let Ok(stream) = stream.into_std() else { return };
        let listener = Arc::clone(&active.listener);
        listener.counts.handed_over.fetch_add(1, Relaxed);
        // Counted at once, so that the next client is not handed to the same sibling before this one has arrived.
        self.board.add(sibling);
        let message = Message(Kind::Take {
            listener,
            stream,
            address,
            admission,
        });
        if let Err(back) = self.board.send(sibling, message) {
            self.board.remove(sibling);
            self.board.add(self.worker);
            self.receive(back);
        }
    }

    fn serve(&self, stream: TcpStream, address: SocketAddr, local: Rc<Local>, admission: Admission) {
        let guest = Box::new(Guest {
            admission,
            _presence: Presence::new(&self.connections, &self.board, self.worker),
        });
        let handler = Rc::clone(&self.handler);
        tokio::task::spawn_local(connection::serve(stream, address, handler, local, guest));
    }
}

impl Active {
    fn drain(&self) {
        self.local.borrow().draining.set(Draining::Yes);
        self.stopped.set(Some(self.stopped.get().unwrap_or_else(Instant::now)));
        self.stop.notify_one();
    }

    fn is_over(&self, now: Instant) -> bool {
        let hand_over_ended = |stopped| now.saturating_duration_since(stopped) > Duration::from_secs(5);
        self.stopped.get().is_some_and(hand_over_ended) && Rc::strong_count(&self.local.borrow()) == 1
    }
}

/// The places of one client; they are given back when it is dropped.
pub(super) struct Guest {
    pub(super) admission: Admission,
    _presence: Presence,
}

/// One client counted on its worker.
struct Presence {
    connections: Rc<Connections>,
    board: Arc<Board<Message>>,
    worker: usize,
}

impl Presence {
    fn new(connections: &Rc<Connections>, board: &Arc<Board<Message>>, worker: usize) -> Self {
        connections.count.set(connections.count.get() + 1);
        board.add(worker);
        Self {
            connections: Rc::clone(connections),
            board: Arc::clone(board),
            worker,
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.board.remove(self.worker);
        self.connections.count.set(self.connections.count.get() - 1);
        if self.connections.count.get() == 0 {
            self.connections.none.notify_one();
        }
    }
}
