//! A farm: many servers that speak [`crate::parrot`]'s protocol behind one service that
//! tracks only changes (`maglev`, `dsr`, IPv4).
//!
//! ```text
//!   client                        router                  front (a switch)
//!   198.51.100.10 … .17 ───────── 198.51.100.1
//!                                 10.0.0.1 ───────────────┬──────────────┬───────── …
//!                                                         lb             server1
//!                                                         10.0.0.2       10.0.0.11
//!                                                         VIP (XDP)      VIP on lo
//! ```
//!
//! The client has several addresses, so that its ports last.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    bpffs::PinDir,
    flowgate::{self, Flowgate},
    interrupt,
    link::{End, address, cable, switch},
    marks,
    netns::Namespace,
    parrot::Parrot,
    xdp::{Attached, PASS, receive_in_turn},
};

/// Where clients connect to.
pub const VIP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 7);
/// The service's name.
pub const SERVICE: &str = "farm";
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The client's addresses.
pub fn client_addresses() -> impl Iterator<Item = Ipv4Addr> {
    (10..18).map(|number| Ipv4Addr::new(198, 51, 100, number))
}

/// A server's name in the configuration.
pub fn name(server: u8) -> String {
    format!("server{server}")
}

/// A server's own address.
pub fn own_address(server: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + server)
}

/// The hosts, with the product at work. The servers' numbers are 1, 2, …
#[derive(Debug)]
pub struct Farm {
    /// The product; its daemon runs.
    pub flowgate: Flowgate,
    // Before the hosts: what is dropped first ends first.
    _parrots: Vec<Parrot>,
    _servers: Vec<Namespace>,
    /// The client.
    pub client: Namespace,
    _router: Namespace,
    _lb: Namespace,
    _pins: PinDir,
    _pass: Attached,
    _in_turn: Vec<Attached>,
    _switches: Namespace,
    _scratch: TempDir,
}

impl Farm {
    /// Builds it with so many servers, of which the service has the first `configured`
    /// ones, and starts the product. A flow is remembered for `established` without a
    /// packet, in whole seconds.
    pub fn build(servers: u8, configured: u8, established: Duration) -> Result<Self> {
        interrupt::install();
        marks::remove_of_the_dead();
        let scratch = tempfile::Builder::new()
            .prefix(&marks::unique("files-"))
            .tempdir()?;
        let switches = Namespace::new("switches")?;
        switch(&switches, "front")?;
        let router = Namespace::new("router")?;
        let client = connected_client(&router)?;
        plug(&switches, &router, "router", ROUTER)?;
        router.ip(&format!("route add {}/32 dev front", VIP.ip()))?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        let lb = Namespace::new("lb")?;
        plug(&switches, &lb, "lb", Ipv4Addr::new(10, 0, 0, 2))?;
        lb.ip(&format!("route add default via {ROUTER}"))?;
        let pass = Attached::new(End::new(&switches, "lb"), &PASS)?;
        let hosts = (1..=servers)
            .map(|server| host(&switches, server))
            .collect::<Result<Vec<_>>>()?;
        let in_turn = hosts
            .iter()
            .map(|host| receive_in_turn(End::new(host, "front")))
            .collect::<Result<Vec<_>>>()?;
        let parrots = (1..=servers)
            .zip(&hosts)
            .map(|(server, host)| Parrot::start(host, VIP, server))
            .collect::<Result<Vec<_>>>()?;
        let pins = PinDir::new()?;
        let flowgate = Flowgate::installed(
            &flowgate::binary()?,
            scratch.path(),
            pins.path(),
            &configuration(configured, established),
        )?;
        let mut farm = Self {
            flowgate,
            _parrots: parrots,
            _servers: hosts,
            client,
            _router: router,
            _lb: lb,
            _pins: pins,
            _pass: pass,
            _in_turn: in_turn,
            _switches: switches,
            _scratch: scratch,
        };
        farm.flowgate.start(&farm._lb)?;
        Ok(farm)
    }
}

fn connected_client(router: &Namespace) -> Result<Namespace> {
    let client = Namespace::new("client")?;
    let (own, far) = (End::new(&client, "eth0"), End::new(router, "clients"));
    cable(own, far)?;
    address(far, Ipv4Addr::new(198, 51, 100, 1), 24)?;
    for own in client_addresses() {
        client.ip(&format!("addr add {own}/24 dev eth0"))?;
    }
    client.ip("route add default via 198.51.100.1")?;
    client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
    Ok(client)
}

fn host(switches: &Namespace, server: u8) -> Result<Namespace> {
    interrupt::check()?;
    let name = name(server);
    let host = Namespace::new(&name)?;
    plug(switches, &host, &name, own_address(server))?;
    host.ip(&format!("route add default via {ROUTER}"))?;
    host.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    host.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
    host.ip(&format!("addr add {}/32 dev lo", VIP.ip()))?;
    Ok(host)
}

/// Plugs a host's interface `front` into the switch's port, and gives it an address.
fn plug(switches: &Namespace, host: &Namespace, port: &str, own: Ipv4Addr) -> Result<()> {
    let device = End::new(host, "front");
    cable(device, End::new(switches, port))?;
    switches.ip(&format!("link set {port} master front"))?;
    address(device, own, 24)
}

fn configuration(servers: u8, established: Duration) -> String {
    let mut text = format!(
        "[node]\ninterfaces = [\"front\"]\n\n[timeouts]\nestablished = \"{}s\"\n\n\
         [[service]]\nname = \"{SERVICE}\"\nvip = \"{}\"\nport = {}\nprotocol = \"tcp\"\n\
         scheduler = \"maglev\"\nforward = \"dsr\"\n",
        established.as_secs(),
        VIP.ip(),
        VIP.port(),
    );
    for server in 1..=servers {
        let _ = write!(
            text,
            "\n[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\n",
            name(server),
            own_address(server)
        );
    }
    text
}
