//! The networks in which the product is tried.
//!
//! `dsr`: the load balancer has one interface, and answers leave the web
//! servers straight for the router.
//!
//! ```text
//!   client                router                  front (a switch)
//!   198.51.100.10 ─────── 198.51.100.1
//!                         10.0.0.1 ───────────────┬─────────────┬─────────────┐
//!                                                lb            web1          web2
//!                                                10.0.0.2      10.0.0.11     10.0.0.12
//!                                                VIP (XDP)     VIP on lo     VIP on lo
//! ```
//!
//! `nat`: it stands between two networks, and is the web servers' way out.
//!
//! ```text
//!   client                router         front            back (a switch)
//!   198.51.100.10 ─────── 198.51.100.1
//!                         10.0.0.1 ───────────── lb ──────────┬─────────────┐
//!                                          10.0.0.2          web1          web2
//!                                          10.0.1.1          10.0.1.11     10.0.1.12
//!                                          VIP (XDP)         default via 10.0.1.1
//! ```
//!
//! In both, the router's route says that the VIP is a neighbour on the front
//! network, so it asks for the VIP's MAC by ARP. The load balancer's kernel
//! forwards nothing (`ip_forward` is off): what arrives came through XDP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    bpffs::PinDir,
    interrupt,
    link::{End, address, cable, switch},
    marks,
    netns::Namespace,
    nginx::{Logged, Nginx},
    xdp::{Attached, PASS, receive_in_turn},
};

/// The virtual IP.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The router's address on the front network.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The load balancer's own address on the front network.
pub const LB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The load balancer's own address on the back network (`nat` only).
pub const LB_BACK: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The ports of the VIP that are balanced.
pub const PORTS: [u16; 2] = [80, 81];

/// How packets reach the web servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Direct server return.
    Dsr,
    /// Network address translation.
    Nat,
}

impl Mode {
    /// Its name in the product's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
        }
    }

    /// The load balancer's interfaces.
    pub fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Dsr => &["front"],
            Self::Nat => &["front", "back"],
        }
    }

    /// The port on which the web servers serve a port of the VIP.
    pub fn web_port(self, port: u16) -> u16 {
        match self {
            Self::Dsr => port,
            Self::Nat => 8000 + port,
        }
    }

    /// The network that the web servers are on, and their way out of it.
    pub fn web_network(self) -> (&'static str, Ipv4Addr) {
        match self {
            Self::Dsr => ("front", ROUTER),
            Self::Nat => ("back", LB_BACK),
        }
    }

    fn web_address(self, number: u8) -> Ipv4Addr {
        match self {
            Self::Dsr => Ipv4Addr::new(10, 0, 0, 10 + number),
            Self::Nat => Ipv4Addr::new(10, 0, 1, 10 + number),
        }
    }
}

/// A web server.
#[derive(Debug)]
pub struct Web {
    /// nginx.
    pub nginx: Nginx,
    /// The host.
    pub host: Namespace,
    /// Its own address.
    pub address: Ipv4Addr,
    _in_turn: Attached,
}

impl Web {
    /// Its name.
    pub fn name(&self) -> &str {
        self.nginx.name()
    }

    /// What nginx has logged of all that it has answered: it does one thing after another, so
    /// what it answers now it answers after that was logged.
    pub fn logged(&self) -> Result<Logged> {
        self.nginx.answers(&self.host)?;
        self.nginx.logged()
    }

    /// Starts nginx again.
    pub fn restart(&mut self) -> Result<()> {
        self.nginx.restart(&self.host)
    }
}

/// A client, a router, a load balancer without a program, and web servers.
#[derive(Debug)]
pub struct Lab {
    /// How packets are to reach the web servers.
    pub mode: Mode,
    /// The web servers.
    pub webs: Vec<Web>,
    /// The client.
    pub client: Namespace,
    /// The router between the client and the front network.
    pub router: Namespace,
    /// The load balancer; its interfaces are [`Mode::interfaces`].
    pub lb: Namespace,
    /// A place for the product's pins.
    pub pins: PinDir,
    _passes: Vec<Attached>,
    _switches: Namespace,
    scratch: TempDir,
}

