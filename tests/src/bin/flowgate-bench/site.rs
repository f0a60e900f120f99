//! What the programs balance: one service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use flowgate::{datapath::Tables, plan::words};
use lb_common::{
    abi::{
        Backend, BackendState, Endpoint, Forward, Hop, Identity, Keeping, NO_GROUP, Pool, Route,
        Route6, Tunnel, Wheel,
    },
    hash::FlowKeys,
    limits::MAX_POOL,
    tags::Tags,
    wheel::{Index, Slot},
};

use crate::frame::{NODE_MAC, ROUTER_MAC};

/// The longest IP packet that every way takes.
const MTU: u16 = 1_500;
/// Where servers listen whose packets don't keep their port.
const SERVER_PORT: u16 = 8_080;
const VIP_PORT: u16 = 80;
/// GUE's.
const GUE_PORT: u16 = 6_080;
/// Places of a steady wheel for few servers, and for hundreds.
const SMALL_WHEEL: u32 = 1_021;
const LARGE_WHEEL: u32 = 65_344;
/// The first port of the `full-nat` pool's addresses, and their ports by eight: to the last.
const POOL_FIRST: u16 = 1_024;
const POOL_BUCKETS: u16 = 8_064;

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its IP version.
    pub is_six: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Its mode.
    pub forward: Forward,
    /// How its scheduler indexes the wheel.
    pub index: Index,
    /// How many servers it has: at most 1,000.
    pub servers: u16,
}

impl Service {
    fn pick(&self, four: Ipv4Addr, six: Ipv6Addr) -> IpAddr {
        if self.is_six { six.into() } else { four.into() }
    }

    /// Its VIP and port.
    pub fn vip(&self) -> SocketAddr {
        let six = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
        let address = self.pick(Ipv4Addr::new(203, 0, 113, 10), six);
        (address, VIP_PORT).into()
    }

    /// The first of its clients. Others differ in the last four bytes of the address and
    /// in the port, which are 0 here where they do.
    pub fn client(&self) -> SocketAddr {
        let six = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0);
        let address = self.pick(Ipv4Addr::new(10, 0, 0, 0), six);
        (address, 0x8000).into()
    }

    /// Its first server.
    pub fn server(&self) -> SocketAddr {
        (self.address(1, self.is_six), self.server_port()).into()
    }

    /// Nobody of ours.
    pub fn elsewhere(&self) -> SocketAddr {
        let six = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 1);
        let address = self.pick(Ipv4Addr::new(198, 51, 100, 1), six);
        (address, VIP_PORT).into()
    }

    fn server_port(&self) -> u16 {
        match self.forward {
            Forward::Nat | Forward::FullNat => SERVER_PORT,
            Forward::Dsr | Forward::Ip4 | Forward::Ip6 | Forward::Gue4 | Forward::Gue6 => VIP_PORT,
        }
    }

    fn address(&self, backend: u16, is_six: bool) -> IpAddr {
        let [high, low] = backend.to_be_bytes();
        if is_six {
            Ipv6Addr::new(0xfd0a, 0, 0, 0, 0, 0, 0, backend).into()
        } else {
            Ipv4Addr::new(192, 168, high, low).into()
        }
    }

    fn keeping(&self) -> Keeping {
        match self.forward {
            Forward::FullNat => Keeping::Ports,
            Forward::Nat => Keeping::Flows,
            _ if self.index.is_steady() => Keeping::Changes,
            _ => Keeping::Flows,
        }
    }

    /// Its wheel. What matters of a steady one here is how long it is, and that no two
    /// places of a server are neighbours.
    fn wheel(&self) -> Vec<Slot> {
        let length = match (self.index.is_steady(), self.servers) {
            (false, servers) => u32::from(servers),
            (true, ..=10) => SMALL_WHEEL,
            (true, _) => LARGE_WHEEL,
        };
        (0..length)
            .map(|place| Slot::stable(1 + (place % u32::from(self.servers)) as u16))
            .collect()
    }

    fn record(&self, backend: u16) -> Backend {
        let is_outer_six = match self.forward {
            Forward::Ip4 | Forward::Gue4 => false,
            Forward::Ip6 | Forward::Gue6 => true,
            Forward::Dsr | Forward::Nat | Forward::FullNat => self.is_six,
        };
        let [high, low] = backend.to_be_bytes();
        Backend {
            address: words(self.address(backend, is_outer_six)).1,
            vip: words(self.vip().ip()).1,
            port: self.server_port().to_be(),
            vip_port: VIP_PORT.to_be(),
            mtu: MTU,
            destination: [0x02, 0, 0, 1, high, low],
            source: NODE_MAC,
            state: BackendState::Active as u8,
            forward: self.forward as u8,
            protocol: self.protocol,
            ..Backend::FREE
        }
        .hinted()
    }

    fn tunnel(&self) -> Option<Tunnel> {
        let (is_six, port) = match self.forward {
            Forward::Dsr | Forward::Nat | Forward::FullNat => return None,
            Forward::Ip4 => (false, 0),
            Forward::Ip6 => (true, 0),
            Forward::Gue4 => (false, GUE_PORT),
            Forward::Gue6 => (true, GUE_PORT),
        };
        let (source, varying): (IpAddr, IpAddr) = if is_six {
            (
                Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0).into(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xffff, 0xff00).into(),
            )
        } else {
            (
                Ipv4Addr::new(172, 16, 0, 0).into(),
                Ipv4Addr::new(0, 0, 255, 255).into(),
            )
        };
        Some(Tunnel {
            source: words(source).1,
            varying: words(varying).1,
            port: port.to_be(),
            ..Tunnel::NONE
        })
    }
}

