use super::{super::BACK_OFF, *};

const SOURCES: [[u8; 4]; 3] = [[127, 0, 0, 11], [127, 0, 0, 12], [127, 0, 0, 13]];
/// Not on loopback, where the kernel may take the ports of a TIME_WAIT over.
const DESTINATION: ([u8; 4], u16) = ([192, 0, 2, 9], 80);

/// A ledger with so many sources and room for `limit` connections on each.
fn ledger(sources: usize, limit: usize) -> (Arc<Ledger>, Instant) {
    let ports = Ports::new();
    let fill = (limit as f64 + 0.5) / ports.limit(Some(1.0)) as f64;
    let sources = SOURCES[..sources].iter().copied().map(IpAddr::from);
    let ledger = Ledger::new(&ports, sources, Some(fill), DESTINATION.into());
    for source in &ledger.sources {
        // Whatever this machine is set to.
        source.pair.load().set_time_wait(Duration::from_secs(60));
    }
    (ledger, Instant::now())
}

fn reserve(ledger: &Arc<Ledger>, now: Instant) -> Reservation {
    ledger.reserve(&[], now).expect("a port is free")
}

/// An open connection.
fn connect(ledger: &Arc<Ledger>, now: Instant) -> Reservation {
    let mut reservation = reserve(ledger, now);
    reservation.connected(reservation.address().expect("named"));
    reservation
}

/// On which source the next connection would go.
fn next(ledger: &Arc<Ledger>, now: Instant) -> Option<usize> {
    ledger.reserve(&[], now).map(|reservation| reservation.source())
}

#[test]
fn connections_go_to_the_least_used_source() {
    let (ledger, now) = ledger(3, 100);
    let mut held: Vec<_> = (0..30).map(|_| connect(&ledger, now)).collect();
    for source in 0..3 {
        let on_it = held.iter().filter(|reservation| reservation.source() == source).count();
        assert_eq!(on_it, 10);
    }
    held.retain(|reservation| reservation.source() != 1);
    for _ in 0..10 {
        let reservation = connect(&ledger, now);
        assert_eq!(
            (reservation.source(), reservation.address()),
            (1, Some(SOURCES[1].into()))
        );
        held.push(reservation);
    }
}

