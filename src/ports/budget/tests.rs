//! The arithmetic against figures that were measured, and against itself.

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(61);
const ALL: [Close; 4] = [Close::FinNoTimeWait, Close::Rst, Close::Fin, Close::AskEndpoint];

/// One source address with the default range, all of which may be used.
const SUPPLY: Supply = Supply {
    sources: 1,
    ports: 28_232,
    max_fill: Some(1.0),
    search: Search::Even,
};

const POOLED: Pooling = Pooling::On {
    idle_timeout: Duration::from_secs(4),
    max_lifetime: Duration::from_secs(600),
    max_requests: 0,
    min_idle: 0,
};

fn unpooled(requests_per_second: f64) -> Demand {
    Demand {
        requests_per_second,
        response_time: Duration::from_millis(100),
        max_connections: 1024,
        pooling: Pooling::Off,
        close: Close::Fin,
        time_wait: MINUTE,
    }
}

fn pooled(requests_per_second: f64) -> Demand {
    Demand {
        pooling: POOLED,
        ..unpooled(requests_per_second)
    }
}

fn highest_rate(supply: &Supply, demand: &Demand) -> f64 {
    let ceiling = Budget::of(supply, demand).ceiling.expect("not every rate can be borne");
    ceiling.requests_per_second
}

#[test]
fn the_rate_that_a_range_bears_is_its_ports_by_the_minute() {
    let rate = |ports, seconds| closes_per_second(ports, 0, Duration::from_secs(seconds)).map(|rate| rate as u64);
    assert_eq!(rate(28_232, 60), Some(470));
    assert_eq!(rate(28_232, 61), Some(462), "462.8");
    let (low, high) = (1024, 65_535);
    assert_eq!(rate(usable_ports((low, high), &[]), 60), Some(1075));
    // With RFC 793's segment lifetime of 2 minutes, and with what Linux does instead.
    assert_eq!(rate(60_000, 240), Some(250));
    assert_eq!(rate(60_000, 60), Some(1000));
}

#[test]
fn what_is_open_leaves_less_to_close() {
    let minute = Duration::from_secs(60);
    assert_eq!(closes_per_second(120, 0, minute), Some(2.0));
    assert_eq!(closes_per_second(120, 60, minute), Some(1.0));
    assert_eq!(closes_per_second(120, 130, minute), Some(0.0));
    assert_eq!(closes_per_second(120, 60, Duration::ZERO), None);
    // As measured: 120 ports, 20 attempts per second, a takeover after 1 s.
    assert_eq!(closes_per_second(120, 0, Duration::from_secs(1)), Some(120.0));
}

#[test]
fn unpooled_800_requests_per_second_last_35_seconds() {
    let budget = Budget::of(&SUPPLY, &unpooled(800.0));
    let Verdict::RunsOut { after } = budget.verdict else {
        panic!("{budget:?}")
    };
    assert_eq!(after.as_secs(), 35);
    assert_eq!(budget.connections_per_second, 800.0);
    // 80 on average; 48,800 in TIME_WAIT, if only there were so many ports.
    assert_eq!((budget.open, budget.closing), (107, 48_800));
}

#[test]
fn a_long_answer_leaves_less_for_time_wait() {
    let slow = Demand {
        response_time: Duration::from_secs(10),
        max_connections: 100_000,
        ..unpooled(400.0)
    };
    assert!(matches!(Budget::of(&SUPPLY, &unpooled(400.0)).verdict, Verdict::Tight));
    assert!(matches!(Budget::of(&SUPPLY, &slow).verdict, Verdict::RunsOut { .. }));
    let rate = highest_rate(&SUPPLY, &slow);
    assert!((390.0..28_232.0 / 71.0).contains(&rate), "{rate}");
}

#[test]
fn connections_that_are_open_at_once_can_be_too_many_by_themselves() {
    let narrow = Supply { ports: 50, ..SUPPLY };
    for close in ALL {
        let demand = Demand { close, ..pooled(800.0) };
        let expected = Verdict::RunsOut { after: Duration::ZERO };
        assert_eq!(Budget::of(&narrow, &demand).verdict, expected, "{close:?}");
    }
}

#[test]
fn a_pool_needs_what_is_open_at_once_and_little_more() {
    let budget = Budget::of(&SUPPLY, &pooled(800.0));
    assert_eq!(budget.verdict, Verdict::Fine);
    assert_eq!(budget.open, 107);
    // A peak's 27 connections that idle out every 4 s, and 107 that grow too old every 10 minutes.
    assert!((6.7..7.0).contains(&budget.connections_per_second), "{budget:?}");
    assert_eq!(budget.closing, 421);
    let quiet = Demand {
        close: Close::FinNoTimeWait,
        ..pooled(800.0)
    };
    assert_eq!(Budget::of(&SUPPLY, &quiet).closing, 1);
}

#[test]
fn without_time_wait_also_an_unpooled_proxy_has_ports_enough() {
    for close in [Close::FinNoTimeWait, Close::Rst, Close::AskEndpoint] {
        let budget = Budget::of(
            &SUPPLY,
            &Demand {
                close,
                ..unpooled(800.0)
            },
        );
        assert_eq!(budget.verdict, Verdict::Fine, "{close:?}");
        assert!(budget.needed() < 200, "{budget:?}");
    }
}

#[test]
fn what_a_pool_opens_is_what_it_wears_out() {
    let with = |max_requests, max_lifetime, min_idle| Demand {
        pooling: Pooling::On {
            idle_timeout: Duration::from_secs(3600),
            max_lifetime: Duration::from_secs(max_lifetime),
            max_requests,
            min_idle,
        },
        ..unpooled(800.0)
    };
    let opened = |demand| Budget::of(&SUPPLY, &demand).connections_per_second.round();
    assert_eq!(opened(with(0, 0, 0)), 0.0);
    assert_eq!(opened(with(100, 0, 0)), 8.0);
    assert_eq!(opened(with(1, 0, 0)), 800.0);
    assert_eq!(opened(with(0, 10, 0)), 11.0);
    let ready = Budget::of(&SUPPLY, &with(0, 0, 120));
    assert_eq!(ready.open, 80 + 120);
}

