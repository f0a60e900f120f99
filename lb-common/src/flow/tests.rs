//! What becomes of an entry, a bucket and a flow's state.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

const TIMEOUTS: Timeouts = Timeouts::new([2, 234, 3, 4]);

fn state() -> impl Strategy<Value = State> {
    prop::sample::select(State::ALL.to_vec())
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        1 => Just(Entry::EMPTY),
        6 => (0u64..1 << FINGERPRINT_BITS, 1u16.., any::<u8>(), state())
            .prop_map(|(f, b, a, s)| Entry::new(f, b, a, s)),
    ]
}

/// Whether it is TCP, with all flags that there may be; UDP has none.
fn transports() -> impl Iterator<Item = (bool, u8)> {
    let tcp = (0..=u8::MAX).map(|flags| (true, flags));
    tcp.chain([(false, 0)])
}

/// Whether a flow of that protocol may have such an entry.
fn may_have(entry: Entry, is_tcp: bool) -> bool {
    match entry.state() {
        State::New => true,
        State::Established | State::Closing => is_tcp,
        State::Assured => !is_tcp,
    }
}

proptest! {
    #[test]
    fn the_empty_bit_is_of_empty_slots_only(entry in entry(), now: u8) {
        prop_assert_eq!(entry.empty_bit(), u64::from(entry.is_empty()));
        prop_assert_eq!(Entry::claimed(now).empty_bit(), 0);
    }

    #[test]
    fn an_entry_gives_back_what_it_was_made_of(
        fingerprint in 0u64..1 << FINGERPRINT_BITS, backend in 1u16.., age: u8, state in state(),
    ) {
        let entry = Entry::new(fingerprint, backend, age, state);
        prop_assert!(entry.is(fingerprint) && !entry.is_empty());
        prop_assert!(!entry.is(fingerprint ^ 1));
        prop_assert_eq!((entry.backend(), entry.age(), entry.state()), (backend, age, state));
        let later = entry.touched(age.wrapping_add(1), State::Closing);
        prop_assert_eq!(
            later,
            Entry::new(fingerprint, backend, age.wrapping_add(1), State::Closing)
        );
        prop_assert_eq!(entry.touched(age, state), entry);
    }

    #[test]
    fn what_a_server_settles_stays_as_it_is(
        entry in entry(), now: u8, is_fresh: bool,
    ) {
        let now = if is_fresh { entry.age() } else { now };
        for (is_tcp, flags) in transports() {
            let stays = entry.age() == now && !tcp::closes(flags);
            prop_assert_eq!(is_settled_for_server(entry, now, is_tcp, flags), stays);
            if stays {
                let state = after_server(entry.state(), is_tcp, flags);
                prop_assert_eq!(entry.touched(now, state), entry);
            }
        }
    }

    #[test]
    fn one_comparison_tells_flow_backend_and_age(
        entry in entry(), parts in (0u64..1 << FINGERPRINT_BITS, 1u16.., any::<u8>()),
        same in any::<[bool; 3]>(),
    ) {
        let fingerprint = if same[0] { entry.bits() >> (64 - FINGERPRINT_BITS) } else { parts.0 };
        let backend = if same[1] { entry.backend().max(1) } else { parts.1 };
        let now = if same[2] { entry.age() } else { parts.2 };
        let is_its = entry.is(fingerprint) && entry.backend() == backend;
        for (is_tcp, flags) in transports().filter(|&(is_tcp, _)| may_have(entry, is_tcp)) {
            // Of UDP the byte that would be TCP's flags is anything.
            let bytes = if is_tcp { flags..=flags } else { 0..=u8::MAX };
            for byte in bytes {
                let found = is_settled_with(entry, fingerprint, backend, now, || byte);
                let stays = is_its && is_settled_for_server(entry, now, is_tcp, flags);
                prop_assert!(!found || stays, "{byte:02x}");
                let is_new = entry.state() == State::New && !is_tcp;
                prop_assert!(found || !stays || is_new && tcp::closes(byte), "{byte:02x}");
            }
        }
    }

    #[test]
    fn what_is_settled_stays_as_it_is(entry in entry(), ticks in 0u8..2) {
        let now = entry.age().wrapping_add(ticks);
        for (is_tcp, flags) in transports().filter(|&(is_tcp, _)| may_have(entry, is_tcp)) {
            let after = entry.touched(now, after_client(entry.state(), is_tcp, flags));
            let stays = after == entry && !tcp::opens(flags);
            // Of UDP the byte that would be TCP's flags is anything.
            let bytes = if is_tcp { flags..=flags } else { 0..=u8::MAX };
            for byte in bytes {
                let found = is_settled(entry, now, || byte);
                prop_assert!(!found || stays, "{byte:02x}");
                // Nearly all that stays is found to.
                let usual = match is_tcp {
                    true => entry.state() == State::Established && flags & !tcp::ACK == 0,
                    false => true,
                };
                prop_assert!(found || !stays || !usual, "{byte:02x}");
            }
        }
    }

    #[test]
    fn bucket_and_fingerprint_are_disjoint_bits(hash: u64, bits in 1u32..=24) {
        let (bucket, fingerprint) = place(hash, 64 - bits);
        prop_assert!(bucket < 1 << bits);
        // The other bits can all change without a trace in either.
        let unused = !(u64::MAX << (64 - bits) | ((1 << FINGERPRINT_BITS) - 1));
        prop_assert_eq!(place(hash ^ unused, 64 - bits), (bucket, fingerprint));
        prop_assert_ne!(place(hash ^ 1 << (64 - bits), 64 - bits).0, bucket);
        prop_assert_ne!(place(hash ^ 1, 64 - bits).1, fingerprint);
    }

    /// New flows of every kind pour in; those that are established stay.
    #[test]
    fn a_flood_takes_no_established_place(
        flood in prop::collection::vec((0u64..1 << FINGERPRINT_BITS, any::<usize>(), 0u8..3), 0..300),
    ) {
        let bucket: [Cell<Entry>; 8] = std::array::from_fn(|i| {
            Cell::new(if i < 3 {
                Entry::new(i as u64, 1, 0, State::Established)
            } else {
                Entry::EMPTY
            })
        });
        let reluctance = Reluctance::new(TIMEOUTS);
        let mut now = 0u8;
        for (fingerprint, home, step) in flood {
            // Time passes, but not so much that an established flow expires.
            now = (now + step).min(200);
            let fingerprint = fingerprint | 8;
            if find(|i| bucket[i].get(), fingerprint).is_none() {
                let load = |i: usize| bucket[i].get();
                let rank = |entry| reluctance.of(entry, now).into();
                let (slot, _) = victim::<Plain>(load, rank, || home).unwrap();
                bucket[slot].set(Entry::new(fingerprint, 2, now, State::New));
            }
        }
        for i in 0..3 {
            prop_assert!(find(|i| bucket[i].get(), i).is_some());
        }
    }
}

