//! `flowgate flows --watch`: a line for each new connection.

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use super::{Output, client::Asker};
use crate::api::{
    client::{Client, ClientError},
    watch::{Ask, Opening, Told, line},
};

/// Widths of the columns but the last, as IPv4 needs them; longer things push the others aside.
const COLUMNS: [usize; 6] = [24, 5, 21, 21, 12, 12];
const HEADINGS: [&str; 7] = [
    "TIME", "PROTO", "CLIENT", "VIP", "SERVICE", "BACKEND", "SERVER",
];

impl Asker<'_> {
    /// Shows new connections until nobody reads them any more; returns the exit status.
    pub(super) async fn watch(&mut self, client: &Client, ask: &Ask) -> Result<u8, ClientError> {
        let output = self.output;
        client
            .watch(ask, |told| {
                let text = match (output, told) {
                    (Output::Table, None) => row(&HEADINGS),
                    (Output::Table, Some(told)) => shown(&told),
                    (Output::Json, None) => return ControlFlow::Continue(()),
                    (Output::Json, Some(told)) => json(&told),
                };
                self.screen.line(&text)
            })
            .await?;
        Ok(0)
    }
}

fn json(told: &Told) -> String {
    let line = line(told).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn shown(told: &Told) -> String {
    match told {
        Told::Opened(opening) => opened(opening),
        Told::NotShown { not_shown } => format!("… {not_shown} more not shown"),
    }
}

fn opened(opening: &Opening) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(opening.at_ms);
    let plain = |name: &str| name.replace(char::is_control, " ");
    let (service, backend, server) = match &opening.to {
        Some(to) => (
            plain(&to.service),
            plain(&to.backend),
            to.server.to_string(),
        ),
        None => ("(removed)".into(), "(removed)".into(), String::new()),
    };
    let cells = [
        humantime::format_rfc3339_millis(at).to_string(),
        opening.protocol.to_string(),
        opening.client.to_string(),
        opening.vip.to_string(),
        service,
        backend,
        server,
    ];
    row(&cells.each_ref().map(String::as_str))
}

fn row(cells: &[&str; 7]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(COLUMNS) {
        text.push_str(&format!("{cell:<width$}  "));
    }
    text.push_str(cells[6]);
    text.trim_end().to_owned()
}
