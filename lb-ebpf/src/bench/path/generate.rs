//! The generator: a frame is written whole, since live frames come back as the run
//! before has left them.

use crate::{
    packet::Packet,
    records::{Clients, Dice, Stream, WORDS},
};
use aya_ebpf::{
    helpers::bpf_redirect,
    macros::map,
    maps::{Array, PerCpuArray},
};

#[map]
static STREAM: Array<Stream> = Array::with_max_entries(1, 0);
#[map]
static DICE: PerCpuArray<Dice> = PerCpuArray::with_max_entries(1, 0);

/// Writes the next frame, and tells the kernel to send it.
#[inline(always)]
pub fn send(packet: &Packet) -> Option<u32> {
    let stream = STREAM.get(0)?;
    let (address, port) = socket(client(stream)?);
    let frame = packet.window::<{ WORDS * 8 }>()?;
    let words = &stream.words;
    let checksum = checksum(stream.sum, address, port * stream.is_six);
    let (address, port, checksum) = (u64::from(address), u64::from(port), u64::from(checksum));
    frame.store::<u64, 0>(words[0]);
    frame.store::<u64, 8>(words[1]);
    frame.store::<u64, 16>(words[2]);
    frame.store::<u64, 40>(words[5]);
    if stream.is_six == 0 {
        frame.store::<u64, 24>(words[3] | checksum | address << 16);
        frame.store::<u64, 32>(words[4] | port << 16);
        frame.store::<u64, 48>(words[6]);
        frame.store::<u64, 56>(words[7]);
    } else {
        frame.store::<u64, 24>(words[3]);
        frame.store::<u64, 32>(words[4] | address << 16);
        frame.store::<u64, 48>(words[6] | port << 48);
        frame.store::<u64, 56>(words[7] | checksum << 32);
    }
    // SAFETY: takes two numbers.
    Some(unsafe { bpf_redirect(stream.ifindex, 0) } as u32)
}

/// The number of the frame's client.
#[inline(always)]
fn client(stream: &Stream) -> Option<u32> {
    let dice = DICE.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, and test runs on one CPU take turns.
    let dice = unsafe { &mut *dice };
    let number = if stream.clients == Clients::NEXT {
        dice.next = dice.next.wrapping_add(1);
        dice.next.wrapping_sub(1)
    } else {
        // Marsaglia's xorshift64.
        dice.random ^= dice.random << 13;
        dice.random ^= dice.random >> 7;
        dice.random ^= dice.random << 17;
        (((dice.random >> 32) * u64::from(stream.flows)) >> 32) as u32
    };
    Some(dice.first.wrapping_add(number))
}

/// The bits by which client `number` differs from the first, in address and port as they
/// lie in the frame: 16 ports of one address, then those of the next. No two numbers below
/// 2²⁴ are the same client.
#[inline(always)]
const fn socket(number: u32) -> (u32, u32) {
    let address = number >> 4 & 0xf_ffff;
    (address.to_be(), ((number & 0xf) as u16).to_be() as u32)
}

/// The checksum of what `sum` is of, and the client's bits.
#[inline(always)]
const fn checksum(sum: u32, address: u32, port: u32) -> u16 {
    let mut sum = sum + (address & 0xffff) + (address >> 16) + port;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
