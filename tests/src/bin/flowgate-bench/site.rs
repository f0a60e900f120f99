//! What the programs balance: two `dsr` services and a `nat` one.

use anyhow::Result;
use flowgate::datapath::{Object, Tables};
use lb_common::{
    abi::{
        Address, Backend, BackendState, Endpoint, Family, Forward, Hop, Identity, Keeping,
        NO_DEADLINE, Route, WHEEL_CHUNK, Wheel, ipv4,
    },
    hash::FlowKeys,
    tags::Tags,
    wheel::{Index, Slot},
};

use crate::frame::{NODE_MAC, ROUTER_MAC, Socket};

const VIP: [u8; 4] = [203, 0, 113, 10];
/// A TCP service with direct server return.
pub const DSR: Socket = (VIP, 80);
/// A UDP service with direct server return.
pub const DSR_UDP: Socket = (VIP, 53);
/// A TCP service with address translation.
pub const NAT: Socket = (VIP, 8080);
/// Its server.
pub const SERVER: Socket = ([192, 0, 2, 1], 80);
/// Not a VIP.
pub const ELSEWHERE: Socket = ([198, 51, 100, 1], 80);

/// The longest IP packet that every way takes.
const MTU: u16 = 1_500;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Servers of each `dsr` service.
const SERVERS: u16 = 4;

/// Puts the services into the maps.
pub fn set_up(object: &mut Object, identity: &Identity) -> Result<()> {
    let mut tables = Tables::open(object)?;
    tables.identity.store(0, identity);
    let keys = FlowKeys(identity.flow_keys);
    service(&mut tables, 0, DSR, TCP, Forward::Dsr, 1..=SERVERS)?;
    let udp = SERVERS + 1..=2 * SERVERS;
    service(&mut tables, 1, DSR_UDP, UDP, Forward::Dsr, udp)?;
    let nat = 2 * SERVERS + 1;
    service(&mut tables, 2, NAT, TCP, Forward::Nat, nat..=nat)?;
    tables.put_endpoint(&Endpoint::vip(Family::V4, ipv4(VIP), NO_DEADLINE, None))?;
    tables.put_endpoint(&Endpoint::server(
        Family::V4,
        ipv4(SERVER.0),
        SERVER.1.to_be(),
        TCP,
        nat,
        keys.seed(Family::V4, ipv4(VIP), NAT.1.to_be(), TCP),
    ))?;
    tables.put_routes(&[Route {
        prefix: 0,
        mask: 0,
        kind: Route::VIA,
        reserved: 0,
        hop: Hop {
            egress: 0,
            mtu: MTU,
            tags: Tags::NONE,
            destination: ROUTER_MAC,
            source: NODE_MAC,
            reserved: [0; 4],
        },
    }]);
    Ok(())
}

fn service(
    tables: &mut Tables,
    number: u32,
    socket: Socket,
    protocol: u8,
    forward: Forward,
    backends: std::ops::RangeInclusive<u16>,
) -> Result<()> {
    for backend in backends.clone() {
        let record = Backend {
            address: address(backend, forward),
            vip: ipv4(socket.0),
            port: SERVER.1.to_be(),
            vip_port: socket.1.to_be(),
            service: number as u16,
            mtu: MTU,
            destination: [0x02, 0, 0, 0, 1, backend as u8],
            source: NODE_MAC,
            state: BackendState::Active as u8,
            forward: forward as u8,
            protocol,
            ..Backend::FREE
        };
        tables.backends.store(u32::from(backend), &record);
    }
    let entries: Vec<Slot> = backends.map(Slot::stable).collect();
    let wheel = Wheel {
        // One chunk a service is enough here.
        chunk: number,
        length: entries.len() as u32,
    };
    const { assert!((SERVERS as u32) <= WHEEL_CHUNK) };
    tables.put_wheel(wheel.chunk, &entries);
    tables.reset_cursor(number, wheel.length)?;
    let keys = FlowKeys(tables.identity.load(0).flow_keys);
    tables.put_endpoint(&Endpoint::service(
        &keys,
        Family::V4,
        ipv4(socket.0),
        socket.1.to_be(),
        protocol,
        Keeping::Flows,
        Index::Counter,
        number,
        wheel,
    ))?;
    Ok(())
}

fn address(backend: u16, forward: Forward) -> Address {
    match forward {
        Forward::Nat => ipv4(SERVER.0),
        _ => ipv4([192, 0, 2, 100 + backend as u8]),
    }
}
