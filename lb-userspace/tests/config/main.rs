//! What a configuration file means, and what is said of one that breaks a rule.

use std::{fmt::Write, time::Duration};

use flowgate::config::model::{
    AdminState, CheckKind, Config, Encapsulation, Forward, HealthCheck, Ports, Protocol, Scheduler,
    Timeouts, Tunnel,
};
use proptest::prelude::*;

const SKETCH: &str = r#"
[node]
interfaces = ["eth0"]

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
protocol = "tcp"
scheduler = "round-robin"
forward = "dsr"
health = { kind = "http", path = "/healthz", interval = "500ms", fall = 2, rise = 2 }

[[service.backend]]
name = "web1"
address = "10.0.0.11"
weight = 1
"#;

/// A file with one service; `keys` go into it, and what begins with `[[` follows.
fn service(keys: &str) -> String {
    let head = "[node]\ninterfaces = [\"eth0\"]\n\n[[service]]\nname = \"web\"\n";
    format!("{head}vip = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\n{keys}\n")
}

/// A file with one dsr service and one backend with these keys.
fn backend(keys: &str) -> String {
    service(&format!(
        "forward = \"dsr\"\n\n[[service.backend]]\nname = \"web1\"\n{keys}"
    ))
}

/// A file with one dsr service and this health check.
fn health(keys: &str) -> String {
    service(&format!("forward = \"dsr\"\nhealth = {{ {keys} }}"))
}

/// A file with one service's text, if any, and a section before it.
fn sections(section: &str, service: &str) -> String {
    match service.split_once("\n\n") {
        Some((node, service)) => format!("{node}\n\n{section}\n\n{service}"),
        None => format!("[node]\ninterfaces = [\"eth0\"]\n\n{section}\n"),
    }
}

/// A file with one full-nat service, this pool and this backend.
fn full_nat(pool: &str, address: &str) -> String {
    let service = backend(&format!("address = \"{address}\"")).replace("dsr", "full-nat");
    sections(&format!("[full_nat]\n{pool}"), &service)
}

/// A file with two services of one VIP and protocol on these ports.
fn two_services(first: &str, second: &str) -> String {
    let second = service("forward = \"dsr\"").replace("= 80", &format!("= {second}"));
    let (_, second) = second.split_once("\n\n").unwrap();
    let second = second.replace("\"web\"", "\"other\"");
    let first = service("forward = \"dsr\"").replace("= 80", &format!("= {first}"));
    format!("{first}\n{second}")
}

