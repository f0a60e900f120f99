//! What files mean that keep every rule.

use std::time::Duration;

use flowgate::config::model::{
    AdminState, CheckKind, Config, Encapsulation, Forward, HealthCheck, Ports, Protocol, Scheduler,
    Timeouts, Tunnel,
};

use crate::texts::{backend, dsr, parse, sections, service, services};

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

#[test]
fn the_sketch_means_what_it_says() {
    let config = parse(SKETCH).unwrap();
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
    let config = parse(&text).unwrap();
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
fn every_scheduler_is_read() {
    for (name, scheduler) in Scheduler::ALL {
        let text = service(&format!("scheduler = \"{name}\"\nforward = \"dsr\""));
        let read = &parse(&text).unwrap().services[0];
        assert_eq!((read.scheduler, read.source_prefix), (scheduler, None));
    }
    let networks = service("scheduler = \"source\"\nsource_prefix = 24\nforward = \"dsr\"");
    assert_eq!(
        parse(&networks).unwrap().services[0].source_prefix,
        Some(24)
    );
}

#[test]
fn a_backend_may_be_a_backup() {
    for (keys, backup) in [
        ("", false),
        ("backup = false", false),
        ("backup = true", true),
    ] {
        let config = parse(&backend(&format!("address = \"10.0.0.11\"\n{keys}"))).unwrap();
        assert_eq!(config.services[0].backends[0].backup, backup);
    }
}

#[test]
fn a_service_may_have_no_backends_and_no_health() {
    let config = parse(&dsr()).unwrap();
    assert!(config.services[0].backends.is_empty());
    assert_eq!(config.services[0].health, None);
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
    let config = parse(text).unwrap();
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
    let config = parse(&text).unwrap();
    assert_eq!(config.tunnel, Tunnel::default());
    let port = 6_080;
    let forward = config.services[0].forward;
    assert_eq!(forward, Forward::Tunnel(Encapsulation::Gue { port }));
}

#[test]
fn the_narrowest_ports_win_so_they_may_lie_in_each_other() {
    let all = ["5001", "\"5000-5999\"", "\"6000-6001\"", "0", "6001"];
    let all = all.map(|port| (port.to_owned(), "tcp"));
    assert!(parse(&services(all)).is_ok());
}

#[test]
fn timeouts_that_one_clock_can_count_are_taken() {
    for keys in [
        "syn = \"1s\"\nestablished = \"90s\"\nclosing = \"1s\"\nudp = \"1s\"",
        "syn = \"11m\"\nestablished = \"24h\"\nclosing = \"11m\"\nudp = \"11m\"",
        "",
    ] {
        let text = sections(&format!("[timeouts]\n{keys}"), "");
        assert!(parse(&text).is_ok(), "{keys}");
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
    assert_eq!(
        names,
        [
            "full-nat",
            "maglev-dsr",
            "pair",
            "tunnel-ipv6",
            "web-dsr",
            "web-nat"
        ]
    );
}
