//! The benchmark measures: its programs are loaded, the reference's too, and packets go the way
//! that a row is about, else it stops.

use std::process::Command;

use anyhow::Result;
use flowgate_tests::{interrupt, netns::run};

#[test]
fn a_row_with_the_reference_is_measured() -> Result<()> {
    interrupt::install();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate-bench"));
    command.args(["--rounds", "1", "--repeat", "1000", "--patience", "0"]);
    command.args(["--scenario", "dsr, IPv4, round robin, new"]);
    let table = run(&mut command)?;
    let name = "dsr, IPv4, round robin, new flows";
    let row = table.lines().find(|line| line.starts_with(name));
    // Median, least and greatest of both programs, and the ratio.
    let figures = row.map(|row| {
        let figures = row[name.len()..].split_whitespace();
        figures.filter(|word| word.parse::<f64>().is_ok()).count()
    });
    assert!(figures >= Some(7), "no such row in:\n{table}");
    Ok(())
}
