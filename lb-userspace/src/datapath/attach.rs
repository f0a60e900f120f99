//! Programs on interfaces: attached by links that are pinned, so that a program stays
//! when the daemon goes, and is replaced in one step when a new daemon comes.

use std::{fs, io, path::Path};

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{DatapathError, chain, kernel_error};

/// How a program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// In the driver, before the kernel makes anything of a packet.
    Native,
    /// Behind the driver, after the kernel has allocated a buffer: slower.
    Generic,
    /// In place of a program that was attached before; as that was.
    Replaced,
}

/// Attaches a loaded program to an interface, or puts it in the place of the one whose
/// link is pinned at `pin`.
///
/// # Errors
///
/// [`DatapathError::Busy`] when the interface runs somebody else's program,
/// [`DatapathError::NotPermitted`], [`DatapathError::Kernel`] or [`DatapathError::Pin`].
pub fn attach(
    program: &mut Xdp,
    name: &str,
    ifindex: u32,
    pin: &Path,
) -> Result<Attachment, DatapathError> {
    if pin.exists() {
        if replace(program, pin)? {
            return Ok(Attachment::Replaced);
        }
        // The interface that it was for has gone.
        fs::remove_file(pin).map_err(|source| DatapathError::Pin {
            what: "removing",
            path: pin.to_path_buf(),
            source,
        })?;
    }
    let (link, attachment) = match program.attach_to_if_index(ifindex, XdpMode::Driver) {
        Ok(link) => (link, Attachment::Native),
        Err(error) if is_errno(&error, rustix::io::Errno::OPNOTSUPP) => {
            let link = program
                .attach_to_if_index(ifindex, XdpMode::Skb)
                .map_err(|e| refused(name, &e))?;
            (link, Attachment::Generic)
        }
        Err(error) => return Err(refused(name, &error)),
    };
    let link = program
        .take_link(link)
        .map_err(|e| kernel_error("keeping the XDP link", &e))?;
    // Without links in the kernel aya attaches by netlink, which can't be pinned.
    let link = FdLink::try_from(link)
        .map_err(|e| kernel_error(format!("attaching to {name} by an XDP link"), &e))?;
    link.pin(pin)
        .map_err(|e| kernel_error(format!("pinning the link of {name}"), &e))?;
    Ok(attachment)
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
fn replace(program: &mut Xdp, pin: &Path) -> Result<bool, DatapathError> {
    let failed = |e: &(dyn std::error::Error + 'static)| {
        kernel_error(format!("replacing the program of {}", pin.display()), e)
    };
    let link = PinnedLink::from_pin(pin).map_err(|e| failed(&e))?;
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|e| failed(&e))?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // The pin holds the link; ours may go.
            let link = program.take_link(id).map_err(|e| failed(&e))?;
            drop(link);
            Ok(true)
        }
        Err(error) if is_errno(&error, rustix::io::Errno::NOLINK) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

fn refused(name: &str, error: &(dyn std::error::Error + 'static)) -> DatapathError {
    if is_errno(error, rustix::io::Errno::BUSY) || is_errno(error, rustix::io::Errno::EXIST) {
        return DatapathError::Busy {
            name: name.into(),
            detail: chain(error),
        };
    }
    kernel_error(format!("attaching to {name}"), error)
}

fn is_errno(error: &(dyn std::error::Error + 'static), errno: rustix::io::Errno) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error() == Some(errno.raw_os_error());
        }
        cause = error.source();
    }
    false
}
