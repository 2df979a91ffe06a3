use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(TIME_WAIT_SECONDS);

fn pair() -> (Pair, Instant) {
    let (source, destination) = ([10, 0, 0, 1].into(), ([10, 0, 0, 9], 80).into());
    let now = Instant::now();
    (Pair::new(Some(source), destination, now), now)
}

/// A pair with as many open connections.
fn with_open(count: usize) -> (Pair, Instant) {
    let (pair, now) = pair();
    for _ in 0..count {
        assert!(pair.take(count, now));
        pair.connected();
    }
    (pair, now)
}

#[test]
fn no_port_is_taken_beyond_the_limit() {
    let (pair, now) = pair();
    assert!(pair.take(2, now) && pair.take(2, now));
    assert!(!pair.take(2, now));
    assert!(!pair.take(1, now), "nor when the limit has been lowered");
    assert!(pair.take(3, now));
    assert_eq!((pair.used(now), pair.status(now, 3).connecting), (3, 3));
    pair.free_connecting();
    assert!(pair.take(3, now) && !pair.take(3, now));
}

#[test]
fn the_limit_is_exact_when_threads_meet() {
    const LIMIT: usize = 50;
    let (pair, now) = pair();
    let take = || (0..LIMIT).filter(|_| pair.take(LIMIT, now)).count();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!((taken, pair.used(now)), (LIMIT, LIMIT));
}

#[test]
fn a_connection_is_counted_in_the_state_that_it_is_in() {
    let (pair, now) = pair();
    let states = || {
        let status = pair.status(now, 9);
        [status.connecting, status.established, status.closing, status.used]
    };
    assert!(pair.take(9, now) && pair.take(9, now));
    assert_eq!(states(), [2, 0, 0, 2]);
    pair.connected();
    pair.free_connecting();
    assert_eq!(states(), [0, 1, 0, 1]);
    pair.closing();
    assert_eq!(states(), [0, 0, 1, 1]);
    pair.free_closing();
    assert_eq!(states(), [0, 0, 0, 0]);
    assert!(pair.take(9, now));
    pair.connected();
    pair.free_open();
    assert_eq!((states(), pair.is_quiet(now)), ([0, 0, 0, 0], true));
}

#[test]
fn a_time_wait_holds_its_port_for_a_minute() {
    let (pair, now) = with_open(2);
    pair.left_time_wait(now);
    pair.free_open();
    assert_eq!((pair.used(now), pair.status(now, 2).time_wait), (2, 1));
    assert!(!pair.take(2, now + MINUTE), "it may be in the last part of its second");
    assert!(!pair.is_quiet(now + MINUTE));
    let later = now + MINUTE + SECOND;
    assert!(pair.take(2, later));
    assert_eq!(pair.status(later, 2).time_wait, 0);
}

#[test]
fn where_the_kernel_takes_ports_over_a_time_wait_blocks_only_for_that_long() {
    let (pair, now) = pair();
    pair.set_time_wait(SECOND);
    for _ in 0..5 {
        pair.left_time_wait(now);
    }
    assert!(!pair.take(5, now + SECOND));
    let later = now + 2 * SECOND;
    let status = pair.status(later, 5);
    assert_eq!((status.time_wait, status.used, status.exhausted_in), (5, 0, None));
    assert!(pair.take(1, later));
}

#[test]
fn the_time_to_exhaustion_follows_from_the_rate_of_closes() {
    let (pair, now) = pair();
    for second in 0..10 {
        assert_eq!(pair.status(now, 100).exhausted_in, None);
        pair.left_time_wait(now + second * SECOND);
    }
    let soon = pair.status(now + 10 * SECOND, 20).exhausted_in;
    assert_eq!(soon, Some(10), "ten of twenty, one a second");
    assert_eq!(pair.status(now + 10 * SECOND, 62).exhausted_in, None);
}

#[test]
fn what_others_hold_counts_against_the_limit() {
    let (pair, now) = with_open(3);
    let seen = Observed {
        established: 4,
        syn_sent: 1,
        closing: 7,
        close_wait: 1,
        time_wait: 2,
    };
    pair.observe(Some(seen), now);
    let status = pair.status(now, 9);
    // Three of the six open ones are ours; those that close are gone before the next look.
    assert_eq!((status.foreign, status.used), (5, 8));
    assert_eq!((status.observed, status.difference), (Some(seen), Some(-1)));
    assert!(pair.take(9, now) && !pair.take(9, now));
    pair.observe(Some(Observed::default()), now);
    let status = pair.status(now, 9);
    assert_eq!((status.foreign, status.difference), (0, Some(3)));
    pair.observe(None, now);
    let status = pair.status(now, 9);
    assert_eq!((status.foreign, status.observed, status.difference), (0, None, None));
}