/// A file with services `s1`, `s2` … of one VIP: their ports and protocols.
fn services(all: impl IntoIterator<Item = (String, &'static str)>) -> String {
    let mut text = "[node]\ninterfaces = [\"eth0\"]\n".to_owned();
    for (number, (port, protocol)) in (1..).zip(all) {
        write!(
            text,
            "[[service]]\nname = \"s{number}\"\nvip = \"2001:db8::10\"\nport = {port}\n\
             protocol = \"{protocol}\"\nforward = \"dsr\"\n"
        )
        .unwrap();
    }
    text
}

fn refused(text: &str) -> String {
    Config::parse("flowgate.toml", text)
        .expect_err("this must be refused")
        .to_string()
}

#[test]
fn the_sketch_means_what_it_says() {
    let config = Config::parse("flowgate.toml", SKETCH).unwrap();
    assert_eq!(config.node.interfaces, ["eth0"]);
    assert_eq!(config.node.max_flows, 1_000_000);
    let web = &config.services[0];
    assert_eq!(web.vip.to_string(), "203.0.113.10");
    assert_eq!((web.port, web.protocol), (Ports::Exact(80), Protocol::Tcp));
    assert_eq!(web.scheduler, Scheduler::RoundRobin);
    assert_eq!(web.forward, Forward::Dsr);
    let expected = HealthCheck {
        kind: CheckKind::Http {
            path: "/healthz".to_owned(),
            host: None,
            expect: (200, 399),
        },
        port: None,
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 2,
        jitter: 10,
    };
    assert_eq!(web.health, Some(expected));
    let web1 = &web.backends[0];
    assert_eq!((web1.name.as_str(), web1.port), ("web1", 80));
    assert_eq!((web1.weight, web1.admin), (1, AdminState::Enabled));
}

#[test]
fn optional_keys_are_read() {
    let text = service(
        r#"scheduler = "weighted-round-robin"
forward = "nat"

[service.health]
kind = "http"
path = "/up?deep=1"
host = "www.example.com"
expect = "200-204"
port = 8081
interval = "1m"
timeout = "250ms"
jitter = "0%"

[[service.backend]]
name = "a"
address = "10.0.0.11"
port = 8080
weight = 256
state = "drain"
"#,
    );
    let config = Config::parse("flowgate.toml", &text).unwrap();
    let web = &config.services[0];
    let health = web.health.as_ref().unwrap();
    assert_eq!((health.port, health.jitter), (Some(8081), 0));
    assert_eq!(health.interval, Duration::from_secs(60));
    assert_eq!(health.timeout, Duration::from_millis(250));
    let CheckKind::Http { host, expect, .. } = &health.kind else {
        panic!("not an http check");
    };
    assert_eq!(host.as_deref(), Some("www.example.com"));
    assert_eq!(*expect, (200, 204));
    let a = &web.backends[0];
    assert_eq!((a.port, a.weight), (8080, 256));
    assert_eq!(a.admin, AdminState::Draining);
}

#[test]
fn a_service_may_have_no_backends_and_no_health() {
    let config = Config::parse("flowgate.toml", &service("forward = \"dsr\"")).unwrap();
    assert!(config.services[0].backends.is_empty());
    assert_eq!(config.services[0].health, None);
}

#[test]
fn four_nat_services_may_share_a_server_and_a_fifth_may_not() {
    let file = |services: usize| {
        let mut text = "[node]\ninterfaces = [\"eth0\"]\n".to_owned();
        for port in 1..=services {
            write!(
                text,
                "[[service]]\nname = \"s{port}\"\nvip = \"203.0.113.10\"\nport = {port}\n\
                 protocol = \"tcp\"\nforward = \"nat\"\n[[service.backend]]\nname = \"a\"\n\
                 address = \"10.0.0.11\"\nport = 8080\n"
            )
            .unwrap();
        }
        text
    };
    assert!(Config::parse("flowgate.toml", &file(4)).is_ok());
    insta::assert_snapshot!("nat_shared_by_five", refused(&file(5)));
}

#[test]
fn every_section_and_mode_is_read() {
    let text = r#"
[node]
interfaces = ["eth0"]

[timeouts]
syn = "30s"
established = "1h"
udp = "5m"

[tunnel]
source = ["2001:db8:0:ff::/64", "172.16.0.0/16"]

[full_nat]
addresses = ["10.0.0.200", "2001:db8::200"]

[[service]]
name = "six"
vip = "2001:db8::10"
port = 80
protocol = "tcp"
forward = "tunnel"

[[service.backend]]
name = "a"
address = "2001:db8:1::11"

[[service.backend]]
name = "b"
address = "10.0.0.11"

[[service]]
name = "gue"
vip = "203.0.113.10"
port = "5000-5999"
protocol = "udp"
forward = "tunnel"
encapsulation = "gue"
gue_port = 7000
health = { kind = "tcp", port = 22 }

[[service.backend]]
name = "a"
address = "2001:db8:1::11"

[[service]]
name = "rest"
vip = "2001:db8::10"
port = 0
protocol = "tcp"
forward = "full-nat"

[[service.backend]]
name = "a"
address = "2001:db8:1::11"
"#;
    let config = Config::parse("flowgate.toml", text).unwrap();
    let expected = Timeouts {
        syn: Duration::from_secs(30),
        established: Duration::from_secs(3_600),
        udp: Duration::from_secs(300),
        ..Timeouts::default()
    };
    assert_eq!(config.timeouts, expected);
    let sources = [
        config.tunnel.ipv4.unwrap().to_string(),
        config.tunnel.ipv6.unwrap().to_string(),
    ];
    assert_eq!(sources, ["172.16.0.0/16", "2001:db8:0:ff::/64"]);
    let pool = config.full_nat.unwrap();
    assert_eq!((pool.addresses.len(), pool.ports), (2, 1_024..=65_535));
    let [six, gue, rest] = &config.services[..] else {
        panic!("not three services");
    };
    assert_eq!(six.forward, Forward::Tunnel(Encapsulation::Ipip));
    assert_eq!(six.backends[1].port, 80);
    let port = 7_000;
    assert_eq!(gue.forward, Forward::Tunnel(Encapsulation::Gue { port }));
    let (first, last) = (5_000, 5_999);
    assert_eq!(gue.port, Ports::Range { first, last });
    assert_eq!(gue.backends[0].port, 0);
    assert_eq!((rest.port, rest.forward), (Ports::Any, Forward::FullNat));
}

#[test]
fn a_gue_tunnel_needs_no_source() {
    let text = backend("address = \"10.0.0.11\"")
        .replace("\"dsr\"", "\"tunnel\"\nencapsulation = \"gue\"");
    let config = Config::parse("flowgate.toml", &text).unwrap();
    assert_eq!(config.tunnel, Tunnel::default());
    let port = 6_080;
    let forward = config.services[0].forward;
    assert_eq!(forward, Forward::Tunnel(Encapsulation::Gue { port }));
}

#[test]
fn the_narrowest_ports_win_so_they_may_lie_in_each_other() {
    let all = ["5001", "\"5000-5999\"", "\"6000-6001\"", "0", "6001"];
    let all = all.map(|port| (port.to_owned(), "tcp"));
    assert!(Config::parse("flowgate.toml", &services(all)).is_ok());
}

#[test]
fn a_vip_has_eight_ranges_and_those_of_two_protocols_may_be_the_same() {
    let of = |protocol, many: usize| {
        let ranges = (1..many).map(|n| format!("\"{n}000-{n}999\""));
        let all = ranges.chain(["0".to_owned()]);
        all.map(move |port| (port, protocol))
    };
    let parse = |text: String| Config::parse("flowgate.toml", &text);
    assert!(parse(services(of("tcp", 8).chain(of("udp", 8)))).is_ok());
    let other = ("\"1000-1998\"".to_owned(), "udp");
    assert!(parse(services(of("tcp", 7).chain([other.clone()]))).is_ok());
    let both = of("tcp", 7).chain(of("udp", 7));
    let tcp = ("\"1000-1998\"".to_owned(), "tcp");
    let disjoint = ("\"8000-8999\"".to_owned(), "tcp");
    assert!(parse(services(both.clone().chain([disjoint]))).is_ok());
    assert!(parse(services(both.chain([tcp]))).is_err());
    insta::assert_snapshot!(
        "too_many_ranges",
        refused(&services(of("tcp", 8).chain([other])))
    );
}

#[test]
fn four_services_of_any_port_may_share_a_server_and_a_fifth_may_not() {
    let file = |services: u8| {
        let mut text = sections("[full_nat]\naddresses = [\"10.0.0.200\"]", "");
        for number in 1..=services {
            let mode = if number % 2 == 0 { "nat" } else { "full-nat" };
            write!(
                text,
                "[[service]]\nname = \"s{number}\"\nvip = \"203.0.113.{number}\"\nport = 0\n\
                 protocol = \"tcp\"\nforward = \"{mode}\"\n[[service.backend]]\nname = \"a\"\n\
                 address = \"10.0.0.11\"\n"
            )
            .unwrap();
        }
        text
    };
    assert!(Config::parse("flowgate.toml", &file(4)).is_ok());
    insta::assert_snapshot!("any_shared_by_five", refused(&file(5)));
}

#[test]
fn timeouts_that_one_clock_can_count_are_taken() {
    for keys in [
        "syn = \"1s\"\nestablished = \"90s\"\nclosing = \"1s\"\nudp = \"1s\"",
        "syn = \"11m\"\nestablished = \"24h\"\nclosing = \"11m\"\nudp = \"11m\"",
        "",
    ] {
        let text = sections(&format!("[timeouts]\n{keys}"), "");
        assert!(Config::parse("flowgate.toml", &text).is_ok(), "{keys}");
    }
}

#[test]
fn the_examples_are_all_right() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut names = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(!config.services.is_empty(), "{}", path.display());
            names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    assert_eq!(names, ["full-nat", "tunnel-ipv6", "web-dsr", "web-nat"]);
}

