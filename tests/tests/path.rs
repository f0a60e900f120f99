//! What is measured from end to end arrives as it should: the benchmark stops at the first
//! frame that doesn't.

use std::process::Command;

use anyhow::Result;
use flowgate_tests::{flowgate, interrupt, netns::run};

/// Measures those rows for a moment.
fn measured(scenario: &str) -> Result<String> {
    interrupt::install();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate-path"));
    command.env("FLOWGATE", flowgate::binary()?);
    command.args(["--counted", "--time", "5", "--scenario", scenario]);
    run(&mut command)
}

/// Checks that there is a row for each of `names`.
fn has_rows(scenario: &str, names: &[&str]) -> Result<()> {
    let table = measured(scenario)?;
    for name in names {
        let name = format!("{name}, 1 flow ");
        assert!(
            table.lines().any(|line| line.starts_with(&name)),
            "no {name}in:\n{table}"
        );
    }
    Ok(())
}

#[test]
fn frames_arrive_through_flowgate_in_each_mode() -> Result<()> {
    has_rows(
        "flowgate round robin",
        &[
            "bare redirect, IPv4",
            "bare redirect, IPv6",
            "bare tx, IPv4",
            "flowgate dsr, IPv4, round robin",
            "flowgate dsr, IPv6, round robin",
            "flowgate dsr hairpin, IPv4, round robin",
            "flowgate nat, IPv4, round robin",
            "flowgate tunnel, IPv4, round robin",
            "flowgate full-nat, IPv4, round robin",
        ],
    )
}

#[test]
fn frames_arrive_through_the_kernel() -> Result<()> {
    has_rows("ip_forward", &["ip_forward, IPv4"])?;
    has_rows("nft", &["nft dnat, IPv4"])
}
