//! Sampled packets in the log: the program writes a verdict's number, we its name.

use aya_log::EbpfLogger;
use lb_common::verdict::Verdict;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::{info, warn};

use crate::datapath::Object;

/// Passes on what the program of an interface logs. The object is kept, for it owns the
/// log's buffer.
pub(super) fn follow(interface: String, mut object: Object) {
    let samples = Samples {
        interface: interface.clone(),
    };
    let logger = match EbpfLogger::init_with_logger(&mut object.ebpf, samples) {
        Ok(logger) => logger,
        Err(error) => {
            warn!(interface, "no samples will be logged: {error}");
            return;
        }
    };
    // SAFETY: the logger owns its ring buffer's descriptor, keeps it open as long as it
    // lives, and always returns that one.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    tokio::spawn(async move {
        let _object = object;
        let Ok(mut logger) = logger else { return };
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
}

struct Samples {
    interface: String,
}

impl Log for Samples {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        let (verdict, length) = read(&text);
        info!(interface = self.interface, length, verdict, "packet");
    }

    fn flush(&self) {}
}

/// The verdict's label and the packet's length, of "verdict=N length=L".
fn read(text: &str) -> (&str, &str) {
    let field = |name| {
        let value = text.split(' ').find_map(|word| word.strip_prefix(name));
        value.unwrap_or("unreadable")
    };
    let number = field("verdict=");
    let verdict = Verdict::ALL
        .iter()
        .find(|verdict| (**verdict as u32).to_string() == number);
    (
        verdict.map_or(number, |verdict| verdict.label()),
        field("length="),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_told_by_its_name() {
        assert_eq!(read("verdict=17 length=60"), ("forward_new", "60"));
        assert_eq!(read("verdict=999 length=60"), ("999", "60"));
        assert_eq!(read("garbage"), ("unreadable", "unreadable"));
    }
}
