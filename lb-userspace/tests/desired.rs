//! Runtime changes: they keep the configuration's rules, whole or not at all,
//! and are kept as few as can be.

use std::collections::HashSet;

use flowgate::{
    config::model::{AdminState, Backend, Config, Scheduler},
    desired::{Change, ChangeError, Desired, RuntimeChanges},
};
use proptest::prelude::*;

const FILE: &str = include_str!("site.toml");

fn parse(text: &str) -> Config {
    Config::parse("flowgate.toml", text).unwrap()
}

fn config() -> Config {
    parse(FILE)
}

fn change(json: &str) -> Change {
    serde_json::from_str(json).unwrap()
}

fn named(change: &str, service: &str, name: &str) -> Change {
    self::change(&format!(
        r#"{{"change": "{change}", "service": "{service}", "name": "{name}"}}"#
    ))
}

fn add(service: &str, name: &str, address: &str, weight: u32) -> Change {
    Change::AddBackend {
        service: service.to_owned(),
        name: name.to_owned(),
        address: address.parse().unwrap(),
        port: None,
        weight,
        backup: false,
    }
}

fn web<'a>(desired: &'a Desired, name: &str) -> Option<&'a Backend> {
    let mut backends = desired.config().services[0].backends.iter();
    backends.find(|backend| backend.name == name)
}

#[test]
fn each_change_does_what_it_says() {
    let mut desired = Desired::new(config());
    let done = desired.apply(add("web", "web3", "10.0.0.13", 5)).unwrap();
    assert!(done.changed);
    assert_eq!(web(&desired, "web3").unwrap().port, 80);
    desired.apply(named("drain", "web", "web1")).unwrap();
    assert_eq!(web(&desired, "web1").unwrap().admin, AdminState::Draining);
    desired.apply(named("enable", "web", "web2")).unwrap();
    assert_eq!(web(&desired, "web2").unwrap().admin, AdminState::Enabled);
    let json = r#"{"change": "set-weight", "service": "web", "name": "web2", "weight": 7}"#;
    desired.apply(change(json)).unwrap();
    assert_eq!(web(&desired, "web2").unwrap().weight, 7);
    desired
        .apply(named("remove-backend", "web", "web1"))
        .unwrap();
    assert_eq!(web(&desired, "web1"), None);
}

#[test]
fn doing_the_same_twice_changes_nothing() {
    let mut desired = Desired::new(config());
    for change in [
        add("web", "web3", "10.0.0.13", 5),
        named("drain", "web", "web1"),
    ] {
        assert!(desired.apply(change.clone()).unwrap().changed);
        assert!(!desired.apply(change).unwrap().changed);
    }
}

#[test]
fn what_cancels_out_leaves_nothing_behind() {
    let mut desired = Desired::new(config());
    for change in [
        named("drain", "web", "web1"),
        named("enable", "web", "web1"),
        add("web", "web3", "10.0.0.13", 5),
        named("drain", "web", "web3"),
        named("remove-backend", "web", "web3"),
        named("remove-backend", "web", "web1"),
        add("web", "web1", "10.0.0.11", 1),
    ] {
        assert!(desired.apply(change).unwrap().changed);
    }
    assert_eq!(desired.changes(), RuntimeChanges::default());
}

#[test]
fn refusals_name_the_reason_and_the_way_out() {
    let mut desired = Desired::new(config());
    let before = desired.config().clone();
    let weight = |service: &str, name: &str, weight: u32| Change::SetWeight {
        service: service.to_owned(),
        name: name.to_owned(),
        weight,
    };
    let at_8080 = |service: &str, address: &str| {
        let mut change = add(service, "new", address, 1);
        if let Change::AddBackend { port, .. } = &mut change {
            *port = Some(8080);
        }
        change
    };
    let mut told = String::new();
    for change in [
        named("drain", "wbe", "web1"),
        named("drain", "storage", "web1"),
        named("drain", "web", "wbe1"),
        named("drain", "web", "storage"),
        add("web", "web1", "10.0.0.13", 1),
        add("web", "web3", "10.0.0.11", 1),
        add("web", "web3", "203.0.113.11", 1),
        add("web", "web3", "127.0.0.1", 1),
        add("web", "web3", "2001:db8::1", 1),
        add("web", "not a name", "10.0.0.13", 1),
        add("web", "web3", "10.0.0.13", 0),
        add("api", "api2", "10.0.0.12", 2),
        at_8080("api", "10.0.0.12"),
        at_8080("tls", "10.0.0.12"),
        at_8080("media", "10.0.0.12"),
        add("media", "media2", "2001:db8:1::21", 1),
        add("media", "media2", "2001:db8::200", 1),
        add("media", "media2", "2001:db8::10", 1),
        add("media", "media2", "fe80::1", 1),
        add("rest", "rest2", "10.0.0.12", 1),
        add("tls", "tls2", "2001:db8:1::22", 1),
        weight("web", "web1", 100_000),
        weight("api", "api1", 2),
    ] {
        let error = desired.apply(change).unwrap_err();
        let kind = match &error {
            ChangeError::Unknown(_) => "unknown",
            ChangeError::Refused(_) => "refused",
        };
        told.push_str(&format!("{kind}: {error}\n  {}\n", error.refusal().help));
        assert_eq!(desired.config(), &before);
    }
    insta::assert_snapshot!("refused_changes", told);
}

#[test]
fn changes_outlive_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runtime.json");
    assert_eq!(
        RuntimeChanges::load(&path).unwrap(),
        RuntimeChanges::default()
    );

    let mut desired = Desired::new(config());
    desired.apply(add("web", "web3", "10.0.0.13", 5)).unwrap();
    desired.apply(named("drain", "web", "web3")).unwrap();
    desired.changes().save(&path).unwrap();

    let kept = RuntimeChanges::load(&path).unwrap();
    let (restored, warnings) = Desired::restore(config(), &kept);
    assert!(warnings.is_empty());
    assert_eq!(restored.config(), desired.config());

    std::fs::write(&path, "{").unwrap();
    assert!(RuntimeChanges::load(&path).is_err());
}

