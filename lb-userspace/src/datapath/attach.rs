//! Programs on interfaces: attached by links that are pinned, so that a program stays
//! when the daemon goes, and is replaced in one step when a new daemon comes.

use std::{fs, io, path::Path};

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpLinkId},
};
use rustix::io::Errno;
use tracing::debug;

use super::{
    DatapathError, Object, chain, kernel_error,
    object::{PROGRAM, PROGRAM_FRAGS},
};

/// How a program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// Where.
    pub place: Place,
    /// Whether it is the program that takes frames in several buffers.
    pub is_multi_buffer: bool,
}

/// Where a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the driver, before the kernel makes anything of a packet.
    Native,
    /// Behind the driver, after the kernel has allocated a buffer: slower.
    Generic,
    /// In place of a program that was attached before; as that was.
    Replaced,
}

/// Attaches the object's program to an interface, or puts it in the place of the one
/// whose link is pinned at `pin`. Where the driver refuses it, mostly for a large MTU,
/// the one for several buffers comes in its stead.
///
/// # Errors
///
/// [`DatapathError::Busy`] when the interface runs somebody else's program,
/// [`DatapathError::NotPermitted`], [`DatapathError::Kernel`] or [`DatapathError::Pin`].
pub fn attach(
    object: &mut Object,
    name: &str,
    ifindex: u32,
    pin: &Path,
) -> Result<Attachment, DatapathError> {
    if pin.exists() {
        if let Some(is_multi_buffer) = replace(object, pin)? {
            return Ok(Attachment {
                place: Place::Replaced,
                is_multi_buffer,
            });
        }
        // The interface that it was for has gone.
        fs::remove_file(pin).map_err(|source| DatapathError::Pin {
            what: "removing",
            path: pin.to_path_buf(),
            source,
        })?;
    }
    let tries = [
        (PROGRAM, XdpMode::Driver),
        (PROGRAM_FRAGS, XdpMode::Driver),
        (PROGRAM, XdpMode::Skb),
    ];
    let last = tries.len() - 1;
    for (turn, (program, mode)) in tries.into_iter().enumerate() {
        let attached = object.program(program)?.attach_to_if_index(ifindex, mode);
        match attached {
            Ok(link) => {
                keep(object.program(program)?, link, name, pin)?;
                return Ok(Attachment {
                    place: match mode {
                        XdpMode::Skb => Place::Generic,
                        _ => Place::Native,
                    },
                    is_multi_buffer: program == PROGRAM_FRAGS,
                });
            }
            Err(error) if turn < last && is_drivers(&error) => {
                debug!(interface = name, program, "not taken: {}", chain(&error));
            }
            Err(error) => return Err(refused(name, &error)),
        }
    }
    unreachable!("the last try returns")
}

/// Pins the link of a program that has just been attached.
fn keep(program: &mut Xdp, link: XdpLinkId, name: &str, pin: &Path) -> Result<(), DatapathError> {
    let link = program
        .take_link(link)
        .map_err(|e| kernel_error("keeping the XDP link", &e))?;
    // Without links in the kernel aya attaches by netlink, which can't be pinned.
    let link = FdLink::try_from(link)
        .map_err(|e| kernel_error(format!("attaching to {name} by an XDP link"), &e))?;
    link.pin(pin)
        .map_err(|e| kernel_error(format!("pinning the link of {name}"), &e))?;
    Ok(())
}

/// Detaches from an interface.
///
/// # Errors
///
/// [`DatapathError::Pin`].
pub fn detach(pin: &Path) -> Result<(), DatapathError> {
    fs::remove_file(pin).map_err(|source| DatapathError::Pin {
        what: "removing",
        path: pin.to_path_buf(),
        source,
    })
}

/// Whether it is now the program for several buffers; `None` when the link's interface
/// has gone.
fn replace(object: &mut Object, pin: &Path) -> Result<Option<bool>, DatapathError> {
    let failed = |e: &(dyn std::error::Error + 'static)| {
        kernel_error(format!("replacing the program of {}", pin.display()), e)
    };
    for (name, is_multi_buffer) in [(PROGRAM, false), (PROGRAM_FRAGS, true)] {
        let program = object.program(name)?;
        let link = PinnedLink::from_pin(pin).map_err(|e| failed(&e))?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|e| failed(&e))?;
        match program.attach_to_link(link) {
            Ok(id) => {
                // The pin holds the link; ours may go.
                let link = program.take_link(id).map_err(|e| failed(&e))?;
                drop(link);
                return Ok(Some(is_multi_buffer));
            }
            Err(error) if is_errno(&error, Errno::NOLINK) => return Ok(None),
            Err(error) if !is_multi_buffer && is_drivers(&error) => {
                debug!(pin = %pin.display(), name, "not taken: {}", chain(&error));
            }
            Err(error) => return Err(failed(&error)),
        }
    }
    unreachable!("the last try returns")
}

/// Whether it is the driver that doesn't take the program, so that it may take another,
/// or one elsewhere: for want of XDP, or for the MTU.
fn is_drivers(error: &(dyn std::error::Error + 'static)) -> bool {
    [Errno::OPNOTSUPP, Errno::RANGE, Errno::INVAL]
        .into_iter()
        .any(|errno| is_errno(error, errno))
}

fn refused(name: &str, error: &(dyn std::error::Error + 'static)) -> DatapathError {
    if is_errno(error, Errno::BUSY) || is_errno(error, Errno::EXIST) {
        return DatapathError::Busy {
            name: name.into(),
            detail: chain(error),
        };
    }
    kernel_error(format!("attaching to {name}"), error)
}

fn is_errno(error: &(dyn std::error::Error + 'static), errno: Errno) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error() == Some(errno.raw_os_error());
        }
        cause = error.source();
    }
    false
}
