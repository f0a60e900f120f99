//! The product's configuration for a site.

use std::fmt::Write as _;

use super::{Description, Family, Network, Server, Way, server};
use crate::wait::slowness;

/// The address of the full-nat pool, by its number in the front network.
const POOL: u8 = 20;

/// What a service is called, its port, its protocol, and of its servers how many.
const SERVICES: [(&str, u16, &str, usize); 4] = [
    ("web", server::HTTP, "tcp", 2),
    ("dns", server::DNS, "udp", 2),
    ("echo", server::ECHO, "udp", 2),
    // Its clients make two connections, which have to reach the same server.
    ("bulk", server::BULK, "tcp", 1),
];

pub(super) fn text(description: Description, servers: &[Server]) -> String {
    let interfaces = description.interfaces();
    let mut text = format!("[node]\ninterfaces = {interfaces:?}\n");
    let forward = match description.way {
        Way::Dsr => "forward = \"dsr\"",
        Way::Nat => "forward = \"nat\"",
        Way::FullNat => "forward = \"full-nat\"",
        Way::Ipip => "forward = \"tunnel\"\nencapsulation = \"ipip\"",
        Way::Gue => "forward = \"tunnel\"\nencapsulation = \"gue\"\ngue_port = 6080",
    };
    if description.way.tunnels() {
        let sources = [Family::V4, Family::V6].map(Family::tunnels);
        let _ = writeln!(text, "\n[tunnel]\nsource = {sources:?}");
    }
    if description.way == Way::FullNat {
        let pool = description.vip.host(Network::Front, POOL);
        let _ = writeln!(text, "\n[full_nat]\naddresses = [\"{pool}\"]");
    }
    for (name, port, protocol, count) in SERVICES {
        let _ = write!(
            text,
            "\n[[service]]\nname = \"{name}\"\nvip = \"{}\"\nport = {port}\n\
             protocol = \"{protocol}\"\n{forward}\n",
            description.vip.vip()
        );
        if name == "web" {
            let _ = writeln!(
                text,
                "health = {{ kind = \"http\", path = \"/healthz\", interval = \"{}s\" }}",
                slowness()
            );
        }
        for server in &servers[..count] {
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\n",
                server.name(),
                server.address
            );
            if name == "web" && !description.way.keeps_vip() {
                let _ = writeln!(text, "port = {}", server::TRANSLATED_HTTP);
            }
        }
    }
    text
}
