//! Programs on interfaces: attached by links that are pinned, so that a program stays
//! when the daemon goes, and is replaced in one step when a new daemon comes.

use std::{error::Error, fs, io, path::Path};

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
    /// What the driver said first, when it refused.
    pub refused: Option<Errno>,
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

/// Attaches a program to an interface, or puts it in the place of the one whose link is
/// pinned at `pin`. Where the driver refuses it, mostly for a large MTU, the one for
/// several buffers comes in its stead. `load` loads the object for one or for several
/// buffers; the one whose program was attached is given back.
///
/// # Errors
///
/// [`DatapathError::Busy`] when the interface runs somebody else's program,
/// [`DatapathError::NotPermitted`], [`DatapathError::Kernel`] or [`DatapathError::Pin`].
pub fn attach(
    load: impl Fn(bool) -> Result<Object, DatapathError>,
    name: &str,
    ifindex: u32,
    pin: &Path,
) -> Result<(Attachment, Object), DatapathError> {
    if pin.exists() {
        if let Some(replaced) = put_in_place(&load, name, pin)? {
            return Ok(replaced);
        }
        // The interface that it was for has gone.
        fs::remove_file(pin).map_err(|source| DatapathError::Pin {
            what: "removing",
            path: pin.to_path_buf(),
            source,
        })?;
    }
    let native = Place::Native;
    let (mut refusal, mut refused) = (None, None);
    for (place, is_multi_buffer) in [(native, false), (native, true), (Place::Generic, false)] {
        let mut object = load(is_multi_buffer)?;
        let program = object.program(program(is_multi_buffer))?;
        let mode = match place {
            Place::Generic => XdpMode::Skb,
            Place::Native | Place::Replaced => XdpMode::Driver,
        };
        match program.attach_to_if_index(ifindex, mode) {
            Ok(link) => {
                keep(program, link, name, pin)?;
                let attachment = Attachment {
                    place,
                    is_multi_buffer,
                    refused,
                };
                return Ok((attachment, object));
            }
            Err(error) => {
                let is_drivers = is_drivers(&error);
                debug!(interface = name, ?place, "not taken: {}", chain(&error));
                refused = refused.or(errno(&error));
                refusal = Some(failure(name, &error));
                if !is_drivers {
                    break;
                }
            }
        }
    }
    Err(refusal.expect("there were tries"))
}

/// Puts a program in the place of the one whose link is pinned; `None` when the link's
/// interface has gone.
fn put_in_place(
    load: impl Fn(bool) -> Result<Object, DatapathError>,
    name: &str,
    pin: &Path,
) -> Result<Option<(Attachment, Object)>, DatapathError> {
    let failed = |e: &(dyn Error + 'static)| {
        kernel_error(format!("replacing the program of {}", pin.display()), e)
    };
    let replaced = |is_multi_buffer, object| {
        let place = Place::Replaced;
        let attachment = Attachment {
            place,
            is_multi_buffer,
            refused: None,
        };
        Some((attachment, object))
    };
    let mut object = load(false)?;
    match replace(object.program(PROGRAM)?, pin) {
        Ok(true) => return Ok(replaced(false, object)),
        Ok(false) => return Ok(None),
        Err(error) if is_drivers(&*error) => {
            debug!(interface = name, "not taken: {}", chain(&*error));
        }
        Err(error) => return Err(failed(&*error)),
    }
    let mut object = load(true)?;
    match replace(object.program(PROGRAM_FRAGS)?, pin) {
        Ok(true) => Ok(replaced(true, object)),
        Ok(false) => Ok(None),
        Err(error) => Err(failed(&*error)),
    }
}

fn program(is_multi_buffer: bool) -> &'static str {
    match is_multi_buffer {
        true => PROGRAM_FRAGS,
        false => PROGRAM,
    }
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

/// False when the link's interface has gone.
fn replace(program: &mut Xdp, pin: &Path) -> Result<bool, Box<dyn Error>> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(pin)?))?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // The pin holds the link; ours may go.
            drop(program.take_link(id)?);
            Ok(true)
        }
        Err(error) if is_errno(&error, Errno::NOLINK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is the driver that doesn't take the program, so that it may take another,
/// or one elsewhere: for want of XDP or of queues, or for the MTU.
fn is_drivers(error: &(dyn Error + 'static)) -> bool {
    [Errno::OPNOTSUPP, Errno::RANGE, Errno::INVAL, Errno::NOMEM]
        .into_iter()
        .any(|errno| is_errno(error, errno))
}

fn failure(name: &str, error: &(dyn Error + 'static)) -> DatapathError {
    if is_errno(error, Errno::BUSY) || is_errno(error, Errno::EXIST) {
        return DatapathError::Busy {
            name: name.into(),
            detail: chain(error),
        };
    }
    kernel_error(format!("attaching to {name}"), error)
}

fn is_errno(error: &(dyn Error + 'static), wanted: Errno) -> bool {
    errno(error) == Some(wanted)
}

/// What the system call said that an error comes from.
fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Errno::from_io_error(io);
        }
        cause = error.source();
    }
    None
}
