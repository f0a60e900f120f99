//! A stand-in for the daemon: it keeps what is desired and answers for it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use flowgate::{
    api::{
        server::{Control, ControlError, serve},
        socket,
        types::{
            BackendStats, BackendView, ChangeReply, Counters, DataState, Family, HealthState,
            HealthView, InterfaceView, LinkState, LinkView, PoolView, ReloadReply, ServiceStats,
            ServiceView, Stats, Status, XdpMode,
        },
    },
    config::model::{AdminState, Backend, Config, Service},
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
    ServiceView {
        name: service.name.clone(),
        vip: service.vip,
        port: service.port,
        protocol: service.protocol,
        scheduler: service.scheduler,
        source_prefix: service.source_prefix,
        forward: service.forward,
        backends: service.backends.iter().map(backend_view).collect(),
        counters: COUNTERS,
    }
}

fn backend_view(backend: &Backend) -> BackendView {
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
        state: match (failed, backend.admin) {
            (true, _) => DataState::Down,
            (false, AdminState::Draining) => DataState::Draining,
            (false, AdminState::Enabled) => DataState::Active,
        },
        counters: COUNTERS,
    }
}
