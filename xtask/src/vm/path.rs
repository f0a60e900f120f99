//! What a packet's whole way takes: what the program that measures it reports, as the
//! page has it.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::figures::{self, Figure};

/// What is measured. Each of Flowgate's rows takes some minutes: emulated, the kernel's verifier
/// is slow.
pub const SCENARIOS: &[&str] = &[
    "bare redirect, IPv4",
    "flowgate dsr, IPv4, round",
    "flowgate nat, IPv4, round",
    "ip_forward",
    "nft",
    "ipvs",
];
/// The forwarder that does the least.
const BARE: &str = "bare redirect, IPv4, 1 flow";
/// Flowgate's rows, and those that do the same by IPVS; all of them schedule round robin.
const PAIRS: [(&str, &str); 2] = [
    (
        "flowgate dsr, IPv4, round robin, 1 flow",
        "ipvs dr, IPv4, 1 flow",
    ),
    (
        "flowgate nat, IPv4, round robin, 1 flow",
        "ipvs nat, IPv4, 1 flow",
    ),
];
/// The most that Flowgate may take, as a part of what IPVS takes.
const TARGET: f64 = 0.35;

/// The rows of a report. Whatever couldn't be measured is an error: the guest has it all.
pub fn rows(report: &Value) -> Result<Vec<Figure>> {
    let left_out = report["left_out"].as_array();
    if let Some(first) = left_out.and_then(|all| all.first()) {
        bail!("{} was left out: {}", first["forwarder"], first["why"]);
    }
    let rows = report["rows"]
        .as_array()
        .context("the report has no rows")?;
    let figures = rows.iter().map(|row| {
        let lost = row["lost"].as_f64().unwrap_or(1.0);
        let name = row["name"].as_str().context("a row has no name")?;
        if lost > 0.0 {
            bail!("{name}: {:.1} % of the packets got lost", lost * 100.0);
        }
        Ok(Figure {
            name: name.to_owned(),
            count: row["ns"]["median"]
                .as_f64()
                .context("a row has no figure")?,
        })
    });
    figures.collect()
}

/// Both tables: what each forwarder takes, and Flowgate beside IPVS.
pub fn tables(figures: &[Figure]) -> Result<String> {
    let bare = count(figures, BARE)?;
    let mut text =
        String::from("| packet | instructions | above bare redirect |\n|---|---:|---:|\n");
    for Figure { name, count } in figures {
        let _ = writeln!(text, "| {name} | {count:.1} | {:.1} |", count - bare);
    }
    text += "\n| Flowgate | beside | of its instructions | target | above bare redirect |\n\
             |---|---|---:|---|---:|\n";
    for (ours, theirs) in PAIRS {
        let (left, right) = (count(figures, ours)?, count(figures, theirs)?);
        let ratio = left / right;
        let word = if ratio <= TARGET { "met" } else { "missed" };
        let _ = writeln!(
            text,
            "| {ours} | {theirs} | {ratio:.3} | ≤ {TARGET}: {word} | {:.3} |",
            (left - bare) / (right - bare)
        );
    }
    Ok(text)
}

fn count(figures: &[Figure], name: &str) -> Result<f64> {
    figures::find(figures, name).with_context(|| format!("there is no row \"{name}\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(names: &[(&str, f64)]) -> Value {
        let rows: Vec<Value> = names
            .iter()
            .map(|(name, count)| json!({"name": name, "lost": 0.0, "ns": {"median": count}}))
            .collect();
        json!({"left_out": [], "rows": rows})
    }

    #[test]
    fn flowgate_is_compared_with_ipvs() {
        let [(dsr, dr), (nat, masquerading)] = PAIRS;
        let all = [
            (BARE, 1_000.0),
            (dsr, 1_300.0),
            (dr, 4_000.0),
            (nat, 2_000.0),
            (masquerading, 5_000.0),
        ];
        let figures = rows(&report(&all)).expect("it is whole");
        let text = tables(&figures).expect("all are there");
        assert!(text.contains("| 1300.0 | 300.0 |\n"), "{text}");
        assert!(text.contains("| 0.325 | ≤ 0.35: met | 0.100 |\n"), "{text}");
        assert!(
            text.contains("| 0.400 | ≤ 0.35: missed | 0.250 |\n"),
            "{text}"
        );
        let error = tables(&figures[..4]).expect_err("one is missing");
        assert!(error.to_string().contains("ipvs nat"), "{error}");
    }

    #[test]
    fn a_report_with_gaps_is_refused() {
        assert!(rows(&json!({})).is_err());
        assert!(rows(&json!({"rows": [{"name": "a"}]})).is_err());
        assert!(
            rows(&json!({"rows": [{"name": "a", "lost": 0.1, "ns": {"median": 1.0}}]})).is_err()
        );
        let gap = json!({"rows": [], "left_out": [{"forwarder": "ipvs", "why": "no ipvsadm"}]});
        assert!(
            rows(&gap)
                .expect_err("a gap")
                .to_string()
                .contains("no ipvsadm")
        );
    }
}
