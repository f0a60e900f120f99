//! XDP programs of a few instructions, for which the harness needs no BPF toolchain.
//!
//! A frame that an XDP program transmits or redirects out of a veth interface
//! vanishes unless the other end runs an XDP program too: that is one of the things that
//! [`PASS`] is for.

use std::{
    ffi::c_long,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use serde_json::Value;

use crate::{link::End, netns::run};

/// `BPF_PROG_LOAD` and `BPF_LINK_CREATE` of `enum bpf_cmd`.
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;
/// `BPF_LINK_UPDATE` of `enum bpf_cmd`.
const LINK_UPDATE: c_long = 29;
/// `BPF_PROG_TYPE_XDP` of `enum bpf_prog_type`.
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// `XDP_FLAGS_DRV_MODE`: in the driver, or not at all.
const FLAG_DRIVER: u32 = 1 << 2;
/// `BPF_F_XDP_HAS_FRAGS`: frames may lie in several buffers, as they do where the MTU is
/// large.
const HAS_FRAGS: u32 = 1 << 5;
/// The program that lets every frame pass: `r0 = XDP_PASS; exit`.
pub const PASS: [u64; 2] = [instruction(0xb7, 0, 0, 0, 2), instruction(0x95, 0, 0, 0, 0)];

/// One `struct bpf_insn`: operation, destination and source register, offset and
/// immediate value.
pub const fn instruction(operation: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    operation as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (value.cast_unsigned() as u64) << 32
}

/// The start of `union bpf_attr` as `BPF_PROG_LOAD` reads it.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The start of `union bpf_attr` as `BPF_LINK_CREATE` reads it.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The start of `union bpf_attr` as `BPF_LINK_UPDATE` reads it.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
}

/// An interface with a program on it, until this is dropped.
#[derive(Debug)]
pub struct Attached {
    link: OwnedFd,
}

impl Attached {
    /// Puts a program on an interface, in the driver. It may be given frames in several
    /// buffers, of which it sees the first.
    pub fn new(end: End<'_>, program: &[u64]) -> Result<Self> {
        let program = load(program)?;
        // Interface numbers are per namespace, and the link is made in ours.
        end.host.run(|| {
            let probe = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            let link = LinkCreate {
                prog_fd: u32::try_from(program.as_raw_fd())?,
                target_ifindex: name_to_index(&probe, end.device)?,
                attach_type: ATTACH_XDP,
                flags: FLAG_DRIVER,
            };
            // SAFETY: `LinkCreate` is the prefix of bpf_attr that
            // BPF_LINK_CREATE reads, and holds no pointer.
            let link = unsafe { bpf(LINK_CREATE, &link) }
                .with_context(|| format!("cannot attach a program to {}", end.device))?;
            Ok(Self { link })
        })
    }

    /// Puts another program in this one's place; no frame meets none.
    pub fn replace(&self, program: &[u64]) -> Result<()> {
        let program = load(program)?;
        let update = LinkUpdate {
            link_fd: u32::try_from(self.link.as_raw_fd())?,
            new_prog_fd: u32::try_from(program.as_raw_fd())?,
            flags: 0,
        };
        // SAFETY: `LinkUpdate` is the prefix of bpf_attr that BPF_LINK_UPDATE reads, and
        // holds no pointer.
        unsafe { call(LINK_UPDATE, &update) }.context("cannot replace a program")?;
        Ok(())
    }
}

fn load(program: &[u64]) -> Result<OwnedFd> {
    let program = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: u32::try_from(program.len())?,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: HAS_FRAGS,
    };
    // SAFETY: `ProgLoad` is the prefix of bpf_attr that BPF_PROG_LOAD reads,
    // and each of its pointers is to what outlives the call, or to nothing.
    unsafe { bpf(PROG_LOAD, &program) }.context("cannot load a program")
}

/// Has a host receive an interface's frames one after the other, as from a network card's
/// queue, until this is dropped.
///
/// Over veth each frame is otherwise received on the CPU that sent it, so two of one connection
/// may be received at once. A server's kernel then resets one connection in some 70,000 (seen on
/// Linux 6.18): while the handshake's last ACK makes the connection on one CPU, the request
/// finds it neither half open nor open on another. With a program on the interface, veth has a
/// queue for it, which one CPU at a time empties.
pub fn receive_in_turn(end: End<'_>) -> Result<Attached> {
    Attached::new(end, &PASS)
}

/// The name of the program on an interface.
pub fn program(end: End<'_>) -> Result<String> {
    let mut ip = end.host.command("ip")?;
    let text = run(ip.args(["-details", "-json", "link", "show", "dev", end.device]))?;
    let links: Value = serde_json::from_str(&text)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64();
    let id = id.with_context(|| format!("no program on {}: {links}", end.device))?;
    // Others' programs come and go meanwhile.
    let program = loaded_programs()
        .flatten()
        .find(|program| u64::from(program.id()) == id);
    let program = program.with_context(|| format!("program {id} has gone"))?;
    let name = program.name_as_str().context("a name that isn't UTF-8")?;
    Ok(name.to_owned())
}

/// bpf(2), for the commands that return a file descriptor.
///
/// # Safety
/// As for [`call`], and the command must be one of those.
unsafe fn bpf<T>(command: c_long, attributes: &T) -> std::io::Result<OwnedFd> {
    // SAFETY: the caller's promise is the same.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
///
/// # Safety
/// `T` must be what the command reads `union bpf_attr` as, with pointers that are valid for it.
unsafe fn call<T>(command: c_long, attributes: &T) -> std::io::Result<i32> {
    // SAFETY: the pointer and the size are those of one live value; the kernel
    // takes what is beyond the size for zeroes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(std::io::Error::last_os_error()),
    }
}
