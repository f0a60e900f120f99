//! A stand-in for the daemon: it keeps what is desired and answers for it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use flowgate::{
    api::{
        flows::{
            BackendFlows, Connection, FlowAnswer, FlowCensus, FlowCounts, FlowState, FlowView,
            HashView, Remembers, ServiceFlows, Stage, TableMemory,
        },
        server::{Control, ControlError, ErrorKind, serve},
        socket,
        types::{
            ApiError, BackendStats, BackendView, ChangeReply, Counters, DataState, Family,
            HealthState, HealthView, InterfaceView, LinkState, LinkView, PoolView, ReloadReply,
            ServiceStats, ServiceView, Stats, Status, XdpMode,
        },
        vip::{
            ActiveView, ClashView, FailoverAsk, FailoverReply, GroupState, GroupView, RefusedView,
            ReplicationRole, ReplicationView, TrafficView, TransitionView, VipStatus,
        },
        watch::{Ask, Opening, Server, Telling, Told},
    },
    config::model::{AdminState, Backend, Config, Protocol, Service},
    desired::{Change, Desired},
};
use tokio::sync::oneshot;

const FILE: &str = include_str!("../site.toml");

/// A running stand-in; it stops when it is dropped.
pub struct Daemon {
    /// Where it serves.
    pub socket: PathBuf,
    _dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Serves on a fresh socket, on a thread of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flowgate.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, bound) = std::sync::mpsc::channel();
        let socket = path.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = socket::bind(&socket).unwrap();
                ready.send(()).unwrap();
                let config = Config::parse("fake.toml", FILE).unwrap();
                let fake = Fake(Arc::new(Mutex::new(Desired::new(config))));
                let stopped = async {
                    let _ = stopped.await;
                };
                serve(listener, fake, stopped).await.unwrap();
            });
        });
        bound.recv().unwrap();
        Self {
            socket: path,
            _dir: dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Desired>>);

impl Control for Fake {
    async fn status(&self) -> Result<Status, ControlError> {
        let desired = self.0.lock().unwrap();
        Ok(Status {
            version: "0.1.0".to_owned(),
            pid: 4242,
            started: 0,
            interfaces: vec![
                interface("eth0", Some(XdpMode::Native), LinkState::Up),
                interface("eth1", None, LinkState::NoCarrier),
            ],
            full_nat: vec![PoolView {
                family: Family::Ipv6,
                addresses: 1,
                ports: 64_512,
                used: 17,
            }],
            memory: vec![
                memory("flow table", 16 << 20, "2097152 slots of 8 bytes"),
                memory("endpoints", 5_000, "few"),
            ],
            services: desired.config().services.iter().map(view).collect(),
        })
    }

    async fn stats(&self) -> Result<Stats, ControlError> {
        let backends = ["web1", "web2"].map(|name| BackendStats {
            name: name.to_owned(),
            counters: COUNTERS,
        });
        Ok(Stats {
            verdicts: [
                ("forwarded".to_owned(), 12_345_678),
                ("no-service".to_owned(), 3),
            ]
            .into(),
            services: vec![ServiceStats {
                name: "web".to_owned(),
                counters: COUNTERS,
                backends: backends.into(),
            }],
        })
    }

    async fn flows(&self) -> Result<FlowCensus, ControlError> {
        let counts = |state, ages: [u64; 3]| FlowCounts {
            flows: ages.iter().sum(),
            states: [(state, ages.into())].into(),
        };
        let backend = |name: &str, counts| BackendFlows {
            name: name.to_owned(),
            counts,
        };
        let web1 = counts(FlowState::Established, [12_000, 300, 5]);
        let removed = counts(FlowState::Closing, [0, 2, 0]);
        let mut all = web1.clone();
        all.add(&removed);
        Ok(FlowCensus {
            tick_ms: 8_192,
            ages: vec![10, 7_200],
            slots: 1 << 21,
            flows: 12_308,
            services: vec![
                ServiceFlows {
                    name: "web".to_owned(),
                    remembers: Remembers::Flows,
                    counts: all,
                    backends: vec![
                        backend("web1", web1),
                        backend("web2", FlowCounts::default()),
                    ],
                    removed,
                },
                ServiceFlows {
                    name: "hashed".to_owned(),
                    remembers: Remembers::Changes,
                    counts: FlowCounts::default(),
                    backends: Vec::new(),
                    removed: FlowCounts::default(),
                },
            ],
            removed: counts(FlowState::Assured, [1, 0, 0]),
        })
    }

