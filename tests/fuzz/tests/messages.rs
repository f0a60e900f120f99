//! A short run of messages. Needs no root.

use std::time::{SystemTime, UNIX_EPOCH};

use flowgate_fuzz::messages::{Messages, Taker};

fn run(taker: Taker, seed: u64, count: u64) -> Messages {
    println!("seed {seed}");
    let mut messages = Messages::new(taker, seed);
    for index in 0..count {
        if let Err(wrong) = messages.step(index) {
            panic!(
                "message {index} of seed {seed}: {}\n{:02x?}",
                wrong.what, wrong.bytes
            );
        }
    }
    messages
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as u64
}

#[test]
fn advertisements_are_taken_or_refused() {
    let messages = run(Taker::Vrrp, 3, 100_000);
    assert_eq!(messages.missing(), Vec::<&str>::new());
    run(Taker::Vrrp, now(), 100_000);
}

#[test]
fn what_nobody_sealed_changes_no_table() {
    let messages = run(Taker::Replication, 3, 64_000);
    assert_eq!(messages.missing(), Vec::<&str>::new());
    run(Taker::Replication, now(), 32_000);
}
