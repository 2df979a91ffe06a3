//! What a worker does: it serves the listeners that it is given, and sweeps its pools.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    config,
    downstream::{Listener, Listeners, Message},
    net::sockopt,
    pool::SWEEP_INTERVAL,
    proxy::Proxy,
    snapshot::Snapshot,
    tls::ServerTls,
    upstream,
    worker::{self, Board, Seat, Timers, buffers},
};

/// How often memory is given back at most.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);

/// What the control thread tells a worker.
#[derive(Debug)]
pub(super) enum Command {
    Listen {
        listener: Arc<Listener>,
        socket: std::net::TcpListener,
        config: Arc<config::Listener>,
        tls: Option<Arc<ServerTls>>,
    },
    Update {
        listener: Arc<Listener>,
        config: Arc<config::Listener>,
        tls: Option<Arc<ServerTls>>,
    },
    Close(Arc<Listener>),
    Drain,
    /// What a drain cannot wait for any longer is ended.
    Cut,
}

/// All workers, as the control thread sees them.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) board: Arc<Board<Message>>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    /// Closes when the last worker has ended.
    ended: mpsc::Receiver<()>,
}

impl Crew {
    /// Starts the workers, without any listener yet.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(count: usize, snapshots: &Arc<ArcSwap<Snapshot>>) -> io::Result<Self> {
        let (board, seats) = Board::new(count);
        let board = Arc::new(board);
        let (alive, ended) = mpsc::channel(1);
        let mut commands = Vec::with_capacity(count);
        for (index, seat) in seats.into_iter().enumerate() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let (snapshots, board, alive) = (Arc::clone(snapshots), Arc::clone(&board), alive.clone());
            worker::start(format!("worker-{index}"), move || async move {
                let _alive = alive;
                work(index, snapshots, board, seat, receiver).await;
            })?;
            commands.push(sender);
        }
        Ok(Self { board, commands, ended })
    }

    pub(super) fn listen(
        &self,
        listener: &Arc<Listener>,
        sockets: Vec<std::net::TcpListener>,
        config: &Arc<config::Listener>,
        tls: Option<&Arc<ServerTls>>,
    ) {
        for (commands, socket) in self.commands.iter().zip(sockets) {
            let command = Command::Listen {
                listener: Arc::clone(listener),
                socket,
                config: Arc::clone(config),
                tls: tls.cloned(),
            };
            // A worker that has ended has no use for it.
            let _ = commands.send(command);
        }
    }

    pub(super) fn update(
        &self,
        listener: &Arc<Listener>,
        config: &Arc<config::Listener>,
        tls: Option<&Arc<ServerTls>>,
    ) {
        self.tell(|| Command::Update {
            listener: listener.clone(),
            config: config.clone(),
            tls: tls.cloned(),
        });
    }

    pub(super) fn close(&self, listener: &Arc<Listener>) {
        self.tell(|| Command::Close(Arc::clone(listener)));
    }

    pub(super) fn drain(&self) {
        self.tell(|| Command::Drain);
    }

    pub(super) fn cut(&self) {
        self.tell(|| Command::Cut);
    }

    /// Waits until all workers have ended.
    ///
    /// Cancellation: nothing is lost.
    pub(super) async fn ended(&mut self) {
        let _ = self.ended.recv().await;
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for commands in &self.commands {
            let _ = commands.send(command());
        }
    }
}

async fn work(
    worker: usize,
    snapshots: Arc<ArcSwap<Snapshot>>,
    board: Arc<Board<Message>>,
    mut seat: Seat<Message>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let timers = Timers::start();
    let proxy = Rc::new(Proxy::new(worker, timers.clone(), snapshots));
    let listeners = Listeners::new(Rc::clone(&proxy), timers.clone(), worker, board);
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut memory = Memory {
        next: Instant::now(),
        rounds: 0,
    };
    let alarm = Arc::new(Alarm(Notify::new()));
    let waker = Waker::from(Arc::clone(&alarm));
    let mut draining = false;
    let mut hears = true;
    loop {
        tokio::select! {
            command = commands.recv(), if hears => match command {
                None | Some(Command::Drain) => {
                    hears = command.is_some();
                    listeners.drain();
                    draining = true;
                }
                Some(Command::Cut) => listeners.cut(),
                Some(_) if draining => {}
                Some(command) => obey(&listeners, command),
            },
            Some(message) = seat.recv() => listeners.receive(message),
            now = sweep.tick() => {
                listeners.tick(now);
                buffers::drop_spare();
                memory.tick(listeners.take_memory_left(), now);
                let snapshot = proxy.refresh();
                sweep_pools(&snapshot, worker, now, &waker);
                if !draining {
                    warm_pools(&snapshot, worker, &timers, now);
                }
            }
            () = alarm.0.notified() => sweep_pools(&proxy.refresh(), worker, Instant::now(), &waker),
            () = listeners.emptied() => {}
        }
        // The other workers' clients may still wait for answers on connections that are driven here.
        if draining && listeners.is_empty() && !upstream::drives_streams() {
            return;
        }
    }
}

/// Rings when an idle connection to an endpoint shows anything.
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Gives the memory back that clients have left behind.
struct Memory {
    next: Instant,
    rounds: u32,
}

impl Memory {
    /// The allocator gives back only what has been free for a moment, so one round is not enough. The last one, which
    /// comes once no client has left anything for seconds, is thorough.
    const ROUNDS: u32 = 4;

    fn tick(&mut self, left: bool, now: Instant) {
        if left {
            self.rounds = Self::ROUNDS;
        }
        if self.rounds > 0 && now >= self.next {
            self.rounds -= 1;
            self.next = now + RELEASE_INTERVAL;
            sockopt::release_free_memory(self.rounds == 0);
        }
    }
}

fn obey(listeners: &Rc<Listeners<Proxy>>, command: Command) {
    match command {
        Command::Listen {
            listener,
            socket,
            config,
            tls,
        } => {
            let name = config.name.clone();
            if let Err(error) = listeners.listen(listener, socket, config, tls) {
                tracing::error!(listener = name, %error, "a worker cannot watch its socket and does not accept");
            }
        }
        Command::Update { listener, config, tls } => listeners.update(&listener, &config, tls.as_ref()),
        Command::Close(listener) => listeners.close(&listener),
        Command::Drain | Command::Cut => {}
    }
}

fn sweep_pools(snapshot: &Snapshot, worker: usize, now: Instant, alarm: &Waker) {
    for (_, endpoint) in snapshot.endpoints() {
        endpoint.pool.sweep(worker, now, alarm);
        if let Some(http2) = &endpoint.http2 {
            http2.sweep(now);
        }
    }
}

/// Opens what is wanting of `min_idle`.
fn warm_pools(snapshot: &Snapshot, worker: usize, timers: &Timers, now: Instant) {
    for (cluster, endpoint) in snapshot
        .endpoints()
        .filter(|(_, endpoint)| endpoint.health.is_healthy() && endpoint.http2.is_none())
    {
        for warming in endpoint.pool.warm(now) {
            let (endpoint, timers) = (Arc::clone(endpoint), timers.clone());
            let timeout = cluster.timeouts.connect;
            tokio::task::spawn_local(upstream::warm(endpoint, warming, timers, timeout, worker));
        }
    }
}