#[test]
fn seventy_thousand_backends_are_one_clear_error() {
    let mut text = service("forward = \"dsr\"");
    for n in 0..70_000_u32 {
        let [_, b, c, d] = (0x0a00_0001 + n).to_be_bytes();
        write!(
            text,
            "[[service.backend]]\nname = \"b{n}\"\naddress = \"10.{b}.{c}.{d}\"\n"
        )
        .unwrap();
    }
    let started = std::time::Instant::now();
    insta::assert_snapshot!("seventy_thousand_backends", refused(&text));
    // A quadratic check would take minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn more_services_than_fit_are_one_clear_error() {
    let mut text = "[node]\ninterfaces = [\"eth0\"]\n".to_owned();
    for port in 1..=4_097 {
        write!(
            text,
            "[[service]]\nname = \"s{port}\"\nvip = \"203.0.113.10\"\nport = {port}\n\
             protocol = \"udp\"\nforward = \"dsr\"\n"
        )
        .unwrap();
    }
    insta::assert_snapshot!("too_many_services", refused(&text));
}

#[test]
fn a_file_that_is_wrong_everywhere_is_told_once_each_and_shortly() {
    let mut text = service("forward = \"dsr\"");
    for n in 0..500 {
        write!(
            text,
            "[[service.backend]]\nname = \"b{n}\"\naddress = \"here\"\n"
        )
        .unwrap();
    }
    let told = refused(&text);
    assert!(told.ends_with("flowgate.toml: error: and 470 more"));
}