#[test]
fn more_connections_than_allowed_are_waited_for() {
    let slow = Demand {
        response_time: Duration::from_secs(2),
        ..pooled(800.0)
    };
    let budget = Budget::of(&SUPPLY, &slow);
    assert_eq!(budget.verdict, Verdict::Waits { wanted: 1720 });
    assert_eq!(budget.open, 1024);
    let ceiling = budget.ceiling.unwrap();
    assert_eq!(ceiling.scarce, Scarce::Connections);
    assert!((400.0..512.0).contains(&ceiling.requests_per_second), "{ceiling:?}");
    // What waits is not opened: 1024 connections of 2 s each.
    let unpooled = Demand {
        pooling: Pooling::Off,
        ..slow
    };
    assert_eq!(Budget::of(&SUPPLY, &unpooled).connections_per_second, 512.0);
}

#[test]
fn above_half_only_the_newer_kernel_is_cheap() {
    let old = Supply {
        search: Search::CliffAtHalf,
        ..SUPPLY
    };
    let demand = unpooled(300.0);
    assert_eq!(Budget::of(&SUPPLY, &demand).verdict, Verdict::Fine);
    assert_eq!(Budget::of(&old, &demand).verdict, Verdict::Expensive);
    assert_eq!(Budget::of(&old, &unpooled(200.0)).verdict, Verdict::Fine);
}

#[test]
fn each_source_address_adds_its_ports() {
    let four = Supply { sources: 4, ..SUPPLY };
    assert_eq!(Budget::of(&four, &unpooled(800.0)).verdict, Verdict::Fine);
    let (one, four) = (
        highest_rate(&SUPPLY, &unpooled(1.0)),
        highest_rate(&four, &unpooled(1.0)),
    );
    assert!(
        (one - 462.0).abs() < 1.0 && (four / one - 4.0).abs() < 0.01,
        "{one} {four}"
    );
}

#[test]
fn nothing_asked_is_nothing_needed() {
    for demand in [unpooled(0.0), pooled(0.0)] {
        let budget = Budget::of(&SUPPLY, &demand);
        assert_eq!((budget.needed(), budget.verdict), (0, Verdict::Fine));
    }
}

fn is_borne(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::RunsOut { .. } | Verdict::Waits { .. })
}

fn demands() -> impl Strategy<Value = Demand> {
    let pooling = prop_oneof![
        Just(Pooling::Off),
        (1_u64..100, 0_u64..1000, 0_u64..1000, 0_usize..100).prop_map(|(idle, age, max_requests, min_idle)| {
            Pooling::On {
                idle_timeout: Duration::from_secs(idle),
                max_lifetime: Duration::from_secs(age),
                max_requests,
                min_idle,
            }
        })
    ];
    let rate = (-2.0..6.0_f64).prop_map(|power| 10_f64.powf(power));
    let life = prop_oneof![Just(1_u64), Just(61)];
    let close = prop::sample::select(&ALL[..]);
    (rate, 0_u64..100_000, 1_usize..100_000, pooling, close, life).prop_map(
        |(requests_per_second, response, max_connections, pooling, close, life)| Demand {
            requests_per_second,
            response_time: Duration::from_millis(response),
            max_connections,
            pooling,
            close,
            time_wait: Duration::from_secs(life),
        },
    )
}

proptest! {
    #[test]
    fn ports_run_out_above_the_ceiling_and_not_below(demand in demands(), sources in 1_usize..5, ports in 1_usize..65_536) {
        let supply = Supply { sources, ports, ..SUPPLY };
        let ceiling = Budget::of(&supply, &demand).ceiling;
        let at = |requests_per_second| Budget::of(&supply, &Demand { requests_per_second, ..demand }).verdict;
        match ceiling {
            None => prop_assert!(is_borne(at(1e8))),
            Some(Ceiling { requests_per_second, scarce }) if requests_per_second > 1e-3 => {
                let below = at(requests_per_second * 0.999);
                prop_assert!(is_borne(below), "{below:?}");
                let higher = requests_per_second * 1.001 + 1e-3;
                let above = at(higher);
                let unlimited = Demand { max_connections: usize::MAX, ..demand };
                // The two may lie within a hair's breadth of each other.
                let ports_end_too = Budget::of(&supply, &unlimited)
                    .ceiling
                    .is_some_and(|ports| ports.requests_per_second <= higher);
                let expected = match scarce {
                    Scarce::Ports => matches!(above, Verdict::RunsOut { .. }),
                    Scarce::Connections if ports_end_too => !is_borne(above),
                    Scarce::Connections => matches!(above, Verdict::Waits { .. }),
                };
                prop_assert!(expected, "{above:?}, for want of {scarce:?}");
            }
            // `min_idle` alone is too much.
            Some(_) => {}
        }
    }

    #[test]
    fn ports_never_last_longer_than_a_close_holds_them(demand in demands(), ports in 1_usize..65_536) {
        let budget = Budget::of(&Supply { ports, ..SUPPLY }, &demand);
        if let Verdict::RunsOut { after } = budget.verdict {
            prop_assert!(after <= hold(demand.close, demand.time_wait), "{budget:?}");
        }
        prop_assert!(budget.connections_per_second <= demand.requests_per_second, "{budget:?}");
        prop_assert!(budget.open <= demand.max_connections, "{budget:?}");
    }
}