#[test]
fn tcp_states_follow_the_client() {
    use State::{Closing, Established, New};
    let rows = [
        (New, tcp::SYN, New),
        (New, tcp::ACK, Established),
        (New, tcp::ACK | tcp::RST, Closing),
        (Established, tcp::SYN, Established),
        (Established, tcp::ACK, Established),
        (Established, tcp::FIN | tcp::ACK, Closing),
        (Established, tcp::RST, Closing),
        (Closing, tcp::ACK, Closing),
    ];
    for (before, flags, after) in rows {
        assert_eq!(
            after_client(before, true, flags),
            after,
            "{before:?} {flags:#x}"
        );
    }
}

#[test]
fn the_server_alone_establishes_nothing() {
    for flags in [tcp::SYN | tcp::ACK, tcp::ACK] {
        assert_eq!(after_server(State::New, true, flags), State::New);
    }
    assert_eq!(
        after_server(State::Established, true, tcp::FIN | tcp::ACK),
        State::Closing
    );
    assert_eq!(after_server(State::New, false, tcp::FIN), State::New);
}

#[test]
fn a_second_datagram_assures_a_udp_flow() {
    assert_eq!(after_client(State::New, false, 0), State::Assured);
}

/// Another CPU's clock, or a sweep's, was read just before the tick.
#[test]
fn an_entry_of_the_next_tick_is_fresh() {
    for state in State::ALL {
        assert!(
            !Entry::new(1, 1, 7, state).is_expired(6, TIMEOUTS),
            "{state:?}"
        );
        assert!(
            !Entry::new(1, 1, 0, state).is_expired(255, TIMEOUTS),
            "{state:?}"
        );
    }
}

#[test]
fn ages_wrap() {
    let entry = Entry::new(1, 1, 250, State::Closing);
    assert!(!entry.is_expired(253, TIMEOUTS));
    assert!(entry.is_expired(254, TIMEOUTS));
    assert!(entry.is_expired(3, TIMEOUTS));
}
