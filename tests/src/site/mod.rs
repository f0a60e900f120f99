//! A site that is built from a description: how packets reach its servers, and by
//! which version of IP clients and servers are spoken to.
//!
//! ```text
//!   client                    router          front (a switch)
//!   198.51.100.10 ─────────── .1   .1 ──────────────┬─────────────┬─────────────┐
//!   2001:db8:0:c::10                                lb .2         web1 .11      web2 .12
//!                                                   10.0.0.0/24, 2001:db8::/64
//! ```
//!
//! In mode `nat` the servers are behind the load balancer instead, which is their
//! way out:
//!
//! ```text
//!   client                    router         front             back (a switch)
//!   198.51.100.10 ─────────── .1   .1 ───────── .2 lb .1 ──────────┬─────────────┐
//!   2001:db8:0:c::10             10.0.0.0/24                      web1 .11      web2 .12
//!                                2001:db8::/64                     10.0.1.0/24, 2001:db8:0:1::/64
//! ```
//!
//! On a trunk the load balancer has one cable for both networks, or for the one, and
//! they are VLANs 100 (front) and 200 (back): `front.100` and `front.200` there,
//! `front.100` on the router, `eth0.100` or `eth0.200` on servers.
//!
//! Tunnels may lead through another router, to servers on a network of their own; their
//! answers take the same way, past the load balancer:
//!
//! ```text
//!   client                    router          front              back (a switch)
//!   198.51.100.10 ─────────── .1   .1 ──────────┬──────────┐ ┌─────┬─────────────┐
//!                                               lb .2   .3 far .1  web1 .11      web2 .12
//! ```
//!
//! A host has addresses of a family only if clients or servers are spoken to by it:
//! a site of IPv6 alone knows no IPv4. The VIP is on nobody's interface, but on `lo`
//! of the servers in the modes `dsr` and `tunnel`. The load balancer's kernel forwards
//! nothing: what arrives came through XDP.
//!
//! Each server runs nginx, dnsmasq and an echo of datagrams, and the first one iperf3.

mod addresses;
mod configuration;
mod description;
mod server;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

pub use self::{
    addresses::{Family, Network},
    description::{Description, JUMBO, Way, Wiring},
    server::Server,
};
use crate::{
    bpffs::PinDir,
    bulk::{self, Direction},
    flowgate::{self, Flowgate},
    interrupt,
    link::{End, cable, switch},
    marks,
    netns::Namespace,
    xdp::{Attached, PASS},
};

/// A site with the product at work.
#[derive(Debug)]
pub struct Site {
    /// What it is.
    pub description: Description,
    /// The product; its daemon runs.
    pub flowgate: Flowgate,
    /// The servers.
    pub servers: Vec<Server>,
    /// The client; its interface is `eth0`.
    pub client: Namespace,
    /// The router; its interfaces are `clients` and `front`.
    pub router: Namespace,
    /// The router before the servers, if there is one; its interfaces are `front` and
    /// `back`.
    pub far: Option<Namespace>,
    /// The load balancer; its interfaces are [`Description::interfaces`].
    pub lb: Namespace,
    _pins: PinDir,
    _passes: Vec<Attached>,
    _switches: Namespace,
    scratch: TempDir,
}

impl Site {
    /// Builds it with two servers, starts the product in it, and runs a test there.
    /// An error comes back with what helps to find out why.
    pub fn test(
        description: Description,
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut site = Self::build(description)?;
        test(&mut site).map_err(|error| {
            let details = site.flowgate.describe();
            anyhow!("{description}: {error:#}\n{details}")
        })
    }

    fn build(description: Description) -> Result<Self> {
        interrupt::install();
        marks::remove_of_the_dead();
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let switches = Namespace::new("switches")?;
        let net = Net {
            description,
            switches: &switches,
        };
        let (client, router) = (net.host("client")?, net.host("router")?);
        net.connect_client(&client, &router)?;
        net.connect_router(&router)?;
        let lb = net.host("lb")?;
        let passes = net.connect_lb(&lb)?;
        let far = match description.wiring {
            Wiring::Routed => Some(net.connect_far(&lb)?),
            _ => None,
        };
        let servers = (1..=2)
            .map(|number| {
                interrupt::check()?;
                Server::start(&net, number, scratch.path())
            })
            .collect::<Result<Vec<_>>>()?;
        let pins = PinDir::new()?;
        let configuration = configuration::text(description, &servers);
        let flowgate = Flowgate::installed(
            &flowgate::binary()?,
            scratch.path(),
            pins.path(),
            &configuration,
        )?;
        let mut site = Self {
            description,
            flowgate,
            servers,
            client,
            router,
            far,
            lb,
            _pins: pins,
            _passes: passes,
            _switches: switches,
            scratch,
        };
        site.flowgate.start(&site.lb)?;
        Ok(site)
    }

    /// The VIP.
    pub fn vip(&self) -> IpAddr {
        self.description.vip.vip()
    }

    /// A port of the VIP.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip(), port)
    }

    /// Transfers so many bytes between the client and a server.
    pub fn transfer(&self, direction: Direction, bytes: u64) -> Result<()> {
        bulk::transfer(&self.client, self.vip(), direction, bytes, self.scratch())
    }

    /// A directory for logs and the like, removed with the site.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

