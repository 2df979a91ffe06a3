//! Tickets that are good, old, unknown, damaged, or of another policy.

use proptest::prelude::*;

use super::{file::parse, *};

const POLICY: Policy = Policy([7; 32]);
const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn shared(keys: &[&str]) -> Tickets {
    under(keys, POLICY)
}

fn under(keys: &[&str], policy: Policy) -> Tickets {
    let secrets = parse(keys.join("\n").as_bytes()).expect("good keys");
    Tickets {
        keys: Keys::Shared(secrets.into()),
        policy,
    }
}

fn own(now: Instant) -> Tickets {
    Tickets {
        keys: Keys::Own(Arc::new(Rotation::start(now).expect("random bytes"))),
        policy: POLICY,
    }
}

fn sealed(tickets: &Tickets) -> Vec<u8> {
    tickets.encrypt(b"session").expect("it can be sealed")
}

fn opened(tickets: &Tickets, ticket: &[u8]) -> Option<Vec<u8>> {
    tickets.decrypt(ticket)
}

#[test]
fn a_ticket_is_opened_wherever_its_key_is() {
    let ticket = sealed(&shared(&[ONE]));
    assert_eq!(opened(&shared(&[ONE]), &ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(opened(&shared(&[TWO, ONE]), &ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(opened(&shared(&[TWO]), &ticket), None);
}

#[test]
fn the_first_key_seals() {
    let ticket = sealed(&shared(&[ONE, TWO]));
    assert!(opened(&shared(&[ONE]), &ticket).is_some());
    assert!(opened(&shared(&[TWO]), &ticket).is_none());
}

#[test]
fn a_ticket_of_another_policy_is_worth_nothing() {
    let ticket = sealed(&shared(&[ONE]));
    assert_eq!(opened(&under(&[ONE], Policy([8; 32])), &ticket), None);
}

#[test]
fn two_tickets_of_one_session_have_nothing_in_common_but_the_name_of_the_key() {
    let tickets = shared(&[ONE]);
    let (one, two) = (sealed(&tickets), sealed(&tickets));
    assert_eq!(one[..16], two[..16]);
    assert_ne!(one[16..28], two[16..28]);
    assert_ne!(one[28..], two[28..]);
    assert!(!one.windows(7).any(|window| window == b"session"));
}

proptest! {
    #[test]
    fn a_damaged_ticket_is_refused(at in 0_usize..51, bit in 0_u8..8) {
        let tickets = shared(&[ONE]);
        let mut ticket = sealed(&tickets);
        prop_assert_eq!(ticket.len(), 51);
        ticket[at] ^= 1_u8 << bit;
        prop_assert_eq!(opened(&tickets, &ticket), None);
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), length in 0_usize..51) {
        let tickets = shared(&[ONE]);
        prop_assert_eq!(opened(&tickets, &bytes), None);
        prop_assert_eq!(opened(&tickets, &sealed(&tickets)[..length]), None);
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_replaced_and_the_old_ones_taken_for_a_while() {
    let tickets = own(Instant::now());
    let first = sealed(&tickets);
    tokio::time::advance(ROTATION - Duration::from_secs(1)).await;
    assert_eq!(sealed(&tickets)[..16], first[..16]);
    tokio::time::advance(Duration::from_secs(1)).await;
    let second = sealed(&tickets);
    assert_ne!(second[..16], first[..16]);
    assert!(opened(&tickets, &first).is_some());
    tokio::time::advance(ROTATION).await;
    assert!(
        opened(&tickets, &first).is_none(),
        "nobody seals, and still it is too old"
    );
    assert!(opened(&tickets, &second).is_some());
    let third = sealed(&tickets);
    tokio::time::advance(ROTATION).await;
    assert!(opened(&tickets, &third).is_some());
    assert!(opened(&tickets, &second).is_none());
}

#[test]
fn secrets_do_not_show() {
    let text = format!("{:?} {:?}", shared(&[ONE]), own(Instant::now()));
    assert!(!text.contains("1111") && !text.contains("Prk"), "{text}");
}
