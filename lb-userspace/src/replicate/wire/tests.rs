use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::replicate::{
    Which,
    roster::{Item, Kind, Member},
    seal::BODY,
};

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..5) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let _ = ToStandby::read(&bytes);
        let _ = ToActive::read(&bytes);
        let _ = read_greeting(&bytes);
    }

    #[test]
    fn chunks_come_back_as_written(
        slots in prop::collection::btree_map(any::<u32>(), (any::<u64>(), any::<[u64; 3]>()), 0..60),
        ports: bool, edition: u32, floor: u64, is_cover: bool, cut in 1usize..2_000,
    ) {
        let table = if ports { Which::Ports } else { Which::Flows };
        let mut slots: Vec<Slot> = slots.into_iter().filter(|(slot, _)| *slot < u32::MAX).map(|(slot, (word, owner))| {
            let word = if slot % 3 == 0 { 0 } else { word };
            Slot { slot, word, owner: (ports && word != 0).then_some(owner) }
        }).collect();
        let start = slots.first().map_or(7, |first| first.slot / 2);
        let mut writer = ChunkWriter::new(table, edition, floor, is_cover, start);
        let mut written = 0;
        while written < slots.len() && writer.has_room() {
            writer.push(&slots[written]);
            written += 1;
        }
        prop_assert!(written == slots.len() || written >= ChunkWriter::surely(table));
        slots.truncate(written);
        let end = slots.last().map_or(start, |last| last.slot + 1);
        let body = writer.body(0);
        prop_assert!(body.len() <= BODY);
        let covers = is_cover.then_some((start, end));
        let chunk = Chunk { table, edition, floor, covers, slots };
        prop_assert_eq!(ToStandby::read(&body), Some(ToStandby::Chunk(chunk)));
        // Cut anywhere it may be another chunk, or none.
        let _ = ToStandby::read(&body[..body.len().min(cut)]);
    }

    #[test]
    fn acknowledgements_are_a_set_of_the_last_numbers(
        steps in prop::collection::vec((any::<bool>(), 0u64..200), 1..100), far in 0u64..3_000,
    ) {
        let (mut ack, mut set, mut at) = (Ack::default(), BTreeSet::new(), far);
        for (forward, step) in steps {
            at = if forward { at + step } else { at.saturating_sub(step) };
            ack.add(at);
            set.insert(at);
        }
        let highest = *set.last().expect("not empty");
        for number in highest.saturating_sub(400)..=highest + 1 {
            prop_assert_eq!(ack.has(number), set.contains(&number), "{}", number);
        }
        prop_assert_eq!(ToActive::read(&ToActive::Ack(ack).body()), Some(ToActive::Ack(ack)));
    }
}

#[test]
fn neighbours_cost_nine_bytes() {
    let mut writer = ChunkWriter::new(Which::Flows, 1, 0, false, 1 << 25);
    for slot in 1 << 25..(1 << 25) + 100 {
        let (word, owner) = (1 << 40, None);
        writer.push(&Slot { slot, word, owner });
    }
    assert_eq!(writer.body(0).len(), ChunkWriter::HEADER + 900);
}

#[test]
fn the_longest_part_of_a_roster_fits() {
    let item = Item {
        kind: Kind::Service,
        number: 9,
        member: Some(Member([3; 16])),
    };
    let body = ToStandby::roster(1, 2, 3, &[item; ITEMS + 1]);
    assert!(body.len() <= BODY && body.len() + 19 > BODY);
    let expected = ToStandby::Roster {
        edition: 1,
        part: 2,
        parts: 3,
        items: vec![item; ITEMS],
    };
    assert_eq!(ToStandby::read(&body), Some(expected));
    assert_eq!(ToStandby::read(&ToStandby::roster(1, 3, 3, &[])), None);
}

#[test]
fn marks_and_byes_come_back() {
    let mark = ToStandby::Mark {
        in_sync: true,
        lag_ms: 4_000_000_000,
        again: 7,
    };
    assert_eq!(
        ToStandby::read(&ToStandby::mark(true, 4_000_000_000, 7)),
        Some(mark)
    );
    assert_eq!(ToStandby::read(&ToStandby::bye()), Some(ToStandby::Bye));
    assert_eq!(ToActive::read(&ToActive::Bye.body()), Some(ToActive::Bye));
    assert_eq!(ToStandby::read(&[0, 0]), None);
}
