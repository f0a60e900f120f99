//! The interfaces: programs on them, and their places in the device map.

use std::{cell::Cell, path::Path};

use lb_common::abi::Identity;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{aims::Port, samples};
use crate::{
    api::types::XdpMode,
    datapath::{
        Attachment, Constants, DatapathError, Object, Pins, Place, Tables,
        advice::{Situation, advice},
        attach, object,
    },
    net::{self, Mac, NetState},
};

/// The interfaces that are configured.
pub(super) struct Ports {
    ports: Vec<Attached>,
    pins: Pins,
    identity: Identity,
    sample: u32,
}

struct Attached {
    port: Port,
    mac: Mac,
    mode: Option<XdpMode>,
    /// What to switch so that it is faster.
    advice: Option<String>,
}

impl Ports {
    pub(super) fn new(pins: Pins, identity: Identity, sample: u32) -> Self {
        Ports {
            ports: Vec::new(),
            pins,
            identity,
            sample,
        }
    }

    pub(super) fn list(&self) -> Vec<Port> {
        self.ports
            .iter()
            .map(|attached| attached.port.clone())
            .collect()
    }

    pub(super) fn mode(&self, name: &str) -> Option<XdpMode> {
        self.ports
            .iter()
            .find(|attached| attached.port.name == name)?
            .mode
    }

    /// What to switch so that the program is faster there.
    pub(super) fn advice(&self, name: &str) -> Option<&str> {
        let mut named = self.ports.iter().filter(|one| one.port.name == name);
        named.next()?.advice.as_deref()
    }

