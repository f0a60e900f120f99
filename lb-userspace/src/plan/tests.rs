//! Plans, carried out in maps of memory.

mod any_target;
mod histories;
mod life;
mod order;
mod scale;
mod twin;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::{
    abi::{Hop, Tunnel},
    tags::Tags,
};

fn hop(n: u8) -> Hop {
    Hop {
        egress: 0,
        mtu: 1_500,
        tags: Tags::NONE.within(u16::from(n), false),
        destination: [2, 0, 0, 0, 0, n],
        source: [2, 0, 0, 0, 1, 0],
        reserved: [0; 4],
    }
}

fn tunnel(n: u8) -> Tunnel {
    Tunnel {
        source: [u32::from(n) + 1, 0, 0, 0],
        ..Tunnel::NONE
    }
}

fn vip(n: u8) -> IpAddr {
    match n % 4 {
        0 => "203.0.113.10".parse().unwrap(),
        1 => "203.0.113.11".parse().unwrap(),
        2 => "2001:db8::10".parse().unwrap(),
        // Its words look like an IPv4 address's.
        _ => "2001:db8::".parse().unwrap(),
    }
}

fn server(n: u8, is_v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = match is_v6 {
        false => Ipv4Addr::new(10, 0, 0, n).into(),
        true => format!("fd00::{n}").parse().unwrap(),
    };
    SocketAddr::new(ip, port)
}
