//! The hosts of a pair, without a load balancer at work on them.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::way::Way;
use crate::{
    echo::Echo,
    interrupt,
    link::{End, address, cable, receive_on, switch},
    machine, marks,
    netns::Namespace,
    parrot::Parrot,
    xdp::{Attached, PASS, instruction},
};

/// The virtual IP.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Where the service is: at the VIP, and on the servers.
pub const PORT: u16 = 7;
/// The router on the front network.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The address on the back network that moves with the VIP (`nat`).
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The prober's address behind the router.
pub const PROBER: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 10);
/// Another one, of those that bypass the load balancers both ways.
const BYPASSER: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 11);
/// Where they are answered, on the first web server.
const BYPASS_PORT: u16 = 9;
/// How many web servers there are; their numbers are 1, 2, …
pub const WEBS: u8 = 3;
/// The networks that the nodes and the web servers are on.
const NETWORKS: [&str; 2] = ["front", "back"];

/// Where clients connect to.
pub fn service() -> SocketAddr {
    (VIP, PORT).into()
}

/// A way for probes: from an address of the prober's to a server.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// The prober's address.
    pub from: Ipv4Addr,
    /// Where the server is.
    pub to: SocketAddrV4,
}

/// Through the load balancers.
pub const SERVICE: Path = Path {
    from: PROBER,
    to: SocketAddrV4::new(VIP, PORT),
};

/// Past them, both ways: by the router, the switch and a web server that the others take, too.
pub const BYPASS: Path = Path {
    from: BYPASSER,
    to: SocketAddrV4::new(web_address(Way::Dsr, 1), BYPASS_PORT),
};

/// The clients' addresses: several, so that their ports last.
pub fn client_addresses() -> Vec<Ipv4Addr> {
    (10..18).map(|n| Ipv4Addr::new(198, 51, 100, n)).collect()
}

/// A web server's own address.
pub const fn web_address(way: Way, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, way.is_behind() as u8, 10 + number)
}

/// One of the two load balancers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// `lb1`, the one with the higher priority.
    First,
    /// `lb2`.
    Second,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The host's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "lb1",
            Self::Second => "lb2",
        }
    }

    /// Its own address on the front network.
    pub fn front(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 2 + self as u8)
    }

    /// Its own address on the back network.
    pub fn back(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 1, 2 + self as u8)
    }

    /// Its MAC address on the front network.
    pub fn mac(self) -> [u8; 6] {
        let [a, b, c, d] = self.front().octets();
        [2, 0, a, b, c, d]
    }

    /// The switch's port that it is plugged into.
    fn port(self, network: &str) -> String {
        format!("{}-{network}", self.name())
    }
}

/// A load balancer's host.
#[derive(Debug)]
pub struct Node {
    /// The host; its interfaces are `front` and `back`.
    pub host: Namespace,
    /// The program on the switch's end of its cable to the front network: it passes all,
    /// or cuts the two nodes off from each other.
    front: Attached,
    _back: Attached,
}

/// A web server's programs, until this is dropped.
#[derive(Debug)]
pub struct Served {
    _parrot: Parrot,
    _echo: Echo,
}

/// The hosts.
#[derive(Debug)]
pub struct Bed {
    /// Where clients are.
    pub client: Namespace,
    /// Where probes come from: its interface `eth0` leads to the router, `front` into
    /// the switch between the router and the nodes.
    pub prober: Namespace,
    router: Namespace,
    nodes: [Node; 2],
    webs: Vec<Namespace>,
    /// Its kernel accepts what comes by [`BYPASS`]; nobody takes it, as the prober gives up each.
    _bypass: TcpListener,
    switches: Namespace,
    scratch: TempDir,
}