/// What the hosts of a site are connected by.
struct Net<'a> {
    description: Description,
    switches: &'a Namespace,
}

impl Net<'_> {
    fn host(&self, name: &str) -> Result<Namespace> {
        let host = Namespace::new(name)?;
        if self.description.families().contains(&Family::V6) {
            host.enable_ipv6()?;
        }
        Ok(host)
    }

    fn connect_client(&self, client: &Namespace, router: &Namespace) -> Result<()> {
        let own = End::new(client, "eth0");
        let far = End::new(router, "clients");
        self.cable(own, far)?;
        self.address(own, Network::Clients, 10)?;
        self.address(far, Network::Clients, 1)?;
        self.default_route(client, Network::Clients)
    }

    fn connect_router(&self, router: &Namespace) -> Result<()> {
        switch(self.switches, Network::Front.name())?;
        let front = End::new(router, "front");
        self.plug(front, Network::Front, "router")?;
        self.address(front, Network::Front, 1)?;
        let vip = self.description.vip;
        let device = self.description.device("front", Network::Front);
        router.ip(&format!(
            "route add {}/{} dev {device}",
            vip.vip(),
            vip.bits()
        ))?;
        for family in self.description.families() {
            router.sysctl(family.forwarding(), "1")?;
        }
        Ok(())
    }

    fn connect_lb(&self, lb: &Namespace) -> Result<Vec<Attached>> {
        let mut passes = Vec::new();
        for &network in self.description.cables() {
            let name = network.name();
            if network == Network::Back {
                switch(self.switches, name)?;
            }
            let port = format!("lb-{name}");
            let device = End::new(lb, name);
            self.plug(device, network, &port)?;
            mac(device, network, 2)?;
            passes.push(Attached::new(End::new(self.switches, &port), &PASS)?);
        }
        for &network in self.description.networks() {
            let trunk = self.description.is_trunk();
            let plug = if trunk { Network::Front } else { network };
            let number = if network == Network::Back { 1 } else { 2 };
            self.address(End::new(lb, plug.name()), network, number)?;
        }
        self.default_route(lb, Network::Front)?;
        Ok(passes)
    }

    /// A router between the front network and the servers' one.
    fn connect_far(&self, lb: &Namespace) -> Result<Namespace> {
        switch(self.switches, Network::Back.name())?;
        let far = self.host("far")?;
        for (network, number) in [(Network::Front, 3), (Network::Back, 1)] {
            let name = network.name();
            let device = End::new(&far, name);
            self.plug(device, network, &format!("far-{name}"))?;
            self.address(device, network, number)?;
        }
        self.default_route(&far, Network::Front)?;
        for family in self.description.families() {
            far.sysctl(family.forwarding(), "1")?;
            // What routers say of a tunnel's packets, they say to where those came from.
            let (sources, source) = (family.tunnels(), family.host(Network::Front, 2));
            far.ip(&format!("route add {sources} via {source}"))?;
            let (there, bits) = (family.host(Network::Back, 0), family.subnet());
            let by = family.host(Network::Front, 3);
            lb.ip(&format!("route add {there}/{bits} via {by}"))?;
        }
        Ok(far)
    }

    /// Gives a host its addresses in a network, on a trunk after the VLAN device.
    fn address(&self, end: End<'_>, network: Network, number: u8) -> Result<()> {
        let on = self.description.device(end.device, network);
        if on != end.device {
            let id = network.vlan().unwrap_or_default();
            end.host.ip(&format!(
                "link add link {} name {on} type vlan id {id}\nlink set {on} up",
                end.device
            ))?;
        }
        for family in self.description.families() {
            let address = family.host(network, number);
            let prefix = family.subnet();
            end.host
                .ip(&format!("addr add {address}/{prefix} dev {on}"))?;
        }
        Ok(())
    }

    /// The first host of a network is the way out of it.
    fn default_route(&self, host: &Namespace, network: Network) -> Result<()> {
        self.description
            .families()
            .into_iter()
            .try_for_each(|family| {
                let gateway = family.host(network, 1);
                host.ip(&format!("route add default via {gateway}"))
            })
    }

    fn cable(&self, a: End<'_>, b: End<'_>) -> Result<()> {
        cable(a, b)?;
        if self.description.wiring == Wiring::Jumbo {
            for end in [a, b] {
                let set = format!("link set {} mtu {JUMBO}", end.device);
                end.host.ip(&set)?;
            }
        }
        Ok(())
    }

    fn plug(&self, device: End<'_>, network: Network, port: &str) -> Result<()> {
        self.cable(device, End::new(self.switches, port))?;
        let switch = if self.description.is_trunk() {
            Network::Front.name()
        } else {
            network.name()
        };
        self.switches
            .ip(&format!("link set {port} master {switch}"))
    }
}

/// Gives an interface a MAC address that tells whose it is.
fn mac(end: End<'_>, network: Network, number: u8) -> Result<()> {
    let network = network.number();
    end.host.ip(&format!(
        "link set {} address 02:00:00:00:{network:02x}:{number:02x}",
        end.device
    ))
}
