//! The network that a forwarder stands in, and the programs around it.

use std::path::Path;

use anyhow::{Context, Result};
use flowgate_tests::{
    card,
    link::{End, cable_with_queues},
    marks,
    netns::Namespace,
};
use tempfile::TempDir;

use crate::{
    addresses::{BACK_MAC, FRONT_MAC, Family, GEN_MAC, SINK_MAC, Wiring, text},
    forwarder::Forwarder,
    frame,
    programs::{self, Program, Programs},
    rounds::Effort,
};

/// A place for one forwarder.
pub struct Bed {
    pub family: Family,
    pub wiring: Wiring,
    /// The generator's and, in a hairpin, the servers'.
    pub gen_host: Namespace,
    /// The forwarder's.
    pub lb: Namespace,
    /// The servers'.
    _sink: Option<Namespace>,
    /// What sends and counts.
    pub programs: Programs,
    /// The interface that is sent from.
    pub ifindex: u32,
    /// Flows that a flow table is to be made for.
    pub room: u32,
    /// Whether its networks are those of the machine's own cards.
    pub on_cards: bool,
    scratch: TempDir,
}

impl Bed {
    /// Builds it for a forwarder, with a queue for each CPU on each interface. Nothing
    /// forwards yet.
    pub fn build(forwarder: &dyn Forwarder, effort: &Effort) -> Result<Self> {
        let connect = |number, a, b| match effort.cards {
            true => plug_both(number, a, b),
            false => cable_with_queues(a, b, effort.cpus.len()),
        };
        let (family, wiring) = (forwarder.family(), forwarder.wiring());
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let gen_host = host("gen", family)?;
        let lb = host("lb", family)?;
        let mut programs = Programs::load()?;
        let (outside, front) = (End::new(&gen_host, "eth0"), End::new(&lb, "front"));
        connect(1, outside, front)?;
        put(outside, GEN_MAC, family, 0, 1)?;
        put(front, FRONT_MAC, family, 0, 2)?;
        let sink = match wiring {
            Wiring::Through => {
                let sink = host("sink", family)?;
                let (back, inside) = (End::new(&lb, "back"), End::new(&sink, "eth0"));
                connect(3, back, inside)?;
                put(back, BACK_MAC, family, 1, 1)?;
                put(inside, SINK_MAC, family, 1, 16)?;
                programs.attach(inside, Program::Sink)?;
                Some(sink)
            }
            Wiring::Hairpin => {
                programs.attach(outside, Program::Sink)?;
                None
            }
        };
        if effort.cards && wiring == Wiring::Through {
            // A card sends others' frames only while it has a program.
            programs.attach(outside, Program::Pass)?;
        }
        programs.expect(frame::expected(family, wiring, forwarder.delivery()))?;
        let ifindex = gen_host.run(|| programs::index("eth0"))?;
        let bed = Self {
            family,
            wiring,
            gen_host,
            lb,
            _sink: sink,
            programs,
            ifindex,
            room: effort.room,
            on_cards: effort.cards,
            scratch,
        };
        bed.tell_neighbours().context("telling the neighbours")?;
        Ok(bed)
    }

    /// A directory for files, removed with the bed.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The interface that packets come in by.
    pub fn front(&self) -> End<'_> {
        End::new(&self.lb, "front")
    }

    /// Nobody needs to ask for MAC addresses.
    fn tell_neighbours(&self) -> Result<()> {
        let (family, clients) = (self.family, self.family.clients());
        let router = family.host(0, 1);
        let mut commands = format!(
            "neigh replace {router} lladdr {} dev front nud permanent\n\
             route add {clients} via {router} dev front",
            text(GEN_MAC)
        );
        let device = match self.wiring {
            Wiring::Through => "back",
            Wiring::Hairpin => "front",
        };
        let mac = text(self.wiring.server_mac());
        for server in family.servers(self.wiring) {
            commands.push_str(&format!(
                "\nneigh replace {server} lladdr {mac} dev {device} nud permanent"
            ));
        }
        self.lb.ip(&commands)
    }
}

/// Gives two hosts the card of that number and the next, which are on one network.
fn plug_both(number: u8, a: End<'_>, b: End<'_>) -> Result<()> {
    card::plug(number, a.host, a.device)?;
    card::plug(number + 1, b.host, b.device)
}

fn host(name: &str, family: Family) -> Result<Namespace> {
    let host = Namespace::new(name)?;
    if family == Family::V6 {
        host.enable_ipv6()?;
    }
    for key in ["all", "default"] {
        host.sysctl(&format!("net.ipv4.conf.{key}.rp_filter"), "0")?;
    }
    Ok(host)
}

fn put(end: End<'_>, mac: [u8; 6], family: Family, network: u8, number: u8) -> Result<()> {
    let (device, address) = (end.device, family.host(network, number));
    end.host.ip(&format!(
        "link set {device} address {}\naddr add {address}/{} dev {device}",
        text(mac),
        family.subnet()
    ))
}
