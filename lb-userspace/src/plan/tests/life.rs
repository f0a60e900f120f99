//! Just enough tracking over any history: connections stay with their backends.

use lb_common::{abi::BackendState, wheel::Index};
use proptest::prelude::*;

use super::world::{Wanted, World};

/// Clients, at most as many as bits of a `u32`.
const CLIENTS: u8 = 24;
const BACKENDS: u8 = 5;

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Send(u32),
    Open(u8),
    Knock(u8),
    Close(u8),
    Set(u8, Option<Wanted>, u32),
    Sweep,
    Settle(u32),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop::sample::select(vec![
        BackendState::Active,
        BackendState::Active,
        BackendState::Draining,
        BackendState::Draining,
        BackendState::Down,
    ]);
    let wanted = prop::option::weighted(0.85, (state, 1u16..4));
    prop_oneof![
        5 => (1u64..12).prop_map(Event::Pass),
        2 => (20u64..42).prop_map(Event::Pass),
        5 => any::<u32>().prop_map(Event::Send),
        6 => (0..CLIENTS).prop_map(Event::Open),
        1 => (0..CLIENTS).prop_map(Event::Knock),
        2 => (0..CLIENTS).prop_map(Event::Close),
        4 => (1..=BACKENDS, wanted, any::<u32>()).prop_map(|(n, wanted, chatty)| {
            Event::Set(n, wanted, chatty)
        }),
        3 => Just(Event::Sweep),
        3 => any::<u32>().prop_map(Event::Settle),
        1 => Just(Event::Restart),
    ]
}

fn happen(world: &mut World, event: &Event) {
    match *event {
        Event::Pass(seconds) => world.pass(seconds),
        Event::Send(chatty) => world.send(chatty),
        Event::Open(client) => world.open(client, true),
        Event::Knock(client) => world.open(client, false),
        Event::Close(client) => world.close(client),
        Event::Set(backend, wanted, chatty) => world.set(backend, wanted, chatty),
        Event::Sweep => world.sweep(),
        Event::Settle(chatty) => world.settle(chatty),
        Event::Restart => world.restart(),
    }
}

fn histories() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No connection ever reaches another backend than before, unless its backend went;
    /// no new one reaches a backend that takes none; and nothing is remembered for ever.
    #[test]
    fn no_change_breaks_a_connection(events in histories()) {
        let mut world = World::new(Index::Hash);
        events.iter().for_each(|event| happen(&mut world, event));
        world.quieten();
    }

    #[test]
    fn no_change_breaks_one_that_is_found_by_its_source(events in histories()) {
        let mut world = World::new(Index::Source);
        events.iter().for_each(|event| happen(&mut world, event));
        world.quieten();
    }
}
