//! Groups of VIPs, and replication: what files mean, and what is said of those that break
//! a rule.

use std::{num::NonZeroU8, time::Duration};

use flowgate::{
    config::model::{Config, Tracked},
    vrrp::Version,
};

use crate::texts::{NODE, another, dsr, full_nat, parse, refused};

/// A file with one service and this in its one group.
fn group(keys: &str) -> String {
    format!("{}\n{}", dsr(), bare(keys))
}

fn bare(keys: &str) -> String {
    format!("[[vrrp]]\nname = \"site\"\ninterface = \"eth0\"\nvrid = 51\n{keys}\n")
}

fn replication(keys: &str) -> String {
    format!("{}[replication]\n{keys}\n", group(""))
}

const GOOD: &str = "key_file = \"/etc/flowgate/cluster.key\"\nlisten = \"10.0.0.2:5151\"\npeer = \"10.0.0.3:5151\"";

/// The same groups without the second one's VIPs' names.
fn two(first: &str, second: &str) -> String {
    let other = another("other", "203.0.113.11", 80, "tcp", "dsr");
    let second = bare(second).replace("site", "more").replace("51", "52");
    format!("{}\n{other}\n{}\n{second}", dsr(), bare(first))
}

#[test]
fn a_group_of_few_words_has_all_vips() {
    let config = parse(&group("")).unwrap();
    let site = &config.groups[0];
    assert_eq!(
        (site.name.as_str(), site.interface.as_str()),
        ("site", "eth0")
    );
    assert_eq!((site.vrid.get(), site.priority.get()), (51, 100));
    assert_eq!(site.interval.version(), Version::V3);
    assert_eq!(site.interval.centiseconds(), 100);
    assert!(site.preempt && site.peers.is_empty() && site.track.is_empty());
    let vip = ["203.0.113.10".parse().unwrap()];
    assert_eq!((&site.vips[..], &site.advertise[..]), (&vip[..], &vip[..]));
    assert_eq!(config.replication, None);
}

#[test]
fn every_key_is_read() {
    let text = group(
        r#"version = 3
priority = 255
interval = "20ms"
address = "10.0.0.2"
peers = ["10.0.0.3", "10.0.0.4"]
preempt = false
preempt_delay = "3s"
checksum_as_v2 = true
vips = ["203.0.113.10"]
gateways = ["10.0.1.1", "2001:db8::1"]
advertise = ["203.0.113.10"]
announcements = 7
announce_interval = "50ms"
notify = "/etc/flowgate/notify"
[[vrrp.track]]
interface = "eth1"
penalty = 20
[[vrrp.track]]
service = "web"
backends = 2"#,
    );
    let config = parse(&text).unwrap();
    let site = &config.groups[0];
    assert_eq!(
        (site.priority.get(), site.interval.centiseconds()),
        (255, 2)
    );
    assert_eq!((site.peers.len(), site.gateways.len()), (2, 2));
    assert!(!site.preempt && site.checksum_as_v2);
    assert_eq!(site.preempt_delay, Duration::from_secs(3));
    assert_eq!(site.announcements, 7);
    assert_eq!(site.announce_interval, Duration::from_millis(50));
    assert_eq!(
        site.notify.as_deref(),
        Some("/etc/flowgate/notify".as_ref())
    );
    assert_eq!(site.track[0].penalty, NonZeroU8::new(20));
    let web = Tracked::Service {
        name: "web".to_owned(),
        backends: 2,
    };
    assert_eq!((&site.track[1].what, site.track[1].penalty), (&web, None));
    assert_eq!(site.addresses().count(), 3);
}