macro_rules! refusals {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), refused(&$text));
        }
    )*};
}

refusals! {
    empty_file: "";
    not_toml: "[node\ninterfaces = eth0\n";
    key_twice: "[node]\ninterfaces = [\"eth0\"]\ninterfaces = [\"eth1\"]\n";
    no_interfaces: "[node]\ninterfaces = []\n";
    bad_interfaces: "[node]\ninterfaces = [\"eth0\", \"eth0\", \"a/b\", \"\", 1, \"much-too-long-a-name\"]\n";
    too_many_interfaces: format!("[node]\ninterfaces = [{}]\n", "\"eth0\", ".repeat(65));
    interfaces_as_text: "[node]\ninterfaces = \"eth0\"\n";
    misspelt_keys: "[node]\ninterface = [\"eth0\"]\nmax-flows = 5\ncolour = \"red\"\n[nod]\n";
    max_flows_out_of_bounds: "[node]\ninterfaces = [\"eth0\"]\nmax_flows = 1\n";
    service_in_single_brackets: "[node]\ninterfaces = [\"eth0\"]\n[service]\nname = \"web\"\n";
    service_is_a_number: "service = [1]\n[node]\ninterfaces = [\"eth0\"]\n";
    service_without_keys: "[node]\ninterfaces = [\"eth0\"]\n[[service]]\n";
    backend_in_single_brackets: service("forward = \"dsr\"\n[service.backend]\nname = \"a\"\n");
    bad_service_name: service("forward = \"dsr\"").replace("\"web\"", "\"my web!\"");
    service_name_twice: service("forward = \"dsr\"\n[[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nport = 81\nprotocol = \"tcp\"\nforward = \"dsr\"");
    port_balanced_already: service("forward = \"dsr\"\n[[service]]\nname = \"other\"\nvip = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\nforward = \"dsr\"");
    vip_ipv6_multicast: service("forward = \"dsr\"").replace("203.0.113.10", "ff02::1");
    vip_ipv6_unspecified: service("forward = \"dsr\"").replace("203.0.113.10", "::");
    vip_ipv6_loopback: service("forward = \"dsr\"").replace("203.0.113.10", "::1");
    vip_ipv6_link_local: service("forward = \"dsr\"").replace("203.0.113.10", "fe80::10");
    vip_ipv6_mapped: service("forward = \"dsr\"").replace("203.0.113.10", "::ffff:203.0.113.10");
    vip_ipv6_bad: service("forward = \"dsr\"").replace("203.0.113.10", "2001:db8:::1");
    vip_ipv6_with_prefix: service("forward = \"dsr\"").replace("203.0.113.10", "2001:db8::10/64");
    vip_ipv6_with_port: service("forward = \"dsr\"").replace("203.0.113.10", "[2001:db8::10]:80");
    vip_ipv6_in_brackets: service("forward = \"dsr\"").replace("203.0.113.10", "[2001:db8::10]");
    vip_ipv6_with_interface: service("forward = \"dsr\"").replace("203.0.113.10", "fe80::10%eth0");
    vip_loopback: service("forward = \"dsr\"").replace("203.0.113.10", "127.0.0.1");
    vip_multicast: service("forward = \"dsr\"").replace("203.0.113.10", "224.0.0.18");
    vip_unspecified: service("forward = \"dsr\"").replace("203.0.113.10", "0.0.0.0");
    vip_broadcast: service("forward = \"dsr\"").replace("203.0.113.10", "255.255.255.255");
    vip_with_prefix: service("forward = \"dsr\"").replace("203.0.113.10", "203.0.113.10/24");
    port_negative: service("forward = \"dsr\"").replace("= 80", "= -1");
    port_range_backwards: service("forward = \"dsr\"").replace("= 80", "= \"5999-5000\"");
    port_range_from_zero: service("forward = \"dsr\"").replace("= 80", "= \"0-65535\"");
    port_range_in_words: service("forward = \"dsr\"").replace("= 80", "= \"any\"");
    range_balanced_already: two_services("\"5000-5999\"", "\"5000-5999\"");
    ranges_overlap: two_services("\"5000-5999\"", "\"5999-6000\"");
    range_begins_with_a_port: two_services("5000", "\"5000-5999\"");
    port_begins_a_range: two_services("\"5000-5999\"", "5000");
    any_port_twice: two_services("0", "0");
    backend_port_in_a_range: backend("address = \"10.0.0.11\"\nport = 8080")
        .replace("= 80\n", "= \"5000-5999\"\n").replace("dsr", "nat");
    backend_port_of_any: backend("address = \"10.0.0.11\"\nport = 8080").replace("= 80\n", "= 0\n");
    backend_twice_in_a_range: backend("address = \"10.0.0.11\"\n[[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.11\"")
        .replace("= 80", "= 0");
    backend_port_in_a_tunnel: backend("address = \"10.0.0.11\"\nport = 8080")
        .replace("\"dsr\"", "\"tunnel\"\nencapsulation = \"gue\"");
    health_of_a_range: health("kind = \"tcp\"").replace("= 80", "= \"5000-5999\"");
    health_of_any_port: health("kind = \"tcp\"").replace("= 80", "= 0");
    backend_of_the_other_family: backend("address = \"2001:db8::11\"");
    nat_backend_of_the_other_family: backend("address = \"10.0.0.11\"")
        .replace("203.0.113.10", "2001:db8::10").replace("dsr", "nat");
    full_nat_backend_of_the_other_family: full_nat("addresses = [\"10.0.0.200\"]", "2001:db8::11");
    ipip_without_a_source: backend("address = \"10.0.0.11\"").replace("dsr", "tunnel");
    ipip_without_a_source_of_the_family: sections("[tunnel]\nsource = [\"172.16.0.0/16\"]",
        &backend("address = \"2001:db8::11\"").replace("dsr", "tunnel"));
    encapsulation_without_a_tunnel: service("forward = \"dsr\"\nencapsulation = \"gue\"\ngue_port = 6080");
    encapsulation_unknown: service("forward = \"tunnel\"\nencapsulation = \"gre\"");
    gue_port_of_ipip: service("forward = \"tunnel\"\ngue_port = 6080");
    gue_port_out_of_bounds: service("forward = \"tunnel\"\nencapsulation = \"gue\"\ngue_port = 0");
    tunnel_sources: sections("[tunnel]\nsource = [\"172.16.0.0\", \"2001:db8::1\", \"172.16.5.0/16\", \"10.0.0.0/33\", \"10.0.0.0/x\", \"here\", \"here/8\", \"224.0.0.0/8\", \"fe80::/64\", \"0.0.0.0/8\", \"::/0\", \"2001:db8::1/64\", 5]", "");
    tunnel_source_twice: sections("[tunnel]\nsource = [\"172.16.0.0/16\", \"2001:db8::/64\", \"172.17.0.0/16\"]", "");
    tunnel_without_source: sections("[tunnel]\nsuorce = []", "");
    full_nat_without_a_pool: service("forward = \"full-nat\"");
    full_nat_without_a_pool_of_the_family: full_nat("addresses = [\"2001:db8::200\"]", "10.0.0.11");
    pool_is_empty: sections("[full_nat]\naddresses = []", "");
    pool_too_large: sections(&format!("[full_nat]\naddresses = [{}]", "\"10.0.0.200\", ".repeat(65)), "");
    pool_addresses: sections("[full_nat]\naddresses = [\"10.0.0.200\", \"10.0.0.200\", \"127.0.0.1\", \"10.0.0.0/24\", \"::ffff:10.0.0.200\"]", "");
    pool_address_is_the_vip: full_nat("addresses = [\"10.0.0.200\", \"203.0.113.10\"]", "10.0.0.11");
    pool_address_is_a_backend: full_nat("addresses = [\"10.0.0.11\"]", "10.0.0.11");
    pool_ports_too_few: sections("[full_nat]\naddresses = [\"10.0.0.200\"]\nports = \"1024-1030\"", "");
    pool_ports_from_zero: sections("[full_nat]\naddresses = [\"10.0.0.200\"]\nports = \"0-1030\"", "");
    pool_ports_as_number: sections("[full_nat]\naddresses = [\"10.0.0.200\"]\nports = 1024", "");
    timeouts_out_of_bounds: sections("[timeouts]\nsyn = \"500ms\"\nestablished = \"25h\"\nclosing = 60\nudp = \"soon\"\ntcp = \"1s\"", "");
    timeouts_too_far_apart: sections("[timeouts]\nsyn = \"54s\"\nudp = \"1m\"", "");
    timeouts_of_a_day: sections("[timeouts]\nestablished = \"24h\"", "");
    port_as_text: service("forward = \"dsr\"").replace("= 80", "= \"80\"");
    port_beyond_all_bounds: service("forward = \"dsr\"").replace("= 80", "= 99999999999999999999999999999999999999999999");
    unknown_words: service("forward = \"drs\"\nscheduler = \"weighted-roundrobin\"").replace("tcp", "sctp");
    address_bad: backend("address = \"10.0.0.300\"");
    address_with_port: backend("address = \"10.0.0.11:80\"");
    address_is_a_host_name: backend("address = \"web1.example.com\"");
    address_is_the_vip: backend("address = \"203.0.113.10\"");
    address_is_a_later_vip: backend("address = \"203.0.113.20\"\n[[service]]\nname = \"late\"\nvip = \"203.0.113.20\"\nport = 80\nprotocol = \"tcp\"\nforward = \"dsr\"");
    backend_name_twice: backend("address = \"10.0.0.11\"\n[[service.backend]]\nname = \"web1\"\naddress = \"10.0.0.12\"");
    backend_address_twice: backend("address = \"10.0.0.11\"\n[[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.11\"");
    backend_port_in_dsr: backend("address = \"10.0.0.11\"\nport = 8080");
    weight_zero: backend("address = \"10.0.0.11\"\nweight = 0");
    weight_absurd: backend("address = \"10.0.0.11\"\nweight = 100000");
    weight_negative: backend("address = \"10.0.0.11\"\nweight = -1");
    weight_is_a_fraction: backend("address = \"10.0.0.11\"\nweight = 0.5");
    weight_with_round_robin: backend("address = \"10.0.0.11\"\nweight = 3");
    backend_state_unknown: backend("address = \"10.0.0.11\"\nstate = \"draining\"");
    health_without_kind: health("path = \"/\"");
    health_is_text: service("forward = \"dsr\"\nhealth = \"http\"");
    health_kind_unknown: health("kind = \"htp\"");
    health_http_without_path: health("kind = \"http\"");
    health_path_is_a_url: health("kind = \"http\", path = \"http://web1/\"");
    health_path_with_a_break: health("kind = \"http\", path = \"/a\\r\\nHost: b\"");
    health_path_on_tcp: health("kind = \"tcp\", path = \"/\"");
    health_on_udp: health("kind = \"tcp\"").replace("\"tcp\"\nforward", "\"udp\"\nforward");
    health_interval_without_unit: health("kind = \"tcp\", interval = 500");
    health_interval_too_short: health("kind = \"tcp\", interval = \"1ms\"");
    health_interval_malformed: health("kind = \"tcp\", interval = \"soon\"");
    health_timeout_longer_than_interval: health("kind = \"tcp\", interval = \"1s\", timeout = \"2s\"");
    health_counts: health("kind = \"tcp\", rise = 0, fall = 101");
    health_jitter: health("kind = \"tcp\", jitter = \"60%\"");
    health_jitter_without_unit: health("kind = \"tcp\", jitter = 10");
    health_expect: health("kind = \"http\", path = \"/\", expect = \"299-200\"");
    health_expect_out_of_bounds: health("kind = \"http\", path = \"/\", expect = 99");
    many_at_once: backend("address = \"10.0.0.300\"\nweight = 0\nport = 70000\ncolour = \"red\"")
        .replace("eth0", "").replace("forward = \"dsr\"\n", "");
    escapes_are_not_printed: service("forward = \"\\u001b[31mdsr\"");
    a_long_line: service(&format!("forward = \"dsr\" #{}\nscheduler = \"{}\"", "-".repeat(300), "x".repeat(300)));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let told = |path: &std::path::Path| {
        let told = Config::load(path).unwrap_err().to_string();
        told.replace(&dir.path().display().to_string(), "DIR")
    };
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"[node]\n\xff\xfe").unwrap();
    let all = [
        told(&dir.path().join("missing.toml")),
        told(dir.path()),
        told(&binary),
        told(std::path::Path::new("/dev/zero")),
    ];
    insta::assert_snapshot!("unreadable_files", all.join("\n\n"));
}

