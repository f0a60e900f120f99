//! What a configuration file means, and what is said of one that breaks a rule.

use std::{fmt::Write, time::Duration};

use flowgate::config::model::{
    AdminState, CheckKind, Config, Forward, HealthCheck, Ports, Protocol, Scheduler,
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
    vip_ipv6: service("forward = \"dsr\"").replace("203.0.113.10", "2001:db8::1");
    vip_loopback: service("forward = \"dsr\"").replace("203.0.113.10", "127.0.0.1");
    vip_multicast: service("forward = \"dsr\"").replace("203.0.113.10", "224.0.0.18");
    vip_unspecified: service("forward = \"dsr\"").replace("203.0.113.10", "0.0.0.0");
    vip_broadcast: service("forward = \"dsr\"").replace("203.0.113.10", "255.255.255.255");
    vip_with_prefix: service("forward = \"dsr\"").replace("203.0.113.10", "203.0.113.10/24");
    port_zero: service("forward = \"dsr\"").replace("= 80", "= 0");
    port_as_text: service("forward = \"dsr\"").replace("= 80", "= \"80\"");
    port_beyond_all_bounds: service("forward = \"dsr\"").replace("= 80", "= 99999999999999999999999999999999999999999999");
    unknown_words: service("forward = \"drs\"\nscheduler = \"weighted-roundrobin\"").replace("tcp", "sctp");
    address_bad: backend("address = \"10.0.0.300\"");
    address_with_port: backend("address = \"10.0.0.11:80\"");
    address_is_a_host_name: backend("address = \"web1.example.com\"");
    address_ipv6: backend("address = \"2001:db8::11\"");
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
