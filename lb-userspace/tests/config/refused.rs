//! What is said of each file that breaks a rule.

use std::path::Path;

use flowgate::config::model::Config;

use crate::texts::{
    another, backend, dsr, full_nat, health, port, refused, sections, server, service,
    two_services, vip,
};

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
    bad_service_name: dsr().replace("\"web\"", "\"my web!\"");
    service_name_twice: dsr() + &another("web", "203.0.113.10", 81, "tcp", "dsr");
    port_balanced_already: dsr() + &another("other", "203.0.113.10", 80, "tcp", "dsr");
    vip_ipv6_multicast: vip("ff02::1");
    vip_ipv6_unspecified: vip("::");
    vip_ipv6_loopback: vip("::1");
    vip_ipv6_link_local: vip("fe80::10");
    vip_ipv6_mapped: vip("::ffff:203.0.113.10");
    vip_ipv6_bad: vip("2001:db8:::1");
    vip_ipv6_with_prefix: vip("2001:db8::10/64");
    vip_ipv6_with_port: vip("[2001:db8::10]:80");
    vip_ipv6_in_brackets: vip("[2001:db8::10]");
    vip_ipv6_with_interface: vip("fe80::10%eth0");
    vip_loopback: vip("127.0.0.1");
    vip_multicast: vip("224.0.0.18");
    vip_unspecified: vip("0.0.0.0");
    vip_broadcast: vip("255.255.255.255");
    vip_with_prefix: vip("203.0.113.10/24");
    port_negative: port("-1");
    port_range_backwards: port("\"5999-5000\"");
    port_range_from_zero: port("\"0-65535\"");
    port_range_in_words: port("\"any\"");
    range_balanced_already: two_services("\"5000-5999\"", "\"5000-5999\"");
    ranges_overlap: two_services("\"5000-5999\"", "\"5999-6000\"");
    range_begins_with_a_port: two_services("5000", "\"5000-5999\"");
    port_begins_a_range: two_services("\"5000-5999\"", "5000");
    any_port_twice: two_services("0", "0");
    backend_port_in_a_range: backend("address = \"10.0.0.11\"\nport = 8080")
        .replace("= 80\n", "= \"5000-5999\"\n").replace("dsr", "nat");
    backend_port_of_any: backend("address = \"10.0.0.11\"\nport = 8080").replace("= 80\n", "= 0\n");
    backend_twice_in_a_range:
        backend("address = \"10.0.0.11\"").replace("= 80", "= 0") + &server("web2", "10.0.0.11");
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
    port_as_text: port("\"80\"");
    port_beyond_all_bounds: port("99999999999999999999999999999999999999999999");
    unknown_words: service("forward = \"drs\"\nscheduler = \"weighted-roundrobin\"").replace("tcp", "sctp");
    address_bad: backend("address = \"10.0.0.300\"");
    address_with_port: backend("address = \"10.0.0.11:80\"");
    address_is_a_host_name: backend("address = \"web1.example.com\"");
    address_is_the_vip: backend("address = \"203.0.113.10\"");
    address_is_a_later_vip: backend("address = \"203.0.113.20\"") + &another("late", "203.0.113.20", 80, "tcp", "dsr");
    backend_name_twice: backend("address = \"10.0.0.11\"") + &server("web1", "10.0.0.12");
    backend_address_twice: backend("address = \"10.0.0.11\"") + &server("web2", "10.0.0.11");
    backend_port_in_dsr: backend("address = \"10.0.0.11\"\nport = 8080");
    weight_zero: backend("address = \"10.0.0.11\"\nweight = 0");
    weight_absurd: backend("address = \"10.0.0.11\"\nweight = 100000");
    weight_negative: backend("address = \"10.0.0.11\"\nweight = -1");
    weight_is_a_fraction: backend("address = \"10.0.0.11\"\nweight = 0.5");
    weight_with_round_robin: backend("address = \"10.0.0.11\"\nweight = 3");
    source_prefix_of_another_scheduler: service("forward = \"dsr\"\nscheduler = \"maglev\"\nsource_prefix = 24");
    source_prefix_without_a_scheduler: service("forward = \"dsr\"\nsource_prefix = 24");
    source_prefix_out_of_bounds: service("forward = \"dsr\"\nscheduler = \"source\"\nsource_prefix = 33");
    source_prefix_ipv6_out_of_bounds: service("forward = \"dsr\"\nscheduler = \"source\"\nsource_prefix = 0")
        .replace("203.0.113.10", "2001:db8::10");
    source_prefix_as_text: service("forward = \"dsr\"\nscheduler = \"source\"\nsource_prefix = \"/24\"");
    scheduler_unknown: service("forward = \"dsr\"\nscheduler = \"wlc\"");
    backup_as_text: backend("address = \"10.0.0.11\"\nbackup = \"yes\"");
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
    let told = |path: &Path| {
        let told = Config::load(path).unwrap_err().to_string();
        told.replace(&dir.path().display().to_string(), "DIR")
    };
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"[node]\n\xff\xfe").unwrap();
    let all = [
        told(&dir.path().join("missing.toml")),
        told(dir.path()),
        told(&binary),
        told(Path::new("/dev/zero")),
    ];
    insta::assert_snapshot!("unreadable_files", all.join("\n\n"));
}
