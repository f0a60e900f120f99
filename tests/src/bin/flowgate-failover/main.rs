//! trial main
use flowgate_tests::pair::{
    bed::Bed,
    fault::Fault,
    keepalived::*,
    trial::{self, Crowd},
};
use std::time::Duration;
fn main() -> anyhow::Result<()> {
    let bed = Bed::build()?;
    eprintln!("built");
    let crowd = Crowd {
        staying: 1000,
        pace: Duration::from_millis(50),
        newcomers: Duration::from_millis(5),
    };
    for timers in [Timers::Default, Timers::Fastest] {
        for fault in Fault::ALL {
            let begin = std::time::Instant::now();
            match trial::run(&bed, &Keepalived { timers }, fault, crowd) {
                Ok(outcome) => eprintln!("{timers:?} {fault} {:?} {outcome:?}", begin.elapsed()),
                Err(e) => eprintln!("{timers:?} {fault} {:?} {e:#}", begin.elapsed()),
            }
        }
    }
    Ok(())
}