/// Text of the words that configurations are made of, so that the readers
/// behind the TOML parser are reached.
fn plausible() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "vip",
        "port",
        "protocol",
        "scheduler",
        "forward",
        "health",
        "backend",
        "address",
        "weight",
        "state",
        "interfaces",
        "max_flows",
        "kind",
        "path",
        "expect",
        "jitter",
        "interval",
        "timeout",
        "rise",
        "syn",
        "established",
        "source",
        "addresses",
        "ports",
        "encapsulation",
        "gue_port",
        "é",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "80",
        "\"80\"",
        "\"tcp\"",
        "\"10.0.0.1\"",
        "\"web\"",
        "[\"eth0\"]",
        "{}",
        "[{}]",
        "\"dsr\"",
        "\"nat\"",
        "\"tunnel\"",
        "\"gue\"",
        "\"full-nat\"",
        "\"2001:db8::1\"",
        "\"2001:db8::/64\"",
        "\"10.0.0.0/8\"",
        "[\"10.0.0.9\"]",
        "[\"::/0\", \"10.0.0.0/9\"]",
        "\"5000-5999\"",
        "\"24h\"",
        "\"5%\"",
        "\"1s\"",
        "\"200-299\"",
        "1.5",
        "inf",
        "true",
        "1979-05-27",
        "\"é\"",
        "[[1]]",
        "{ kind = \"http\", path = \"/\" }",
        "0xffff",
    ]);
    let header = prop::sample::select(vec![
        "[node]",
        "[[service]]",
        "[[service.backend]]",
        "[service.health]",
        "[service]",
        "[timeouts]",
        "[tunnel]",
        "[full_nat]",
    ]);
    let line = prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header.prop_map(str::to_owned),
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Err(errors) = Config::parse("x", &text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_plausible_text_makes_the_reader_panic(text in plausible()) {
        if let Err(errors) = Config::parse("x", &text) {
            prop_assert!(!errors.errors.is_empty());
            let lines: Vec<_> = errors.errors.iter().map(|error| error.place.as_ref().map(|place| place.line)).collect();
            prop_assert!(lines.is_sorted());
        }
    }
}
