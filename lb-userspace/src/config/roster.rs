//! The rules between values: what is taken already. The configuration fills a
//! roster as it is read; runtime changes are held against the same one.

mod frontends;

use std::{collections::HashMap, net::IpAddr};

pub use self::frontends::Frontend;
use self::frontends::Frontends;
use super::{
    limits::{MAX_BACKENDS, MAX_NAT_SHARED, MAX_SERVICES},
    model::{Config, Forward, Protocol, Service},
    refusal::{Refusal, listed, quoted},
};

/// Where a backend listens; port 0 stands for the packet's own.
pub type Endpoint = (IpAddr, u16);

/// Who took something first: a name, and the line it is on when it came from a file.
#[derive(Debug, Clone)]
struct Holder {
    name: String,
    line: Option<usize>,
}

impl Holder {
    fn new(name: &str, line: Option<usize>) -> Self {
        Self {
            name: name.to_owned(),
            line,
        }
    }

    fn shown(&self) -> String {
        match self.line {
            Some(line) => format!("{} (line {line})", quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

/// What is taken, with the reasons to refuse a second taker. Services are told
/// apart by the order in which they were recorded.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    names: HashMap<String, Holder>,
    frontends: Frontends,
    /// The pool's addresses, and the line of each that came from a file.
    pool: HashMap<IpAddr, Option<usize>>,
    /// Gateways likewise.
    gateways: HashMap<IpAddr, Option<usize>>,
    members: Vec<Members>,
    translated: HashMap<(Endpoint, Protocol), Vec<String>>,
    backends: usize,
}

/// What is taken within one service.
#[derive(Debug, Clone, Default)]
struct Members {
    names: HashMap<String, Holder>,
    endpoints: HashMap<Endpoint, Holder>,
}

/// What a service brings to the rules about its backends.
#[derive(Debug, Clone, Copy)]
pub struct ServiceFacts<'a> {
    /// Its place in the order of recording.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its forwarding mode.
    pub forward: Forward,
}

impl<'a> ServiceFacts<'a> {
    /// The facts of a service at a place.
    pub fn of(index: usize, service: &'a Service) -> Self {
        Self {
            index,
            name: &service.name,
            protocol: service.protocol,
            forward: service.forward,
        }
    }
}

impl Roster {
    /// The roster of a configuration that keeps the rules.
    pub fn of(config: &Config) -> Self {
        let mut roster = Self::default();
        for address in config.full_nat.iter().flat_map(|pool| &pool.addresses) {
            roster.record_pool(*address, None);
        }
        for gateway in config.groups.iter().flat_map(|group| &group.gateways) {
            roster.record_gateway(*gateway, None);
        }
        for (index, service) in config.services.iter().enumerate() {
            let frontend = (service.vip, service.port, service.protocol);
            roster.record_service(Some(&service.name), Some(frontend), None);
            let facts = ServiceFacts::of(index, service);
            for backend in &service.backends {
                let endpoint = (backend.address, backend.port);
                roster.record_backend(facts, Some(&backend.name), Some(endpoint), None);
            }
        }
        roster
    }

    /// Whether one more service fits.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn service_room(&self) -> Result<(), Refusal> {
        if self.members.len() < MAX_SERVICES {
            return Ok(());
        }
        Err(Refusal::new(
            format!("this is one service more than the {MAX_SERVICES} that a node can have"),
            "spread the services over several nodes",
        ))
    }

    /// Whether a service's name is free.
    ///
    /// # Errors
    /// When another service has it.
    pub fn service_name(&self, name: &str) -> Result<(), Refusal> {
        match self.names.get(name) {
            None => Ok(()),
            Some(other) => Err(Refusal::new(
                format!("there is a service {} already", other.shown()),
                "give this one another name",
            )),
        }
    }

    /// Whether the pool can have an address.
    ///
    /// # Errors
    /// When it has it already.
    pub fn pool_address(&self, address: IpAddr) -> Result<(), Refusal> {
        match self.pool.contains_key(&address) {
            false => Ok(()),
            true => Err(Refusal::new(
                format!("the address {address} is in the pool twice"),
                "name it once",
            )),
        }
    }

    /// Takes an address for the pool.
    pub fn record_pool(&mut self, address: IpAddr, line: Option<usize>) {
        self.pool.entry(address).or_insert(line);
    }

    /// Whether an address can be a gateway.
    ///
    /// # Errors
    /// When it is one already, or in the pool.
    pub fn gateway(&self, address: IpAddr) -> Result<(), Refusal> {
        self.no_gateway(address, "name it once")?;
        self.not_pooled(address, "name it in one of the two")
    }

    /// Takes an address for a gateway.
    pub fn record_gateway(&mut self, address: IpAddr, line: Option<usize>) {
        self.gateways.entry(address).or_insert(line);
    }

    fn no_gateway(&self, address: IpAddr, help: &str) -> Result<(), Refusal> {
        not_in(
            &self.gateways,
            address,
            "a gateway that moves with a group",
            help,
        )
    }

    /// Whether an address can be a VIP.
    ///
    /// # Errors
    /// When it is in the pool, or a gateway.
    pub fn vip(&self, address: IpAddr) -> Result<(), Refusal> {
        self.no_gateway(
            address,
            "take it out of `gateways`: VIPs move with a group anyway",
        )?;
        self.not_pooled(
            address,
            "use another address: what comes to the pool's addresses are answers of backends",
        )
    }

    fn not_pooled(&self, address: IpAddr, help: &str) -> Result<(), Refusal> {
        not_in(&self.pool, address, "in the pool of full-nat", help)
    }

    /// Whether a VIP's ports are free for a protocol. One port may lie in a range,
    /// and both beside any port: the narrowest gets a packet.
    ///
    /// # Errors
    /// When another service balances them, or the VIP has too many ranges.
    pub fn frontend(&self, frontend: Frontend) -> Result<(), Refusal> {
        self.frontends.fits(frontend)
    }

    /// Takes a name and a frontend for a service, as far as they are known, and
    /// numbers it.
    pub fn record_service(
        &mut self,
        name: Option<&str>,
        frontend: Option<Frontend>,
        line: Option<usize>,
    ) -> usize {
        let holder = Holder::new(name.unwrap_or("?"), line);
        if let Some(name) = name {
            self.names
                .entry(name.to_owned())
                .or_insert_with(|| holder.clone());
        }
        if let Some(frontend) = frontend {
            self.frontends.record(frontend, holder);
        }
        self.members.push(Members::default());
        self.members.len() - 1
    }

    /// Whether one more backend fits.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn backend_room(&self) -> Result<(), Refusal> {
        if self.backends < MAX_BACKENDS {
            return Ok(());
        }
        Err(Refusal::new(
            format!("this is one backend more than the {MAX_BACKENDS} that a node can have"),
            "spread the services over several nodes",
        ))
    }