#[test]
fn a_reload_keeps_what_fits_and_names_what_does_not() {
    let mut desired = Desired::new(config());
    desired.apply(named("drain", "web", "web1")).unwrap();
    desired.apply(named("enable", "web", "web2")).unwrap();
    desired.apply(add("web", "web3", "10.0.0.13", 5)).unwrap();
    let text = FILE
        .replace("web2", "other")
        .replace("10.0.0.12", "10.0.0.13");
    let warnings = desired.reload(parse(&text));
    insta::assert_snapshot!("dropped_changes", warnings.join("\n"));
    assert_eq!(web(&desired, "web1").unwrap().admin, AdminState::Draining);
    assert_eq!(web(&desired, "web3"), None);
    assert_eq!(desired.changes().changes, [named("drain", "web", "web1")]);
}

#[test]
fn a_reload_that_would_need_new_tables_is_refused() {
    let desired = Desired::new(config());
    assert_eq!(desired.can_reload(&config()), Ok(()));
    let told = [
        ("[node]", "[node]\nmax_flows = 2_000_000"),
        ("[tunnel]", "[timeouts]\nudp = \"3m\"\n[tunnel]"),
        ("::200\"", "::200\", \"2001:db8::201\""),
    ]
    .map(|(from, to)| {
        let text = FILE.replace(from, to);
        desired.can_reload(&parse(&text)).unwrap_err().one_line()
    });
    insta::assert_snapshot!("refused_reloads", told.join("\n"));
    // Where tunnels come from is no table's business.
    let text = FILE.replace("172.16.0.0/16", "172.17.0.0/16");
    assert_eq!(desired.can_reload(&parse(&text)), Ok(()));
}

fn any_change() -> impl Strategy<Value = Change> {
    let service = prop::sample::select(vec!["web", "api", "tls", "media", "rest", "none"])
        .prop_map(str::to_owned);
    let name = prop::sample::select(vec![
        "web1", "web2", "api1", "tls1", "media1", "rest1", "x", "y", "!",
    ]);
    let address = prop::sample::select(vec![
        "10.0.0.11",
        "10.0.0.12",
        "10.0.0.13",
        "203.0.113.10",
        "0.0.0.0",
        "2001:db8:1::21",
        "2001:db8:1::31",
        "2001:db8::10",
        "2001:db8::200",
        "::ffff:10.0.0.13",
    ]);
    let port = prop::option::of(prop::sample::select(vec![0_u32, 80, 8080, 70_000]));
    let weight = prop::sample::select(vec![0_u32, 1, 2, 256, 257, u32::MAX]);
    (service, name, address, port, weight, 0..5).prop_map(
        |(service, name, address, port, weight, verb)| {
            let name = name.to_owned();
            match verb {
                0 => Change::AddBackend {
                    service,
                    name,
                    address: address.parse().unwrap(),
                    port,
                    weight,
                    backup: weight == 2,
                },
                1 => Change::RemoveBackend { service, name },
                2 => Change::Enable { service, name },
                3 => Change::Drain { service, name },
                _ => Change::SetWeight {
                    service,
                    name,
                    weight,
                },
            }
        },
    )
}

/// The rules, written once more and plainly.
fn keeps_the_rules(config: &Config) -> bool {
    let vips: HashSet<_> = config.services.iter().map(|service| service.vip).collect();
    config.services.iter().all(|service| {
        let backends = &service.backends;
        let names: HashSet<_> = backends.iter().map(|b| &b.name).collect();
        let endpoints: HashSet<_> = backends.iter().map(|b| (b.address, b.port)).collect();
        names.len() == backends.len()
            && endpoints.len() == backends.len()
            && backends.iter().all(|b| {
                !vips.contains(&b.address)
                    && b.address.to_string() != "2001:db8::200"
                    && b.address.to_string() != "::ffff:10.0.0.13"
                    && (1..=256).contains(&b.weight)
                    && (service.scheduler != Scheduler::RoundRobin || b.weight == 1)
                    && match service.name.as_str() {
                        "web" => b.address.is_ipv4() && b.port != 0,
                        "api" => b.address.is_ipv4() && b.port == 80,
                        "tls" => b.address.is_ipv4() && b.port == 443,
                        "media" => b.port == 0,
                        _ => b.address.is_ipv6() && b.port == 0,
                    }
            })
    })
}

/// The configuration with the backends in one order, whatever the history.
fn in_order(config: &Config) -> Config {
    let mut config = config.clone();
    for service in &mut config.services {
        service.backends.sort_by(|a, b| a.name.cmp(&b.name));
    }
    config
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_survives_a_restart(
        history in prop::collection::vec(any_change(), 0..30)
    ) {
        let mut desired = Desired::new(config());
        for change in history {
            let before = desired.config().clone();
            match desired.apply(change) {
                Ok(applied) => prop_assert_eq!(applied.changed, desired.config() != &before),
                Err(_) => prop_assert_eq!(desired.config(), &before),
            }
            prop_assert!(keeps_the_rules(desired.config()));
        }
        let changes = desired.changes();
        let text = serde_json::to_string(&changes).unwrap();
        let kept: RuntimeChanges = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&kept, &changes);
        let (restored, warnings) = Desired::restore(config(), &kept);
        prop_assert!(warnings.is_empty(), "{:?}", warnings);
        prop_assert_eq!(in_order(restored.config()), in_order(desired.config()));
        prop_assert_eq!(restored.changes(), changes);
    }
}
