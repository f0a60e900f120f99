//! Pairs of load balancers under faults, in the short form: that what `cargo xtask failover`
//! measures is really measured, and that Flowgate keeps its connections.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use flowgate_tests::{
    pair::{
        bed::Bed,
        contender::Contender,
        fault::Fault,
        flowgate::{Pair, Scheduler},
        keepalived::{Keepalived, Timers},
        outcome::Outcome,
        trial::{self, Crowd},
        way::Way,
    },
    steal,
};

/// Few enough for a busy machine.
const CROWD: Crowd = Crowd {
    staying: 100,
    pause: Duration::from_millis(30),
    newcomers: Duration::from_millis(20),
};
/// The longest gap that isn't a failure here, in milliseconds: far above the target, since
/// other work may be at these CPUs; far below what the timers of others take.
const GAP: f64 = 800.0;
/// Who was established for less than so many milliseconds may break: what is replicated waits for
/// a CPU that other work may have. Those who stay are older.
const FRESH: f64 = 500.0;

/// One trial; two at once would be in each other's way.
fn trial(bed: &Bed, contender: &dyn Contender, fault: Fault) -> Result<Outcome> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = trial::run(bed, contender, fault, CROWD)?;
    println!("{fault}, {}: {outcome:?}", contender.name());
    ensure!(outcome.taken_over.is_some(), "{fault}: {outcome:?}");
    ensure!(outcome.established >= CROWD.staying, "{fault}: {outcome:?}");
    Ok(outcome)
}

#[test]
fn flowgate_keeps_what_is_established() -> Result<()> {
    let bed = Bed::build()?;
    let round_robin = |way| Pair {
        way,
        scheduler: Scheduler::RoundRobin,
        interval: Duration::from_millis(20),
    };
    for (way, fault) in [
        (Way::Nat, Fault::Kill),
        (Way::Dsr, Fault::Gone),
        (Way::FullNat, Fault::Stop),
    ] {
        let pair = round_robin(way);
        steal::despite(|| {
            let outcome = trial(&bed, &pair, fault)?;
            let oldest = outcome.oldest_broken.unwrap_or_default();
            ensure!(oldest < FRESH, "{fault}: {outcome:?}");
            let gap = outcome.flow_gap.unwrap_or(f64::MAX).max(outcome.syn_gap);
            ensure!(gap < GAP, "{fault}: {outcome:?}");
            let lease = pair.lease().map_or(0.0, |lease| lease.as_secs_f64() * 1e3);
            ensure!(outcome.two_answering <= lease, "{fault}: {outcome:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_faults_cost_others_shows() -> Result<()> {
    let bed = Bed::build()?;
    let all_broke = |outcome: &Outcome| {
        // Nobody told the heir of them.
        ensure!(outcome.broken >= CROWD.staying, "{outcome:?}");
        Ok(())
    };
    // The fastest timers are too fast for a busy machine.
    let timers = Timers::Default;
    // A killed keepalived leaves the VIP on its node.
    steal::despite(|| {
        let killed = trial(&bed, &Keepalived { timers }, Fault::Kill)?;
        all_broke(&killed)?;
        ensure!(killed.two_at_end, "{killed:?}");
        ensure!(killed.two_answering > 100.0, "{killed:?}");
        Ok(())
    })?;
    // Three advertisements and a bit.
    steal::despite(|| {
        let gone = trial(&bed, &Keepalived { timers }, Fault::Gone)?;
        all_broke(&gone)?;
        ensure!(gone.syn_gap > 2000.0 && gone.echo_gap > 2000.0, "{gone:?}");
        // Probes past the pair excuse none of it.
        ensure!(gone.own_gap > 2000.0, "{gone:?}");
        ensure!(gone.taken_over > Some(2000.0), "{gone:?}");
        ensure!(gone.two_answering == 0.0, "{gone:?}");
        Ok(())
    })
}