    /// Whether all interfaces are there.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoInterface`] names the first that isn't.
    pub(super) fn check(names: &[String], net: &NetState) -> Result<(), DatapathError> {
        match names.iter().find(|name| net.link_by_name(name).is_none()) {
            Some(name) => Err(DatapathError::NoInterface { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Attaches to the interfaces named, detaches from those that were and no longer are.
    ///
    /// # Errors
    ///
    /// When one doesn't exist, runs another program, or the kernel refuses.
    pub(super) async fn set(
        &mut self,
        names: &[String],
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<(), DatapathError> {
        let loading = self.begin(names, net, tables)?;
        self.end(names, loading).await
    }

    /// As [`Ports::set`], without another look at interfaces that aren't named.
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) async fn keep(
        &mut self,
        names: &[String],
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<(), DatapathError> {
        self.ports
            .retain(|attached| names.contains(&attached.port.name));
        self.set(names, net, tables).await
    }

    /// Gives the interfaces named their places, and has their programs loaded, each by a
    /// thread of its own, while the caller does something else. To be followed by
    /// [`Ports::end`].
    ///
    /// # Errors
    ///
    /// When one doesn't exist, or the kernel refuses.
    pub(super) fn begin(
        &mut self,
        names: &[String],
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<Vec<Loading>, DatapathError> {
        Self::check(names, net)?;
        for name in names {
            if !self
                .ports
                .iter()
                .any(|attached| attached.port.name == *name)
            {
                self.ports.push(Attached {
                    port: Port {
                        name: name.clone(),
                        ifindex: 0,
                        egress: 0,
                    },
                    mac: Mac::default(),
                    mode: None,
                    advice: None,
                });
            }
        }
        self.load_changed(net, tables)
    }

    /// Attaches what [`Ports::begin`] has had loaded, and detaches from what isn't named.
    ///
    /// # Errors
    ///
    /// When an interface runs another program, or the kernel refuses.
    pub(super) async fn end(
        &mut self,
        names: &[String],
        loading: Vec<Loading>,
    ) -> Result<(), DatapathError> {
        self.attach(loading).await?;
        self.ports
            .retain(|attached| names.contains(&attached.port.name));
        for name in self.pins.linked()? {
            if !names.contains(&name) {
                info!(interface = name, "no longer configured: detached");
                attach::detach(&self.pins.link(&name))?;
            }
        }
        Ok(())
    }

    /// Attaches again where an interface has come back or has another MAC, which is a
    /// constant of its program.
    ///
    /// # Errors
    ///
    /// When one runs another program, or the kernel refuses; the others are seen to all
    /// the same.
    pub(super) async fn follow(
        &mut self,
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<(), DatapathError> {
        let loading = self.load_changed(net, tables)?;
        self.attach(loading).await
    }

    /// Has programs loaded for the interfaces that are there and have none of their own.
    fn load_changed(
        &mut self,
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<Vec<Loading>, DatapathError> {
        let mut changed = Vec::new();
        for (index, attached) in self.ports.iter_mut().enumerate() {
            let name = &attached.port.name;
            let link = net.link_by_name(name);
            let found = link.and_then(|link| Some((link.ifindex, link.mac?, link.mtu)));
            let Some((ifindex, mac, mtu)) = found else {
                if attached.port.ifindex != 0 {
                    warn!(interface = name, "gone");
                    attached.port.ifindex = 0;
                    attached.mode = None;
                    attached.advice = None;
                }
                continue;
            };
            if (ifindex, mac) == (attached.port.ifindex, attached.mac) {
                continue;
            }
            attached.port.egress = place(tables, ifindex)?;
            let constants = Constants {
                identity: self.identity,
                egress: attached.port.egress.into(),
                mac,
                sample: self.sample,
                has_buffers: false,
            };
            let before = (attached.port.ifindex, attached.mac);
            changed.push((index, before, mtu, constants));
            (attached.port.ifindex, attached.mac) = (ifindex, mac);
        }
        let loading = changed.into_iter().map(|(index, before, mtu, constants)| {
            let maps = self.pins.maps();
            Loading {
                index,
                before,
                mtu,
                constants,
                object: tokio::task::spawn_blocking(move || loaded(&constants, &maps)),
            }
        });
        Ok(loading.collect())
    }

    async fn attach(&mut self, loading: Vec<Loading>) -> Result<(), DatapathError> {
        let mut outcome = Ok(());
        for one in loading {
            let (index, before) = (one.index, one.before);
            let attached = self.attach_one(one).await;
            if attached.is_err() {
                let attached = &mut self.ports[index];
                (attached.port.ifindex, attached.mac) = before;
            }
            outcome = outcome.and(attached);
        }
        outcome
    }

    async fn attach_one(&mut self, loading: Loading) -> Result<(), DatapathError> {
        let Loading {
            index,
            mtu,
            constants,
            ..
        } = loading;
        let attached = &mut self.ports[index];
        let (name, ifindex) = (attached.port.name.clone(), attached.port.ifindex);
        let object = match loading.object.await {
            Ok(object) => object?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let (maps, link) = (self.pins.maps(), self.pins.link(&name));
        let object = Cell::new(Some(object));
        let load = |has_buffers: bool| match object.take() {
            Some(object) if !has_buffers => Ok(object),
            _ => {
                let constants = Constants {
                    has_buffers,
                    ..constants
                };
                Object::load(object::OBJECT, &constants, Some(&maps))
            }
        };
        // The driver may use more queues once there is a program.
        let card = net::card(&name);
        let (how, object) = attach::attach(load, &name, ifindex, &link)?;
        if constants.sample > 0 {
            samples::follow(name.clone(), object);
        }
        attached.mode = mode(how, ifindex).await;
        tell(&name, how, attached.mode);
        // What nothing drives has nothing to switch.
        let card = card.ok();
        attached.advice = card.and_then(|card| advice(Situation::here(&name, mtu, &card), how));
        if let Some(advice) = &attached.advice {
            warn!(interface = name, "{advice}");
        }
        Ok(())
    }
}

/// A program that is being loaded for an interface.
pub(super) struct Loading {
    /// Which of the interfaces.
    index: usize,
    /// Its number and MAC address, as they were.
    before: (u32, Mac),
    /// Its largest IP packet, in bytes.
    mtu: u32,
    constants: Constants,
    object: JoinHandle<Result<Object, DatapathError>>,
}

/// The object with its program in the kernel, for frames in one buffer: the verifier takes
/// most of a start's time.
fn loaded(constants: &Constants, maps: &Path) -> Result<Object, DatapathError> {
    let mut object = Object::load(object::OBJECT, constants, Some(maps))?;
    object.program(object::PROGRAM)?;
    Ok(object)
}

/// The interface's place in the device map: the one that it has, or a free one.
fn place(tables: &mut Tables, ifindex: u32) -> Result<u16, DatapathError> {
    let devices = tables.devices();
    if let Some(slot) = devices.iter().position(|&device| device == ifindex) {
        return Ok(slot as u16);
    }
    let slot = devices.iter().position(|&device| device == 0).unwrap_or(0) as u16;
    tables.put_device(slot.into(), ifindex)?;
    Ok(slot)
}

async fn mode(how: Attachment, ifindex: u32) -> Option<XdpMode> {
    let native = match how.is_multi_buffer {
        true => XdpMode::NativeMultiBuffer,
        false => XdpMode::Native,
    };
    match how.place {
        Place::Native => Some(native),
        Place::Generic => Some(XdpMode::Generic),
        Place::Replaced => match net::xdp_mode(ifindex).await {
            Some(XdpMode::Native) => Some(native),
            other => other,
        },
    }
}

fn tell(interface: &str, how: Attachment, mode: Option<XdpMode>) {
    match mode {
        Some(XdpMode::Generic) => warn!(
            interface,
            "attached in generic mode, which is several times slower than native mode"
        ),
        Some(XdpMode::NativeMultiBuffer) => info!(
            interface,
            how = ?how.place,
            "attached in native mode, for frames in several buffers: the driver takes no other program with this MTU"
        ),
        _ => info!(interface, how = ?how.place, "attached in native mode"),
    }
}