/// The `full-nat` pool for `flows` flows of either IP version, as far as a pool reaches:
/// twice as many ports.
pub fn pool(flows: u32) -> Pool {
    let addresses = (flows * 2).div_ceil(u32::from(POOL_BUCKETS) * 8);
    let addresses = addresses.min(MAX_POOL / 2) as u16;
    Pool {
        first_port: POOL_FIRST,
        buckets: POOL_BUCKETS,
        v4: addresses,
        v6: addresses,
    }
}

/// Puts the service into the maps, in the place of the one that was there before.
pub fn set_up(tables: &mut Tables, identity: &Identity, service: &Service) -> Result<()> {
    const NUMBER: u32 = 0;
    tables.identity.store(0, identity);
    for backend in 1..=service.servers {
        let record = service.record(backend);
        tables.backends.store(u32::from(backend), &record);
        if let Some(tunnel) = service.tunnel() {
            tables.tunnels.store(u32::from(backend), &tunnel);
        }
    }
    let entries = service.wheel();
    let wheel = Wheel {
        chunk: 0,
        length: entries.len() as u32,
    };
    tables.put_wheel(wheel.chunk, &entries);
    tables.reset_cursor(NUMBER, wheel.length);
    let (family, vip) = words(service.vip().ip());
    let (port, protocol) = (VIP_PORT.to_be(), service.protocol);
    let keys = FlowKeys(identity.flow_keys);
    tables.put_endpoint(&Endpoint::service(
        &keys,
        family,
        vip,
        port,
        protocol,
        service.keeping(),
        service.index,
        NUMBER,
        wheel,
    ))?;
    tables.put_endpoint(&Endpoint::vip(family, vip, NO_GROUP, None))?;
    if service.forward == Forward::Nat {
        let (_, address) = words(service.server().ip());
        let seed = keys.seed(family, vip, port, protocol);
        let at = SERVER_PORT.to_be();
        tables.put_endpoint(&Endpoint::server(family, address, at, protocol, 1, seed))?;
    }
    put_pool(tables, identity.pool)?;
    put_routes(tables);
    Ok(())
}

fn put_pool(tables: &mut Tables, pool: Pool) -> Result<()> {
    let four = (1..=pool.v4).map(|place| IpAddr::from([192, 0, 2, place as u8]));
    let six = (1..=pool.v6).map(|place| Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, place).into());
    let addresses: Vec<IpAddr> = four.chain(six).collect();
    tables.put_pool(&addresses);
    for (place, address) in addresses.into_iter().enumerate() {
        let (family, address) = words(address);
        let place = Some(place as u8);
        tables.put_endpoint(&Endpoint::vip(family, address, NO_GROUP, place))?;
    }
    Ok(())
}

/// All clients are behind the router.
fn put_routes(tables: &Tables) {
    let hop = Hop {
        egress: 0,
        mtu: MTU,
        tags: Tags::NONE,
        destination: ROUTER_MAC,
        source: NODE_MAC,
        reserved: [0; 4],
    };
    tables.put_routes(&[Route {
        prefix: 0,
        mask: 0,
        kind: Route::VIA,
        reserved: 0,
        hop,
    }]);
    tables.put_routes6(&[Route6 {
        prefix: [0; 4],
        mask: [0; 4],
        kind: Route::VIA,
        reserved: 0,
        hop,
    }]);
}
