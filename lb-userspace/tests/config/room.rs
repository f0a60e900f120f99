//! How many of everything there may be.

use std::time::{Duration, Instant};

use crate::texts::{NODE, another, dsr, parse, refused, sections, server, services};

#[test]
fn four_nat_services_may_share_a_server_and_a_fifth_may_not() {
    let file = |services: usize| {
        let mut text = NODE.to_owned();
        for port in 1..=services {
            text += &another(&format!("s{port}"), "203.0.113.10", port, "tcp", "nat");
            text += &server("a", "10.0.0.11");
            text += "port = 8080\n";
        }
        text
    };
    assert!(parse(&file(4)).is_ok());
    insta::assert_snapshot!("nat_shared_by_five", refused(&file(5)));
}

#[test]
fn four_services_of_any_port_may_share_a_server_and_a_fifth_may_not() {
    let file = |services: u8| {
        let mut text = sections("[full_nat]\naddresses = [\"10.0.0.200\"]", "");
        for number in 1..=services {
            let (name, vip) = (format!("s{number}"), format!("203.0.113.{number}"));
            let mode = if number % 2 == 0 { "nat" } else { "full-nat" };
            text += &another(&name, &vip, 0, "tcp", mode);
            text += &server("a", "10.0.0.11");
        }
        text
    };
    assert!(parse(&file(4)).is_ok());
    insta::assert_snapshot!("any_shared_by_five", refused(&file(5)));
}

#[test]
fn a_vip_has_eight_ranges_and_those_of_two_protocols_may_be_the_same() {
    let of = |protocol, many: usize| {
        let ranges = (1..many).map(|n| format!("\"{n}000-{n}999\""));
        let all = ranges.chain(["0".to_owned()]);
        all.map(move |port| (port, protocol))
    };
    assert!(parse(&services(of("tcp", 8).chain(of("udp", 8)))).is_ok());
    let other = ("\"1000-1998\"".to_owned(), "udp");
    assert!(parse(&services(of("tcp", 7).chain([other.clone()]))).is_ok());
    let both = of("tcp", 7).chain(of("udp", 7));
    let tcp = ("\"1000-1998\"".to_owned(), "tcp");
    let disjoint = ("\"8000-8999\"".to_owned(), "tcp");
    assert!(parse(&services(both.clone().chain([disjoint]))).is_ok());
    assert!(parse(&services(both.chain([tcp]))).is_err());
    insta::assert_snapshot!(
        "too_many_ranges",
        refused(&services(of("tcp", 8).chain([other])))
    );
}

#[test]
fn seventy_thousand_backends_are_one_clear_error() {
    let mut text = dsr();
    for n in 0..70_000_u32 {
        let [_, b, c, d] = (0x0a00_0001 + n).to_be_bytes();
        text += &server(format_args!("b{n}"), format_args!("10.{b}.{c}.{d}"));
    }
    let started = Instant::now();
    insta::assert_snapshot!("seventy_thousand_backends", refused(&text));
    // A quadratic check would take minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn more_services_than_fit_are_one_clear_error() {
    let mut text = NODE.to_owned();
    for port in 1..=4_097 {
        text += &another(&format!("s{port}"), "203.0.113.10", port, "udp", "dsr");
    }
    insta::assert_snapshot!("too_many_services", refused(&text));
}

#[test]
fn a_file_that_is_wrong_everywhere_is_told_once_each_and_shortly() {
    let mut text = dsr();
    for n in 0..500 {
        text += &server(format_args!("b{n}"), "here");
    }
    let told = refused(&text);
    assert!(told.ends_with("flowgate.toml: error: and 470 more"));
}
