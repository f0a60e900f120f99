//! Pairs of load balancers under faults, in the short form: that what `cargo xtask failover`
//! measures is really measured, and that Flowgate keeps its connections.

use std::time::Duration;

use anyhow::Result;
use flowgate_tests::pair::{
    bed::Bed,
    fault::Fault,
    keepalived::{Keepalived, Timers},
    outcome::Outcome,
    trial::{self, Crowd},
};

/// Few enough for a busy machine.
const CROWD: Crowd = Crowd {
    staying: 100,
    pause: Duration::from_millis(30),
    newcomers: Duration::from_millis(20),
};

/// What a pair that replicates nothing comes to.
fn keepalived(bed: &Bed, timers: Timers, fault: Fault) -> Result<Outcome> {
    let outcome = trial::run(bed, &Keepalived { timers }, fault, CROWD)?;
    println!("{fault}: {outcome:?}");
    assert!(outcome.taken_over.is_some(), "{outcome:?}");
    assert!(outcome.established >= CROWD.staying, "{outcome:?}");
    // Nobody told the heir of them.
    assert!(outcome.broken >= CROWD.staying, "{outcome:?}");
    Ok(outcome)
}

#[test]
fn what_faults_cost_shows() -> Result<()> {
    let bed = Bed::build()?;
    // A killed keepalived leaves the VIP on its node.
    let killed = keepalived(&bed, Timers::Fastest, Fault::Kill)?;
    assert!(
        killed.two_at_end && killed.two_answering > 100.0,
        "{killed:?}"
    );
    // Three advertisements and a bit.
    let gone = keepalived(&bed, Timers::Default, Fault::Gone)?;
    assert!(gone.syn_gap > 2000.0 && gone.echo_gap > 2000.0, "{gone:?}");
    assert!(gone.two_answering == 0.0, "{gone:?}");
    assert!(gone.taken_over > Some(2000.0), "{gone:?}");
    Ok(())
}
