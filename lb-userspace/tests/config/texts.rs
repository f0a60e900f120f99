//! Texts of configurations, and what is said of one that is refused.

use std::fmt::Display;

use flowgate::config::model::Config;

/// A file without services.
pub const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\n";

/// Reads a text as a file.
pub fn parse(text: &str) -> Result<Config, String> {
    Config::parse("flowgate.toml", text).map_err(|errors| errors.to_string())
}

/// What is said of a file that breaks a rule.
pub fn refused(text: &str) -> String {
    parse(text).expect_err("this must be refused")
}

/// A file with one service; `keys` go into it, and what begins with `[[` follows.
pub fn service(keys: &str) -> String {
    format!(
        "{NODE}\n[[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nport = 80\n\
         protocol = \"tcp\"\n{keys}\n"
    )
}

/// A file with one dsr service and no backend.
pub fn dsr() -> String {
    service("forward = \"dsr\"")
}

/// A file with one dsr service of this VIP.
pub fn vip(vip: &str) -> String {
    dsr().replace("203.0.113.10", vip)
}

/// A file with one dsr service of this port, as it is written in the file.
pub fn port(port: &str) -> String {
    dsr().replace("= 80", &format!("= {port}"))
}

/// A file with one dsr service and one backend with these keys.
pub fn backend(keys: &str) -> String {
    service(&format!(
        "forward = \"dsr\"\n\n[[service.backend]]\nname = \"web1\"\n{keys}"
    ))
}

/// A file with one dsr service and this health check.
pub fn health(keys: &str) -> String {
    service(&format!("forward = \"dsr\"\nhealth = {{ {keys} }}"))
}

/// A file with one service's text, if any, and a section before it.
pub fn sections(section: &str, service: &str) -> String {
    match service.split_once("\n\n") {
        Some((node, service)) => format!("{node}\n\n{section}\n\n{service}"),
        None => format!("{NODE}\n{section}\n"),
    }
}

/// A file with one full-nat service, this pool and this backend.
pub fn full_nat(pool: &str, address: &str) -> String {
    let service = backend(&format!("address = \"{address}\"")).replace("dsr", "full-nat");
    sections(&format!("[full_nat]\n{pool}"), &service)
}

/// A file with two services of one VIP and protocol on these ports.
pub fn two_services(first: &str, second: &str) -> String {
    let second = port(second).replace("\"web\"", "\"other\"");
    let (_, second) = second.split_once("\n\n").unwrap();
    format!("{}\n{second}", port(first))
}

/// A file with services `s1`, `s2` … of one VIP: their ports and protocols.
pub fn services(all: impl IntoIterator<Item = (String, &'static str)>) -> String {
    let mut text = NODE.to_owned();
    for (number, (port, protocol)) in (1..).zip(all) {
        let name = format!("s{number}");
        text += &another(&name, "2001:db8::10", port, protocol, "dsr");
    }
    text
}

/// One more service, to be put at a file's end.
pub fn another(name: &str, vip: &str, port: impl Display, protocol: &str, mode: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\n\
         protocol = \"{protocol}\"\nforward = \"{mode}\"\n"
    )
}

/// One more backend of the last service, likewise.
pub fn server(name: impl Display, address: impl Display) -> String {
    format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}