impl Bed {
    /// Builds them.
    pub fn build() -> Result<Self> {
        interrupt::install();
        marks::remove_of_the_dead();
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let switches = Namespace::new("switches")?;
        for network in NETWORKS {
            switch(&switches, network)?;
        }
        let router = Namespace::new("router")?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        plug(&switches, &router, "front", "router", Some(ROUTER))?;
        router.ip(&format!("route add {VIP}/32 dev front"))?;
        let client = host_behind(&router, "client", 100, &client_addresses())?;
        client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        let prober = host_behind(&router, "prober", 101, &[PROBER, BYPASSER])?;
        plug(&switches, &prober, "front", "prober", None)?;
        let nodes = [
            node(&switches, Side::First)?,
            node(&switches, Side::Second)?,
        ];
        let webs: Vec<_> = (1..=WEBS)
            .map(|number| web(&switches, number))
            .collect::<Result<_>>()?;
        let bypass = webs[0].run(|| TcpListener::bind(BYPASS.to));
        Ok(Self {
            client,
            prober,
            router,
            nodes,
            webs,
            _bypass: bypass.context("a server beside the pair")?,
            switches,
            scratch,
        })
    }

    /// A directory for files, removed with the hosts.
    pub fn scratch(&self) -> &path::Path {
        self.scratch.path()
    }

    /// Gives the first node's programs a CPU of their own from now on, and all else that this
    /// thread starts, and what the first node sends, the others: what it does doesn't keep other
    /// hosts waiting then. False where there is one CPU only.
    pub fn set_first_aside(&mut self) -> Result<bool> {
        let cpu = machine::set_one_aside()?;
        if let Some(cpu) = cpu {
            self.nodes[Side::First as usize].host.keep_to(cpu);
            let others = machine::cpus()?;
            for network in NETWORKS {
                let port = Side::First.port(network);
                receive_on(End::new(&self.switches, &port), &others)?;
            }
        }
        Ok(cpu.is_some())
    }

    /// A load balancer's host.
    pub fn node(&self, side: Side) -> &Node {
        &self.nodes[side as usize]
    }

    /// Puts everything back as it was built, for nodes that forward in this way; nothing
    /// runs on the hosts.
    pub fn reset(&self, way: Way) -> Result<()> {
        for side in Side::BOTH {
            let host = &self.node(side).host;
            host.ip(&format!(
                "link set front up\naddr flush dev front to {VIP}/32\nroute replace default via {ROUTER}"
            ))?;
            self.plug_in(side)?;
        }
        self.join()?;
        self.router.ip("neigh flush dev front")?;
        for web in &self.webs {
            let to_clients = way.servers_gateway();
            web.ip(&format!(
                "neigh flush all\nroute replace default via {to_clients}"
            ))?;
        }
        Ok(())
    }

    /// Starts the web servers' programs.
    pub fn serve(&self, way: Way) -> Result<Vec<Served>> {
        (1..=WEBS)
            .zip(&self.webs)
            .map(|(number, host)| {
                let own = web_address(way, number);
                let at = (if way.keeps_vip() { VIP } else { own }, PORT).into();
                Ok(Served {
                    _parrot: Parrot::start(host, at, number)?,
                    _echo: Echo::prompt(host, at)?,
                })
            })
            .collect()
    }

    /// Takes the node's front interface down, as its administrator would.
    pub fn link_down(&self, side: Side) -> Result<()> {
        self.node(side).host.ip("link set front down")
    }

    /// Cuts the node off: its cables end in the switches' host, but in no switch. The
    /// node's own links stay up, so that it can't notice by them.
    pub fn cut_off(&self, side: Side) -> Result<()> {
        let out = |network: &&str| format!("link set {} nomaster\n", side.port(network));
        self.switches
            .ip(&NETWORKS.iter().map(out).collect::<String>())
    }

    /// Undoes [`Bed::cut_off`].
    fn plug_in(&self, side: Side) -> Result<()> {
        let back = |network: &&str| format!("link set {} master {network}\n", side.port(network));
        self.switches
            .ip(&NETWORKS.iter().map(back).collect::<String>())
    }

    /// Cuts the two nodes off from each other, on the front network: what either sends
    /// to the other, or to VRRP's multicast group, is dropped in the switch.
    pub fn part(&self) -> Result<()> {
        for side in Side::BOTH {
            self.node(side).front.replace(&parting(side.other()))?;
        }
        Ok(())
    }

