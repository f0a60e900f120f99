//! Writes a packet: test runs don't restore what the run before has edited, and all
//! have the same packet.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};
use lb_ebpf::packet::{Context, Packet};

use crate::traffic::{Clients, Dice, Traffic};

#[map]
static TRAFFIC: Array<Traffic> = Array::with_max_entries(1, 0);
#[map]
static DICE: PerCpuArray<Dice> = PerCpuArray::with_max_entries(1, 0);

/// Writes the head of the next packet. False when the frame is too short. Not inlined: the
/// pipeline behind it leaves no room on the stack.
#[inline(never)]
pub fn write(context: Context) -> bool {
    written(context).is_some()
}

#[inline(always)]
fn written(context: Context) -> Option<()> {
    let traffic = TRAFFIC.get(0)?;
    let (address, port) = socket(client(traffic)?);
    let packet = &head_back(&Packet::of(context), traffic)?;
    let ports = if traffic.to_client == 0 {
        u32::from(port)
    } else {
        u32::from(port) << 16
    };
    if traffic.is_six == 0 {
        four(packet, traffic, address, ports)
    } else {
        six(packet, traffic, address, ports)
    }
}

/// The frame without what the run before has put at its head. Where no pipeline runs
/// behind this, its head goes to and fro: once a run in either case.
#[inline(always)]
fn head_back(packet: &Packet, traffic: &Traffic) -> Option<Packet> {
    if traffic.overhead == 0 {
        return Some(*packet);
    }
    let overhead = traffic.overhead.cast_signed();
    let is_grown = packet.length() > traffic.length as usize;
    packet.with_head(if is_grown { -overhead } else { overhead })
}

#[inline(always)]
fn four(packet: &Packet, traffic: &Traffic, address: u32, ports: u32) -> Option<()> {
    let frame = packet.window::<48>()?;
    let addresses = if traffic.to_client == 0 {
        u64::from(address)
    } else {
        u64::from(address) << 32
    };
    frame.store::<u64, 0>(traffic.macs);
    frame.store::<u64, 8>(traffic.version);
    frame.store::<u64, 16>(traffic.lifetime);
    frame.store::<u16, 24>(traffic.checksum);
    frame.store::<u64, 26>(traffic.addresses[0] | addresses);
    frame.store::<u32, 34>(traffic.ports | ports);
    frame.store::<u16, 46>(traffic.flags);
    Some(())
}

#[inline(always)]
fn six(packet: &Packet, traffic: &Traffic, address: u32, ports: u32) -> Option<()> {
    let frame = packet.window::<68>()?;
    let address = u64::from(address) << 32;
    let (source, destination) = if traffic.to_client == 0 {
        (address, 0)
    } else {
        (0, address)
    };
    frame.store::<u64, 0>(traffic.macs);
    frame.store::<u64, 8>(traffic.version);
    frame.store::<u32, 16>(traffic.lifetime as u32);
    frame.store::<u16, 20>((traffic.lifetime >> 32) as u16);
    frame.store::<u64, 22>(traffic.addresses[0]);
    frame.store::<u64, 30>(traffic.addresses[1] | source);
    frame.store::<u64, 38>(traffic.addresses[2]);
    frame.store::<u64, 46>(traffic.addresses[3] | destination);
    frame.store::<u32, 54>(traffic.ports | ports);
    frame.store::<u16, 66>(traffic.flags);
    Some(())
}

/// The number of the packet's client.
#[inline(always)]
fn client(traffic: &Traffic) -> Option<u32> {
    if traffic.clients == Clients::ONE {
        return Some(0);
    }
    let dice = DICE.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, and test runs on one CPU take turns.
    let dice = unsafe { &mut *dice };
    match traffic.clients {
        Clients::RANDOM => {
            // Marsaglia's xorshift64.
            dice.random ^= dice.random << 13;
            dice.random ^= dice.random >> 7;
            dice.random ^= dice.random << 17;
            Some((((dice.random >> 32) * u64::from(traffic.flows)) >> 32) as u32)
        }
        Clients::NEXT => {
            dice.next += 1;
            Some((dice.next - 1) as u32)
        }
        _ => None,
    }
}

/// The bits by which client `number` differs from the first, in address and port as they
/// lie in the packet: 16 ports of one address, then those of the next. No two numbers are
/// the same client.
#[inline(always)]
const fn socket(number: u32) -> (u32, u16) {
    let address = number >> 4 & 0xf_ffff;
    let port = number & 0xf | number >> 24 << 4;
    (address.to_be(), (port as u16).to_be())
}