#[test]
fn a_connection_counts_before_it_is_open() {
    let (ledger, now) = ledger(3, 100);
    let held: Vec<_> = (0..3).map(|_| reserve(&ledger, now)).collect();
    assert_eq!(held.iter().map(Reservation::source).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_time_wait_makes_its_source_more_used() {
    let (ledger, now) = ledger(2, 100);
    connect(&ledger, now).left_time_wait(now);
    assert_eq!(next(&ledger, now), Some(1));
    let held = connect(&ledger, now);
    assert_eq!((held.source(), next(&ledger, now)), (1, Some(0)), "one each");
    drop(held);
    connect(&ledger, now).left_time_wait(now);
    connect(&ledger, now).left_time_wait(now);
    let used: Vec<_> = ledger
        .sources
        .iter()
        .map(|source| source.pair.load().used(now))
        .collect();
    assert_eq!(used, [2, 1]);
}

#[test]
fn a_source_that_was_tried_is_not_tried_again() {
    let (ledger, now) = ledger(3, 100);
    let mut tried = Vec::new();
    while let Some(reservation) = ledger.reserve(&tried, now) {
        assert!(!tried.contains(&reservation.source()));
        tried.push(reservation.source());
    }
    assert_eq!(tried, [0, 1, 2]);
    let refused = |source: &Source| source.pair.load().status(now, 100).refused;
    assert!(
        ledger.sources.iter().all(|source| refused(source) == 0),
        "no limit was reached"
    );
}

#[test]
fn a_source_without_a_free_port_gets_no_more_until_one_comes_free() {
    let (ledger, now) = ledger(2, 100);
    let open = connect(&ledger, now);
    ledger.reserve(&[1], now).expect("the first").exhausted(now);
    let others: Vec<_> = (0..3).map(|_| connect(&ledger, now)).collect();
    assert!(
        others.iter().all(|other| other.source() == 1),
        "although it is the more used one"
    );
    assert!(ledger.reserve(&[1], now).is_none());
    drop(open);
    assert_eq!(next(&ledger, now), Some(0));
    let open = connect(&ledger, now);
    assert_eq!((open.source(), next(&ledger, now)), (0, Some(1)));
    // After a while it may try one more.
    ledger.ports.look_around();
    assert_eq!(next(&ledger, now), Some(0));
}

#[test]
fn a_source_that_was_without_a_free_port_twice_is_left_alone_for_a_while() {
    let (ledger, start) = ledger(1, 100);
    let now = start + BACK_OFF;
    let open = connect(&ledger, now);
    reserve(&ledger, now).exhausted(now);
    drop(open);
    reserve(&ledger, now).exhausted(now);
    ledger.ports.look_around();
    assert!(ledger.reserve(&[], now).is_none());
    assert_eq!(next(&ledger, now + BACK_OFF), Some(0));
    let status = ledger.sources[0].pair.load().status(now, 100);
    assert_eq!(
        (status.exhausted, status.refused),
        (2, 0),
        "the kernel had refused, not we"
    );
}

#[test]
fn the_limit_is_exact_on_each_source_and_its_refusal_is_counted_once() {
    let (ledger, now) = ledger(2, 3);
    assert_eq!(ledger.limit(), 3);
    let held: Vec<_> = (0..6).map(|_| connect(&ledger, now)).collect();
    assert!(ledger.reserve(&[], now).is_none());
    let refused = |ledger: &Ledger| {
        let refused = |source: &Source| source.pair.load().status(now, 3).refused;
        ledger.sources.iter().map(refused).sum::<u64>()
    };
    assert_eq!(refused(&ledger), 1);
    drop(held);
    assert!(next(&ledger, now).is_some());
    assert_eq!(refused(&ledger), 1);
}

#[test]
fn the_limit_is_exact_when_threads_meet() {
    const LIMIT: usize = 20;
    let (ledger, now) = ledger(2, LIMIT);
    let held: Vec<Reservation> = std::thread::scope(|scope| {
        let reserve_all = || std::iter::from_fn(|| ledger.reserve(&[], now)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(reserve_all)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    for source in 0..2 {
        assert_eq!(
            held.iter().filter(|reservation| reservation.source() == source).count(),
            LIMIT
        );
    }
    let refused = |source: &Source| source.pair.load().status(now, LIMIT).refused;
    let refused: u64 = ledger.sources.iter().map(refused).sum();
    assert_eq!(refused, 4, "each thread's last");
}

#[test]
fn a_reservation_gives_its_port_back_from_every_stage() {
    let (ledger, now) = ledger(1, 1);
    let status = || ledger.sources[0].pair.load().status(now, 1);
    let mut reservation = reserve(&ledger, now);
    // Not open yet, so there is nothing to close.
    reservation.closing();
    assert_eq!((status().connecting, status().closing), (1, 0));
    drop(reservation);
    drop(connect(&ledger, now));
    let mut reservation = connect(&ledger, now);
    reservation.closing();
    reservation.closing();
    assert_eq!((status().established, status().closing, status().used), (0, 1, 1));
    assert!(ledger.reserve(&[], now).is_none());
    drop(reservation);
    assert_eq!((status().connecting, status().closing, status().used), (0, 0, 0));
}

#[test]
fn more_than_half_in_use_is_crowded() {
    let (ledger, now) = ledger(1, 4);
    let held: Vec<_> = (0..2).map(|_| connect(&ledger, now)).collect();
    assert!(!held[0].is_crowded(now));
    let third = connect(&ledger, now);
    assert!(third.is_crowded(now));
}

#[test]
fn a_source_that_left_the_machine_is_passed_over_until_it_is_back() {
    let (ledger, now) = ledger(2, 100);
    let open = connect(&ledger, now);
    assert_eq!(open.source(), 0);
    ledger.reserve(&[1], now).expect("the first").absent();
    assert!(!open.is_present(), "its open connections learn of it");
    for _ in 0..3 {
        assert_eq!(next(&ledger, now), Some(1));
    }
    ledger.reserve(&[], now).expect("the second").absent();
    assert!(ledger.reserve(&[], now).is_none());
    // All of 127.0.0.0/8 is on this machine.
    ledger.ports.look_around();
    assert!(open.is_present());
    assert_eq!(next(&ledger, now), Some(1), "less used than the first");
}

#[test]
fn only_sources_of_the_destinations_family_are_used() {
    let ports = Ports::new();
    let sources: [IpAddr; 2] = [[127, 0, 0, 11].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()];
    let towards = |destination: SocketAddr| {
        let ledger = Ledger::new(&ports, sources, None, destination);
        let all: Vec<_> = ledger.sources.iter().map(|source| source.bind).collect();
        all
    };
    assert_eq!(towards(DESTINATION.into()), [Some(sources[0])]);
    assert_eq!(
        towards("[2001:db8::1]:80".parse().expect("an address")),
        [Some(sources[1])]
    );
    let none = Ledger::new(&ports, [sources[1]], None, ([127, 0, 0, 1], 80).into());
    let reservation = none.reserve(&[], Instant::now()).expect("free");
    assert_eq!(reservation.address(), None, "the kernel's choice");
    assert_eq!(reservation.source_address(), Some([127, 0, 0, 1].into()));
}

#[test]
fn another_choice_of_the_kernel_is_another_pair_from_then_on() {
    let (ports, now) = (Ports::new(), Instant::now());
    let destination = SocketAddr::from(([127, 0, 0, 1], 80));
    let ledger = Ledger::new(&ports, [], None, destination);
    let [first, second] = [[127, 0, 0, 1], [127, 0, 0, 5]].map(IpAddr::from);
    let states = |source| {
        let status = ports.pair(Some(source), destination).status(now, 9);
        (status.connecting, status.established)
    };
    let mut before = reserve(&ledger, now);
    before.connected(first);
    let mut moved = reserve(&ledger, now);
    assert_eq!((states(first), states(second)), ((1, 1), (0, 0)));
    moved.connected(second);
    assert_eq!((states(first), states(second)), ((0, 1), (0, 1)));
    assert_eq!(moved.source_address(), Some(second));
    let after = reserve(&ledger, now);
    assert_eq!((states(first), states(second)), ((0, 1), (1, 1)));
    drop((before, moved, after));
    assert_eq!((states(first), states(second)), ((0, 0), (0, 0)));
}

#[test]
fn silence_lasts_for_a_while_or_until_an_answer() {
    let (ledger, now) = ledger(1, 9);
    assert!(!ledger.is_silent(now));
    ledger.note_silence(now);
    assert!(ledger.is_silent(now) && ledger.is_silent(now + SILENCE - Duration::from_millis(2)));
    assert!(!ledger.is_silent(now + SILENCE));
    ledger.note_answer();
    assert!(!ledger.is_silent(now));
    ledger.note_silence(now);
    drop(connect(&ledger, now));
    assert!(!ledger.is_silent(now), "a connection that opens is an answer");
}