#[test]
fn addresses_of_the_other_version_and_the_pool_ride_along() {
    let six = another("six", "2001:db8::10", 80, "tcp", "dsr");
    let advertised = |keys: &str| {
        let config = parse(&format!("{}\n{six}\n{}", dsr(), bare(keys))).unwrap();
        let group = &config.groups[0];
        assert_eq!(group.vips.len(), 2);
        group
            .advertise
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(advertised(""), ["203.0.113.10"]);
    assert_eq!(advertised("address = \"2001:db8::2\""), ["2001:db8::10"]);
    assert_eq!(advertised("peers = [\"fe80::3\"]"), ["2001:db8::10"]);

    let pool = full_nat("addresses = [\"10.0.0.200\"]", "10.0.0.11");
    let config = parse(&format!("{pool}\n{}", bare(""))).unwrap();
    assert_eq!(config.groups[0].vips.len(), 2);
    assert_eq!(config.groups[0].advertise.len(), 1);
}

#[test]
fn replication_is_read() {
    let config = parse(&replication(GOOD)).unwrap();
    let replication = config.replication.unwrap();
    assert_eq!(replication.listen.port(), 5151);
    assert_eq!(replication.peer.to_string(), "10.0.0.3:5151");
}

#[test]
fn two_groups_share_the_vips() {
    let config = parse(&two(
        "vips = [\"203.0.113.10\"]",
        "vips = [\"203.0.113.11\"]",
    ))
    .unwrap();
    assert_eq!(config.groups.len(), 2);
}

/// What is on the wire can't change by a reload, the rest can.
#[test]
fn some_of_it_can_be_reloaded() {
    let desired = flowgate::desired::Desired::new(parse(&group("")).unwrap());
    let can = |text: &str| desired.can_reload(&parse(text).unwrap());
    for fine in [
        "priority = 7",
        "preempt = false",
        "interval = \"20ms\"",
        "gateways = [\"10.0.1.1\"]",
    ] {
        can(&group(fine)).unwrap();
    }
    for wire in [
        "version = 2",
        "peers = [\"10.0.0.3\"]",
        "checksum_as_v2 = true",
    ] {
        assert!(
            can(&group(wire)).unwrap_err().message.contains("[[vrrp]]"),
            "{wire}"
        );
    }
    assert!(can(&dsr()).unwrap_err().message.contains("[[vrrp]]"));
    assert!(
        can(&replication(GOOD))
            .unwrap_err()
            .message
            .contains("[replication]")
    );
}

fn many_vips(count: usize) -> String {
    let services = (0..count).map(|n| {
        another(
            &format!("s{n}"),
            &format!("2001:db8::{n:x}"),
            80,
            "tcp",
            "dsr",
        )
    });
    format!("{NODE}{}{}", services.collect::<String>(), bare("")).replace("::0\"", "::ffff\"")
}

#[test]
fn as_many_vips_as_fit_into_a_packet() {
    assert_eq!(parse(&many_vips(90)).unwrap().groups[0].advertise.len(), 90);
    let few = many_vips(91) + "advertise = [\"2001:db8::1\"]\n";
    let config: Config = parse(&few).unwrap();
    assert_eq!(
        (
            config.groups[0].advertise.len(),
            config.groups[0].vips.len()
        ),
        (1, 91)
    );
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
    group_without_keys: format!("{}\n[[vrrp]]\n", dsr());
    group_with_odd_keys: group("vip = 3\nstate = \"MASTER\"");
    group_numbers: group("priority = 0\nversion = 4\nannouncements = 0").replace("51", "256");
    group_interval_v2: group("version = 2\ninterval = \"20ms\"");
    group_interval_v3: group("interval = \"15ms\"");
    group_without_services: format!("{NODE}{}", bare(""));
    group_of_a_strange_vip: group("vips = [\"203.0.113.99\"]");
    group_peers: group("peers = [\"10.0.0.3\", \"10.0.0.3\", \"fe80::1\", \"224.0.0.18\"]");
    group_v2_ipv6: group("version = 2").replace("203.0.113.10", "2001:db8::10");
    group_checksums_v2: group("version = 2\nchecksum_as_v2 = true");
    group_without_a_vip_of_its_version: group("address = \"2001:db8::2\"");
    group_advertises_others: group("advertise = [\"10.0.0.9\"]");
    group_of_too_many: many_vips(91);
    group_gateway_is_a_vip: group("gateways = [\"203.0.113.10\"]");
    group_gateways_twice: group("gateways = [\"10.0.1.1\", \"10.0.1.1\"]");
    group_tracks_nothing: group("[[vrrp.track]]\npenalty = 3");
    group_tracks_a_strange_service: group("[[vrrp.track]]\nservice = \"wep\"");
    group_notify_relative: group("notify = \"notify.sh\"");
    groups_of_unclear_vips: two("", "vips = [\"203.0.113.11\"]");
    groups_overlap: two("vips = [\"203.0.113.10\"]", "vips = [\"203.0.113.10\"]");
    groups_forget_one: group("vips = []").replace("[[vrrp]]", &format!("{}[[vrrp]]", another("other", "203.0.113.11", 80, "tcp", "dsr"))).replace("vips = []", "vips = [\"203.0.113.10\"]");
    groups_of_one_vrid: two("vips = [\"203.0.113.10\"]", "vips = [\"203.0.113.11\"]").replace("52", "51");
    replication_without_keys: replication("");
    replication_without_a_group: format!("{}\n[replication]\n{GOOD}\n", dsr());
    replication_of_two_groups: format!("{}[replication]\n{GOOD}\n", two("vips = [\"203.0.113.10\"]", "vips = [\"203.0.113.11\"]"));
    replication_with_itself: replication(&GOOD.replace("10.0.0.3", "10.0.0.2"));
    replication_across_versions: replication(&GOOD.replace("10.0.0.3:", "[2001:db8::3]:"));
    replication_without_port: replication(&GOOD.replace(":5151", ""));
}