impl Lab {
    /// Builds it with two web servers, and tells `progress` what it is doing.
    pub fn build(mode: Mode, progress: &dyn Fn(&str)) -> Result<Self> {
        interrupt::install();
        marks::remove_of_the_dead();
        progress("network namespaces for a client, a router, a load balancer and two web servers");
        let lb = Namespace::new("lb")?;
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let mut lab = Self {
            mode,
            webs: Vec::new(),
            client: Namespace::new("client")?,
            router: Namespace::new("router")?,
            lb,
            pins: PinDir::new()?,
            _passes: Vec::new(),
            _switches: Namespace::new("switches")?,
            scratch,
        };
        progress("cables, switches, addresses and routes between them");
        lab.connect_client()?;
        lab.connect_lb()?;
        for number in 1..=2 {
            interrupt::check()?;
            let web = lab.add_web(number)?;
            progress(&format!("nginx on {}, {}", web.name(), web.address));
            lab.webs.push(web);
        }
        Ok(lab)
    }

    /// A directory for logs and the like, removed with the lab.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where clients connect to, at first.
    pub fn vip(&self) -> SocketAddr {
        SocketAddr::from((VIP, PORTS[0]))
    }

    /// The web server of that name.
    pub fn web(&mut self, name: &str) -> &mut Web {
        self.webs
            .iter_mut()
            .find(|web| web.name() == name)
            .unwrap_or_else(|| panic!("the lab has no {name}"))
    }

    fn connect_client(&self) -> Result<()> {
        let client = end(&self.client, "eth0");
        let router = end(&self.router, "clients");
        cable(client, router)?;
        address(client, CLIENT, 24)?;
        address(router, Ipv4Addr::new(198, 51, 100, 1), 24)?;
        self.client.ip("route add default via 198.51.100.1")?;
        self.router.sysctl("net.ipv4.ip_forward", "1")
    }

    fn connect_lb(&mut self) -> Result<()> {
        let router = end(&self.router, "front");
        switch(&self._switches, "front")?;
        self.plug(router, "front", "router")?;
        address(router, ROUTER, 24)?;
        self.router.ip(&format!("route add {VIP}/32 dev front"))?;

        self.connect_lb_interface("front", LB)?;
        self.lb.ip(&format!("route add default via {ROUTER}"))?;
        if self.mode == Mode::Nat {
            switch(&self._switches, "back")?;
            self.connect_lb_interface("back", LB_BACK)?;
        }
        Ok(())
    }

    /// Plugs the load balancer's `network` interface into the switch of that name.
    fn connect_lb_interface(&mut self, network: &'static str, own: Ipv4Addr) -> Result<()> {
        let device = end(&self.lb, network);
        let port = format!("lb-{network}");
        self.plug(device, network, &port)?;
        address(device, own, 24)?;
        let pass = Attached::new(end(&self._switches, &port), &PASS)?;
        self._passes.push(pass);
        Ok(())
    }

    fn add_web(&self, number: u8) -> Result<Web> {
        let name = format!("web{number}");
        let own = self.mode.web_address(number);
        let host = Namespace::new(&name)?;
        let device = end(&host, "eth0");
        let (network, gateway) = self.mode.web_network();
        self.plug(device, network, &name)?;
        address(device, own, 24)?;
        let in_turn = receive_in_turn(device)?;
        host.ip(&format!("route add default via {gateway}"))?;
        if self.mode == Mode::Dsr {
            host.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
            host.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
            host.ip(&format!("addr add {VIP}/32 dev lo"))?;
        }
        let ports = PORTS.map(|port| self.mode.web_port(port));
        let nginx = Nginx::start(&host, &name, &ports, self.scratch())?;
        Ok(Web {
            nginx,
            host,
            address: own,
            _in_turn: in_turn,
        })
    }

    fn plug(&self, device: End<'_>, network: &str, port: &str) -> Result<()> {
        cable(device, end(&self._switches, port))?;
        self._switches
            .ip(&format!("link set {port} master {network}"))
    }
}

fn end<'a>(host: &'a Namespace, device: &'a str) -> End<'a> {
    End { host, device }
}
