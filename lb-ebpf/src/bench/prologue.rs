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
    written(&Packet::of(context)).is_some()
}

#[inline(always)]
fn written(packet: &Packet) -> Option<()> {
    let frame = packet.window::<48>()?;
    let traffic = TRAFFIC.get(0)?;
    let (address, port) = socket(client(traffic)?);
    let (addresses, ports) = if traffic.to_client == 0 {
        (u64::from(address), u32::from(port))
    } else {
        (u64::from(address) << 32, u32::from(port) << 16)
    };
    frame.store::<u64, 0>(traffic.macs);
    frame.store::<u64, 8>(traffic.version);
    frame.store::<u64, 16>(traffic.lifetime);
    frame.store::<u16, 24>(traffic.checksum);
    frame.store::<u64, 26>(traffic.addresses | addresses);
    frame.store::<u32, 34>(traffic.ports | ports);
    frame.store::<u16, 46>(traffic.flags);
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
