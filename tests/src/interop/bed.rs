//! The hosts and the switch between them.

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use super::{
    relay::Relay,
    wire::{Family, Node, host},
};
use crate::{
    bpffs::PinDir,
    interrupt,
    link::{End, cable, switch},
    marks,
    netns::Namespace,
    xdp::{Attached, PASS},
};

/// The number of the host that watches.
pub const WATCHER: u8 = 9;
/// Its MAC address.
pub const WATCHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, WATCHER];
/// The switch's ports of the nodes.
const PORTS: [&str; 2] = ["to-ours", "to-theirs"];
/// Where checksums are translated: from keepalived's cable to one that goes on to the switch.
const BEHIND: &str = "behind";
const BEFORE: &str = "before";

/// Two nodes and a watcher, each with an interface `eth0`.
#[derive(Debug)]
pub struct Bed {
    // What works in the namespaces goes first.
    _relay: Option<Relay>,
    _pass: Attached,
    /// Where Flowgate runs.
    pub ours: Namespace,
    /// Where keepalived runs.
    pub theirs: Namespace,
    /// Who asks for the VIPs.
    pub watcher: Namespace,
    switches: Namespace,
    pins: PinDir,
    scratch: TempDir,
}

impl Bed {
    /// Builds it. With `translated`, what keepalived sends and gets has its VRRP checksum
    /// with the pseudo-header, and without it everywhere else.
    pub fn build(translated: bool) -> Result<Self> {
        interrupt::install();
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let switches = Namespace::new("switches")?;
        switch(&switches, "switch")?;
        let hosts = [("ours", 2), ("theirs", 3), ("watcher", WATCHER)];
        let [ours, theirs, watcher] = hosts.map(|(name, number)| -> Result<Namespace> {
            let own = Namespace::new(name)?;
            own.enable_ipv6()?;
            let port = format!("to-{name}");
            if translated && name == "theirs" {
                cable(End::new(&own, "eth0"), End::new(&switches, BEHIND))?;
                cable(End::new(&switches, BEFORE), End::new(&switches, &port))?;
            } else {
                cable(End::new(&own, "eth0"), End::new(&switches, &port))?;
            }
            switches.ip(&format!("link set {port} master switch"))?;
            own.ip(&format!(
                "link set eth0 down\nlink set eth0 address 02:00:00:00:00:0{number}\n\
                 link set eth0 up"
            ))?;
            for family in [Family::V4, Family::V6] {
                let (address, prefix) = (host(family, number), family.subnet());
                own.ip(&format!("addr add {address}/{prefix} dev eth0"))?;
            }
            Ok(own)
        });
        let (ours, theirs, watcher) = (ours?, theirs?, watcher?);
        // What XDP transmits over veth gets lost otherwise.
        let pass = Attached::new(End::new(&switches, PORTS[0]), &PASS)?;
        let relay = translated
            .then(|| Relay::between(End::new(&switches, BEHIND), End::new(&switches, BEFORE)))
            .transpose()?;
        Ok(Self {
            _relay: relay,
            _pass: pass,
            ours,
            theirs,
            watcher,
            switches,
            pins: PinDir::new()?,
            scratch,
        })
    }

    /// Keeps the nodes' ports from each other, or no more. Everybody else hears both.
    pub fn split(&self, split: bool) -> Result<()> {
        let isolated = if split { "on" } else { "off" };
        for port in PORTS {
            self.switches.ip(&format!(
                "link set {port} type bridge_slave isolated {isolated}"
            ))?;
        }
        Ok(())
    }

    /// The switch's end of Flowgate's cable.
    pub fn port(&self) -> End<'_> {
        End::new(&self.switches, PORTS[0])
    }

    /// The namespace of a node.
    pub fn host(&self, node: Node) -> &Namespace {
        match node {
            Node::Ours => &self.ours,
            Node::Theirs => &self.theirs,
        }
    }

    /// Where Flowgate's pins go.
    pub fn pins(&self) -> &Path {
        self.pins.path()
    }

    /// A directory for files, removed with the bed.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}
