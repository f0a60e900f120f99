//! Every promise of the demo, in both modes.

use std::sync::Mutex;

use anyhow::{Result, ensure};
use flowgate_tests::{claims, lab::Mode, stage::Stage, steal};

/// Some claims have bounds on time, so one stage at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn every_claim_holds(mode: Mode) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    steal::despite(|| {
        Stage::test(mode, |stage| {
            for claim in claims::ALL {
                let finding = (claim.check)(stage)?;
                ensure!(finding.held, "{}: {}", claim.title, finding.figures);
            }
            Ok(())
        })
    })
}

#[test]
fn every_claim_holds_in_dsr() -> Result<()> {
    every_claim_holds(Mode::Dsr)
}

#[test]
fn every_claim_holds_in_nat() -> Result<()> {
    every_claim_holds(Mode::Nat)
}