#[test]
fn what_one_look_shows_and_the_next_does_not_was_on_its_way() {
    let (pair, now) = pair();
    let seen = |established| Observed {
        established,
        ..Observed::default()
    };
    let foreign = |looks: &[usize]| {
        looks.iter().for_each(|look| pair.observe(Some(seen(*look)), now));
        pair.status(now, 9).foreign
    };
    assert_eq!(foreign(&[4]), 4, "the first look has none before it");
    assert_eq!(foreign(&[4, 9]), 4);
    assert_eq!(foreign(&[9]), 9);
    assert_eq!(foreign(&[2]), 2);
}

#[test]
fn time_waits_of_our_own_are_not_counted_twice() {
    let (pair, now) = pair();
    pair.left_time_wait(now);
    pair.left_time_wait(now);
    let seen = |time_wait| Observed {
        time_wait,
        ..Observed::default()
    };
    pair.observe(Some(seen(5)), now);
    assert_eq!((pair.status(now, 9).foreign, pair.used(now)), (3, 5));
    pair.observe(Some(seen(1)), now);
    assert_eq!((pair.status(now, 9).foreign, pair.used(now)), (0, 2));
    pair.set_time_wait(SECOND);
    pair.observe(Some(seen(5)), now);
    assert_eq!(pair.status(now, 9).foreign, 0, "the kernel takes such ports over");
}

#[test]
fn a_fin_without_time_wait_holds_its_port_until_it_is_acknowledged() {
    let (pair, now) = with_open(1);
    pair.left_fin(now);
    pair.free_open();
    let longest = Duration::from_millis(45);
    assert!(!pair.take(1, now) && !pair.take(1, now + longest));
    let later = now + 2 * longest;
    assert_eq!((pair.used(later), pair.status(later, 1).time_wait), (0, 0));
    assert!(pair.take(1, later));
}

#[test]
fn no_more_are_tried_than_the_kernel_had_ports_for() {
    let (pair, now) = pair();
    for _ in 0..4 {
        assert!(pair.take(9, now));
    }
    pair.note_exhausted(now);
    pair.free_connecting();
    assert!(!pair.take(9, now), "three it had");
    pair.free_connecting();
    assert!(pair.take(9, now) && !pair.take(9, now), "one came free");
    pair.raise_ceiling(9);
    assert!(pair.take(9, now));
    for _ in 0..9 {
        pair.raise_ceiling(9);
    }
    while pair.take(9, now) {}
    assert_eq!(pair.used(now), 9, "the limit alone counts again");
}

#[test]
fn a_pair_rests_when_the_kernel_has_no_port_time_and_again() {
    let (pair, start) = pair();
    let now = start + SECOND;
    pair.note_exhausted(now);
    assert!(!pair.is_resting(now));
    let soon = now + BACK_OFF / 2;
    pair.note_exhausted(soon);
    assert!(pair.is_resting(soon) && pair.is_resting(soon + BACK_OFF - Duration::from_millis(1)));
    assert!(!pair.is_resting(soon + BACK_OFF));
    let late = now + 9 * BACK_OFF;
    pair.note_exhausted(late);
    assert!(!pair.is_resting(late), "it was long ago");
    pair.note_refused(1, late);
    let status = pair.status(late, 9);
    assert_eq!((status.exhausted, status.refused), (3, 1));
}

#[test]
fn a_pair_is_spoken_of_once_a_minute() {
    let (pair, now) = pair();
    assert!(pair.may_log(now));
    assert!(!pair.may_log(now) && !pair.may_log(now + LOG_INTERVAL - Duration::from_millis(1)));
    assert!(pair.may_log(now + LOG_INTERVAL));
    assert!(!pair.may_log(now + LOG_INTERVAL));
    // Whatever the line says.
    pair.note_exhausted(now + 2 * LOG_INTERVAL);
    assert!(!pair.may_log(now + 2 * LOG_INTERVAL));
}

#[test]
fn presence_is_news_only_when_it_changes() {
    let (pair, now) = pair();
    assert!(!pair.set_present(Presence::Present));
    assert!(pair.set_present(Presence::Absent) && !pair.set_present(Presence::Absent));
    assert!(!pair.is_present() && !pair.status(now, 9).present);
    assert!(pair.set_present(Presence::Present) && pair.is_present());
    assert_eq!(pair.reach(), Reach::Assigned);
    pair.set_reach(Reach::Routed);
    assert_eq!(pair.reach(), Reach::Routed);
}