    /// Two connections, of which the second one's backend is gone, and what it hadn't room
    /// for; then it ends.
    async fn watch(&self, ask: Ask) -> Result<Telling, ControlError> {
        let opening = |protocol, client: &str, vip: &str, to| {
            Told::Opened(Opening {
                at_ms: 1_700_000_000_123,
                protocol,
                client: client.parse().unwrap(),
                vip: vip.parse().unwrap(),
                to,
            })
        };
        let service = ask.services.first().map_or("web", String::as_str);
        let to = Server {
            service: service.to_owned(),
            backend: "web1".to_owned(),
            server: "10.0.0.11:8080".parse().unwrap(),
        };
        let told = [
            opening(
                Protocol::Tcp,
                "198.51.100.7:40312",
                "203.0.113.10:80",
                Some(to),
            ),
            opening(
                Protocol::Udp,
                "[2001:db8:c::7]:40312",
                "[2001:db8::10]:53",
                None,
            ),
            Told::NotShown {
                not_shown: 11_345 + u64::from(ask.rate),
            },
        ];
        Ok(Box::pin(futures_util::stream::iter(told)))
    }

    /// By the client's port: 1 is known, 2 and 3 have a hash, others are unknown.
    async fn flow(&self, asked: Connection) -> Result<FlowAnswer, ControlError> {
        let hash = |stage, before: Option<&str>| HashView {
            backend: Some("web1".to_owned()),
            before: before.map(str::to_owned),
            stage,
        };
        let (remembers, flow, hash) = match asked.client.port() {
            1 => {
                let flow = FlowView {
                    backend: Some("web2".to_owned()),
                    state: FlowState::Established,
                    within_ms: 65_536,
                    expired: false,
                    source: Some("10.0.0.20:1031".parse().unwrap()),
                };
                (Remembers::Ports, Some(flow), None)
            }
            2 => (Remembers::Changes, None, Some(hash(Stage::Stable, None))),
            3 => {
                let hash = hash(Stage::Moving, Some("web2"));
                (Remembers::Changes, None, Some(hash))
            }
            _ => (Remembers::Flows, None, None),
        };
        Ok(FlowAnswer {
            service: "web".to_owned(),
            remembers,
            flow,
            hash,
        })
    }

    /// A group that this node is active in, one that it isn't, and replication in trouble.
    async fn vip(&self) -> Result<VipStatus, ControlError> {
        // "3d 5h" ago, for half an hour in either direction.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = now.as_secs() - (3 * 24 + 5) * 3_600 - 1_800;
        let transition = |state, reason: &str| TransitionView {
            at_ms: at * 1_000,
            state,
            reason: reason.to_owned(),
        };
        let traffic = |datagrams, bytes| TrafficView { datagrams, bytes };
        let site = GroupView {
            name: "site".to_owned(),
            state: GroupState::Active,
            since: at,
            reason: "no advertisement from an active node".to_owned(),
            interface: "eth0".to_owned(),
            vrid: 51,
            interval_ms: 20,
            priority: 130,
            configured_priority: 150,
            tracked: vec!["eth1 is down".to_owned()],
            active: None,
            addresses: (1..=9).map(|n| [203, 0, 113, n].into()).collect(),
            transitions: 2,
            last_transitions: vec![
                transition(GroupState::Active, "no advertisement from an active node"),
                transition(GroupState::Standby, "started"),
            ],
            sent: 1_234,
            received: 5,
            discarded: [("checksum".to_owned(), 3), ("vrid".to_owned(), 1)].into(),
            announced: 50,
            lateness_us: 1_250,
            realtime: false,
            clashes: vec![ClashView {
                at,
                peer: [10, 0, 0, 3].into(),
                clash: "its virtual addresses aren't ours: configure the same on both".to_owned(),
            }],
        };
        let other = GroupView {
            name: "other".to_owned(),
            state: GroupState::Standby,
            reason: "started".to_owned(),
            vrid: 52,
            interval_ms: 1_000,
            priority: 100,
            configured_priority: 100,
            tracked: Vec::new(),
            active: Some(ActiveView {
                address: [10, 0, 0, 3].into(),
                priority: 200,
            }),
            addresses: vec![[203, 0, 113, 99].into()],
            discarded: Default::default(),
            realtime: true,
            clashes: Vec::new(),
            last_transitions: vec![transition(GroupState::Standby, "started")],
            ..site.clone()
        };
        Ok(VipStatus {
            groups: vec![site, other],
            replication: Some(ReplicationView {
                role: ReplicationRole::Active,
                peer: "10.0.0.3:5151".parse().unwrap(),
                connected: None,
                in_sync: false,
                lag_ms: Some(41),
                flows_sent: 4_321,
                flows_written: 0,
                sent: traffic(100, 140_000),
                received: traffic(90, 9_000),
                discarded: [("unauthentic".to_owned(), 12)].into(),
                refused: Some(RefusedView {
                    at,
                    reason: "the peer's datagrams don't authenticate".to_owned(),
                }),
                trouble: None,
            }),
        })
    }

