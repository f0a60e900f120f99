//! Keeps a [`NetState`] true and next hops resolved, through netlink.
//!
//! Two sockets: one hears announcements, the other asks. An announcement that
//! arrives while a dump is read is applied after it. Applying an announcement
//! twice, or old ones again, leads to the same picture, so none is missed.

use std::{net::IpAddr, sync::Arc, time::Instant};

use futures_util::{FutureExt, Stream, StreamExt};
use rtnetlink::{
    Handle, MulticastGroup, new_connection, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourFlags, NeighbourState},
    },
    proto::sys::AsyncSocket,
    sys::SocketAddr,
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet, time};
use tracing::{error, warn};

use super::{
    NetState,
    dump::dump,
    resolve::{RETRY, Resolver},
    state::Applied,
};

/// Bytes of announcements that the kernel may hold for us (it may grant less).
const RECEIVE_BUFFER: u32 = 1 << 20;

/// Why the kernel can't be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    /// No netlink socket.
    #[error("can't open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused to tell what it knows.
    #[error("can't read {what} from the kernel: {why}")]
    Dump {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        why: String,
    },
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    wanted: watch::Sender<Vec<IpAddr>>,
    /// Dropping them ends them.
    _tasks: JoinSet<()>,
}

impl Watcher {
    /// Begins to watch the network namespace of the thread that first polls
    /// this. The receiver holds a whole picture from the start; it tells of
    /// every change, several at a time when they come fast. It reports that
    /// its sender is gone if netlink breaks, after an error in the log.
    ///
    /// Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When the kernel gives no socket or doesn't answer on it.
    pub async fn start() -> Result<(Self, watch::Receiver<Arc<NetState>>), WatchError> {
        let (mut hearing, _, announcements) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let socket = hearing.socket_mut().socket_mut();
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        let (mut asking, handle, _) = new_connection()?;
        // The end of a dump says whether it is consistent.
        asking.set_forward_done(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(hearing);
        tasks.spawn(asking);

        let state = dump(&handle).await?;
        let (published, receiver) = watch::channel(Arc::new(state.clone()));
        let (wanted, wants) = watch::channel(Vec::new());
        let keeper = Keeper {
            handle,
            state,
            published,
            wants,
            resolver: Resolver::default(),
            resync: false,
            last_error: None,
        };
        tasks.spawn(keeper.run(announcements));
        let watcher = Self {
            wanted,
            _tasks: tasks,
        };
        Ok((watcher, receiver))
    }

    /// Sets the addresses to which frames will be sent, in place of those set
    /// before. Their next hops are resolved at once, again every second while
    /// that fails, and are kept from being forgotten. An IPv6 link-local address stands
    /// for the routers that have it, on whatever links routes lead through them.
    pub fn want(&self, destinations: Vec<IpAddr>) {
        self.wanted.send_replace(destinations);
    }
}

/// An announcement and who sent it.
type Announcement = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// What the watching task holds.
struct Keeper {
    handle: Handle,
    state: NetState,
    published: watch::Sender<Arc<NetState>>,
    wants: watch::Receiver<Vec<IpAddr>>,
    resolver: Resolver,
    /// The picture may be wrong and must be taken anew.
    resync: bool,
    /// The last complaint, so that it isn't repeated every second.
    last_error: Option<String>,
}

impl Keeper {
    async fn run(mut self, mut announcements: impl Stream<Item = Announcement> + Unpin) {
        let mut tick = time::interval(RETRY);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = announcements.next() => match news {
                    Some((message, _)) => self.hear(&message),
                    None => return error!("the netlink socket broke: restart the daemon"),
                },
                changed = self.wants.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
            }
            self.settle(&mut announcements).await;
            if **self.published.borrow() != self.state {
                self.published.send_replace(Arc::new(self.state.clone()));
            }
            self.resolve().await;
        }
    }

    fn hear(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        match &message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                self.resync |= self.state.apply(inner) == Applied::Resync;
            }
            NetlinkPayload::Overrun(_) => self.resync = true,
            _ => {}
        }
    }

    /// Takes in all that is there to be taken in, with a new dump where needed.
    async fn settle(&mut self, announcements: &mut (impl Stream<Item = Announcement> + Unpin)) {
        self.drain(announcements);
        while self.resync {
            match dump(&self.handle).await {
                Ok(state) => self.state = state,
                // It is tried again at the next tick.
                Err(error) => return self.complain(error.to_string()),
            }
            self.resync = false;
            self.drain(announcements);
        }
    }

    fn drain(&mut self, announcements: &mut (impl Stream<Item = Announcement> + Unpin)) {
        while let Some(Some((message, _))) = announcements.next().now_or_never() {
            self.hear(&message);
        }
    }

    /// Has the kernel resolve what is wanted and not known.
    async fn resolve(&mut self) {
        let wanted = self.wants.borrow_and_update().clone();
        for (ifindex, via) in self.resolver.due(&self.state, &wanted, Instant::now()) {
            // As `ip neigh replace … nud none use`: an entry is made if there is
            // none, and the kernel takes it as if it had a packet for it.
            let used = self
                .handle
                .neighbours()
                .add(ifindex, via)
                .state(NeighbourState::None)
                .flags(NeighbourFlags::Use)
                .replace()
                .execute()
                .await;
            match used {
                Ok(()) => self.last_error = None,
                // Nor will the others find room.
                Err(error) if is_full(&error) => return self.complain(full_table(via)),
                Err(error) => self.complain(format!("can't resolve neighbour {via}: {error}")),
            }
        }
    }

    fn complain(&mut self, error: String) {
        if self.last_error.as_ref() != Some(&error) {
            warn!("{error}");
            self.last_error = Some(error);
        }
    }
}

/// Whether the kernel has no room for another neighbour.
fn is_full(error: &rtnetlink::Error) -> bool {
    let full = rustix::io::Errno::NOBUFS.raw_os_error();
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -full)
}

fn full_table(neighbour: IpAddr) -> String {
    let version = if neighbour.is_ipv4() { "ipv4" } else { "ipv6" };
    format!(
        "the kernel's neighbour table is full, so not all servers can be reached: `sysctl -w net.{version}.neigh.default.gc_thresh3=65536` makes it larger"
    )
}
