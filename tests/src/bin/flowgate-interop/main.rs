//! `cargo xtask interop`: Flowgate and keepalived in one VRRP group, in every way that both
//! have.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser;
use flowgate_tests::{
    interop::{
        keepalived,
        matrix::{self, Plan},
        trial::Row,
    },
    interrupt, machine, marks,
};

/// Puts Flowgate and keepalived into one VRRP group, in network namespaces (as root).
///
/// VRRP versions 2 and 3, by multicast and unicast, IPv4 and IPv6, either of them active first:
/// stops, kills and splits them, and looks who answers for the VIPs. tshark reads what Flowgate
/// sends. Prints a table; the exit status is 1 if anything wasn't as VRRP says, and 130 after
/// Ctrl-C.
#[derive(Parser)]
#[command(name = "flowgate-interop")]
struct Arguments {
    /// Half a minute of it: version 3 by multicast over IPv4 whole, one stop of each of the others
    #[arg(long)]
    short: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::install();
    marks::remove_of_the_dead();
    match matrix(&arguments) {
        _ if interrupt::check().is_err() => ExitCode::from(130),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn matrix(arguments: &Arguments) -> Result<bool> {
    let plans = match arguments.short {
        true => matrix::short(),
        false => matrix::whole(),
    };
    let judge = flowgate_tests::interop::tshark_version()?;
    println!(
        "Flowgate and keepalived {}, read by tshark {judge}, on Linux {}: {} rows",
        keepalived::version()?,
        machine::kernel(),
        plans.len()
    );
    let begin = Instant::now();
    let rows = matrix::run(&plans, Plan::trial, |plan, row| {
        let verdict = match matrix::is_good(row) {
            true => "ok",
            false => "FAILED",
        };
        let (wire, first) = (plan.wire, plan.first);
        println!(
            "  {wire}, {first} active first: {verdict}, after {:.0?}",
            begin.elapsed()
        );
    });
    interrupt::check()?;
    for failure in matrix::failures(&rows) {
        println!("\n{failure}");
    }
    let wrong = rows.iter().filter(|row| !matrix::is_good(row)).count();
    let rows: Vec<Row> = rows.into_iter().filter_map(Result::ok).collect();
    print!("\n{}", matrix::table(&rows));
    println!("\n{}", LEGEND);
    match wrong {
        0 => println!("All {} rows are as VRRP says.", plans.len()),
        _ => println!("{wrong} of {} rows FAILED.", plans.len()),
    }
    Ok(wrong == 0)
}

const LEGEND: &str = "\
ok A/B/C, in milliseconds: A until the node that should answers (after a split: until the other
one doesn't), B the longest time without an answer, C the time in which both answered; * for as long
as we looked: keepalived's kernel keeps the VIPs when keepalived is killed. Last column:
advertisements + resignations + gratuitous ARP + unsolicited neighbour advertisements, each
read by tshark and found right.";