    /// One group is handed over, and one nobody takes.
    async fn fail_over(&self, ask: FailoverAsk) -> Result<FailoverReply, ControlError> {
        match ask.group {
            Some(group) => Ok(FailoverReply {
                groups: vec![group],
            }),
            None => Err(ControlError {
                kind: ErrorKind::Refused,
                error: ApiError {
                    error: "this node is active in none of them".to_owned(),
                    hint: "ask that node".to_owned(),
                },
            }),
        }
    }

    async fn change(&self, change: Change) -> Result<ChangeReply, ControlError> {
        Ok(self.0.lock().unwrap().apply(change)?)
    }

    async fn reload(&self) -> Result<ReloadReply, ControlError> {
        Ok(ReloadReply {
            changed: false,
            message: "the configuration is the same".to_owned(),
            warnings: vec!["one thing was dropped".to_owned()],
        })
    }
}

const COUNTERS: Counters = Counters {
    packets: 6_172_839,
    bytes: 9_876_543_210,
    packets_out: 0,
    bytes_out: 0,
    connections: 4_321,
};

fn memory(table: &str, bytes: u64, why: &str) -> TableMemory {
    TableMemory {
        table: table.to_owned(),
        bytes,
        why: why.to_owned(),
    }
}

fn interface(name: &str, mode: Option<XdpMode>, state: LinkState) -> InterfaceView {
    InterfaceView {
        name: name.to_owned(),
        mode,
        state,
        mtu: Some(1_500),
        trouble: mode.is_none().then(|| "nobody is there".to_owned()),
    }
}

fn view(service: &Service) -> ServiceView {
    let takes = |one: &Backend| !one.backup && one.admin == AdminState::Enabled;
    let has_others = service.backends.iter().any(takes);
    let backends = service.backends.iter();
    ServiceView {
        name: service.name.clone(),
        vip: service.vip,
        port: service.port,
        protocol: service.protocol,
        scheduler: service.scheduler,
        source_prefix: service.source_prefix,
        forward: service.forward,
        backends: backends.map(|one| backend_view(one, has_others)).collect(),
        counters: COUNTERS,
    }
}

fn backend_view(backend: &Backend, has_others: bool) -> BackendView {
    let (failed, narrow) = (backend.name == "web2", backend.name == "media1");
    let (state, reason) = match failed {
        true => (HealthState::Failed, Some("connection refused".to_owned())),
        false => (HealthState::Unchecked, None),
    };
    BackendView {
        name: backend.name.clone(),
        address: backend.address,
        port: backend.port,
        weight: backend.weight,
        backup: backend.backup,
        admin: backend.admin.into(),
        health: HealthView {
            state,
            reason,
            since: None,
        },
        link: LinkView::Resolved {
            mac: "02:00:00:00:00:0b".to_owned(),
            interface: "eth0".to_owned(),
            path_mtu: narrow.then_some(1_300),
            trouble: narrow.then(|| "packets over 1300 bytes are answered".to_owned()),
        },
        state: match (failed, backend.admin, backend.backup && has_others) {
            (true, ..) => DataState::Down,
            (_, AdminState::Draining, _) => DataState::Draining,
            (_, AdminState::Enabled, true) => DataState::Standby,
            (_, AdminState::Enabled, false) => DataState::Active,
        },
        counters: COUNTERS,
    }
}