    /// Whether a backend's name is free in its service.
    ///
    /// # Errors
    /// When another backend of the service has it.
    pub fn backend_name(&self, service: usize, name: &str) -> Result<(), Refusal> {
        match self.members[service].names.get(name) {
            None => Ok(()),
            Some(other) => Err(Refusal::new(
                format!("the service has a backend {} already", other.shown()),
                "give this one another name",
            )),
        }
    }

    /// Whether a backend can be at an address, whatever its port.
    ///
    /// # Errors
    /// When the address is a VIP, in the pool or a gateway.
    pub fn backend_address(&self, address: IpAddr) -> Result<(), Refusal> {
        if let Some(service) = self.frontends.of_vip(address) {
            return Err(Refusal::new(
                format!("{address} is the VIP of service {}", service.shown()),
                "write the server's own address: packets to the VIP would come back to us",
            ));
        }
        self.no_gateway(
            address,
            "write the server's own address: this is one that we answer for",
        )?;
        self.not_pooled(
            address,
            "write the server's own address: packets to an address of the pool would come back to us",
        )
    }

    /// Whether a service's backend can be at an address and port.
    ///
    /// # Errors
    /// When another backend of the service is there, or too many `nat` services
    /// share it.
    pub fn backend_endpoint(
        &self,
        service: ServiceFacts<'_>,
        endpoint: Endpoint,
    ) -> Result<(), Refusal> {
        let (address, port) = endpoint;
        let place = match port {
            0 => address.to_string(),
            _ => format!("{address} port {port}"),
        };
        if let Some(other) = self.members[service.index].endpoints.get(&endpoint) {
            return Err(Refusal::new(
                format!("{place} is backend {} already", other.shown()),
                "for a greater share of the connections, raise its weight",
            ));
        }
        let sharing = self.translated.get(&(endpoint, service.protocol));
        match sharing {
            Some(sharing) if service.forward.translates() && sharing.len() >= MAX_NAT_SHARED => {
                Err(Refusal::new(
                    format!(
                        "{place}/{} is a backend of {MAX_NAT_SHARED} nat or full-nat services \
                         already, the most that may share one: {}",
                        service.protocol,
                        listed(sharing.iter().map(String::as_str))
                    ),
                    "let the server listen on one more port or address for this service",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Takes a name and an endpoint for a backend, as far as they are known.
    pub fn record_backend(
        &mut self,
        service: ServiceFacts<'_>,
        name: Option<&str>,
        endpoint: Option<Endpoint>,
        line: Option<usize>,
    ) {
        self.backends += 1;
        let holder = Holder::new(name.unwrap_or("?"), line);
        let members = &mut self.members[service.index];
        if let Some(name) = name {
            members
                .names
                .entry(name.to_owned())
                .or_insert_with(|| holder.clone());
        }
        let Some(endpoint) = endpoint else { return };
        members.endpoints.entry(endpoint).or_insert(holder);
        if service.forward.translates() {
            self.translated
                .entry((endpoint, service.protocol))
                .or_default()
                .push(service.name.to_owned());
        }
    }

    /// Gives back what a recorded backend took.
    pub fn release_backend(&mut self, service: ServiceFacts<'_>, name: &str, endpoint: Endpoint) {
        self.backends = self.backends.saturating_sub(1);
        let members = &mut self.members[service.index];
        members.names.remove(name);
        members.endpoints.remove(&endpoint);
        let key = (endpoint, service.protocol);
        if let Some(sharing) = self.translated.get_mut(&key) {
            sharing.retain(|other| other != service.name);
            if sharing.is_empty() {
                self.translated.remove(&key);
            }
        }
    }
}

/// Refuses an address that was taken for something, and tells the line of that.
fn not_in(
    taken: &HashMap<IpAddr, Option<usize>>,
    address: IpAddr,
    what: &str,
    help: &str,
) -> Result<(), Refusal> {
    let Some(line) = taken.get(&address) else {
        return Ok(());
    };
    let place = line.map_or_else(String::new, |line| format!(" (line {line})"));
    Err(Refusal::new(format!("{address} is {what}{place}"), help))
}