    /// Undoes [`Bed::part`].
    pub fn join(&self) -> Result<()> {
        for side in Side::BOTH {
            self.node(side).front.replace(&PASS)?;
        }
        Ok(())
    }
}

/// A host on a network of its own, 198.51.`network`.0/24, behind the router.
fn host_behind(router: &Namespace, name: &str, network: u8, own: &[Ipv4Addr]) -> Result<Namespace> {
    let host = Namespace::new(name)?;
    let far = End::new(router, name);
    cable(End::new(&host, "eth0"), far)?;
    let gateway = Ipv4Addr::new(198, 51, network, 1);
    address(far, gateway, 24)?;
    for own in own {
        host.ip(&format!("addr add {own}/24 dev eth0"))?;
    }
    host.ip(&format!("route add default via {gateway}"))?;
    Ok(host)
}

fn node(switches: &Namespace, side: Side) -> Result<Node> {
    interrupt::check()?;
    let host = Namespace::new(side.name())?;
    let mut pass = Vec::new();
    for (network, own) in NETWORKS.into_iter().zip([side.front(), side.back()]) {
        let port = side.port(network);
        plug(switches, &host, network, &port, Some(own))?;
        // An XDP program on the node sends by this cable.
        pass.push(Attached::new(End::new(switches, &port), &PASS)?);
    }
    // Frames that nobody else knows the way of are the kernel's to send on (`nat`).
    host.sysctl("net.ipv4.ip_forward", "1")?;
    // A proxy listens at the VIP before it has it.
    host.sysctl("net.ipv4.ip_nonlocal_bind", "1")?;
    let (Some(back), Some(front)) = (pass.pop(), pass.pop()) else {
        unreachable!("there are two networks");
    };
    Ok(Node {
        host,
        front,
        _back: back,
    })
}

fn web(switches: &Namespace, number: u8) -> Result<Namespace> {
    interrupt::check()?;
    let name = format!("web{number}");
    let host = Namespace::new(&name)?;
    for (network, way) in NETWORKS.into_iter().zip([Way::Dsr, Way::Nat]) {
        let port = format!("{name}-{network}");
        let own = web_address(way, number);
        plug(switches, &host, network, &port, Some(own))?;
    }
    host.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    host.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
    host.ip(&format!(
        "addr add {VIP}/32 dev lo\nroute add {BYPASSER}/32 via {ROUTER}"
    ))?;
    Ok(host)
}

/// Plugs a host's interface, named as the network, into the switch's port.
fn plug(
    switches: &Namespace,
    host: &Namespace,
    network: &str,
    port: &str,
    own: Option<Ipv4Addr>,
) -> Result<()> {
    let device = End::new(host, network);
    cable(device, End::new(switches, port))?;
    switches.ip(&format!("link set {port} master {network}"))?;
    own.map_or(Ok(()), |own| address(device, own, 24))
}

/// A program that drops IPv4 packets to `peer` and to VRRP's group 224.0.0.18, and passes
/// all else.
fn parting(peer: Side) -> [u64; 14] {
    let word = |address: Ipv4Addr| i32::from_ne_bytes(address.octets());
    [
        // r2 = data, r3 = data_end
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x61, 3, 1, 4, 0),
        // Shorter than Ethernet and IPv4 headers: pass.
        instruction(0xbf, 4, 2, 0, 0),
        instruction(0x07, 4, 0, 0, 34),
        instruction(0x2d, 4, 3, 7, 0),
        // Not IPv4: pass.
        instruction(0x69, 5, 2, 12, 0),
        instruction(0x55, 5, 0, 5, 0x0800_u16.to_be().into()),
        // The destination.
        instruction(0x61, 5, 2, 30, 0),
        instruction(0x16, 5, 0, 1, word(peer.front())),
        instruction(0x56, 5, 0, 2, word(Ipv4Addr::new(224, 0, 0, 18))),
        instruction(0xb7, 0, 0, 0, 1),
        instruction(0x95, 0, 0, 0, 0),
        instruction(0xb7, 0, 0, 0, 2),
        instruction(0x95, 0, 0, 0, 0),
    ]
}
