//! No text makes the reader panic.

use flowgate::config::model::Config;
use proptest::prelude::*;

/// Text of the words that configurations are made of, so that the readers
/// behind the TOML parser are reached.
fn plausible() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "vip",
        "port",
        "protocol",
        "scheduler",
        "forward",
        "health",
        "backend",
        "address",
        "weight",
        "backup",
        "source_prefix",
        "state",
        "interfaces",
        "max_flows",
        "kind",
        "path",
        "expect",
        "jitter",
        "interval",
        "timeout",
        "rise",
        "syn",
        "established",
        "source",
        "addresses",
        "ports",
        "encapsulation",
        "gue_port",
        "é",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "80",
        "\"80\"",
        "\"tcp\"",
        "\"10.0.0.1\"",
        "\"web\"",
        "[\"eth0\"]",
        "{}",
        "[{}]",
        "\"dsr\"",
        "\"source\"",
        "\"maglev\"",
        "\"nat\"",
        "\"tunnel\"",
        "\"gue\"",
        "\"full-nat\"",
        "\"2001:db8::1\"",
        "\"2001:db8::/64\"",
        "\"10.0.0.0/8\"",
        "[\"10.0.0.9\"]",
        "[\"::/0\", \"10.0.0.0/9\"]",
        "\"5000-5999\"",
        "\"24h\"",
        "\"5%\"",
        "\"1s\"",
        "\"200-299\"",
        "1.5",
        "inf",
        "true",
        "1979-05-27",
        "\"é\"",
        "[[1]]",
        "{ kind = \"http\", path = \"/\" }",
        "0xffff",
    ]);
    let header = prop::sample::select(vec![
        "[node]",
        "[[service]]",
        "[[service.backend]]",
        "[service.health]",
        "[service]",
        "[timeouts]",
        "[tunnel]",
        "[full_nat]",
    ]);
    let line = prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header.prop_map(str::to_owned),
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Err(errors) = Config::parse("x", &text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_plausible_text_makes_the_reader_panic(text in plausible()) {
        if let Err(errors) = Config::parse("x", &text) {
            prop_assert!(!errors.errors.is_empty());
            let lines: Vec<_> = errors.errors.iter().map(|error| error.place.as_ref().map(|place| place.line)).collect();
            prop_assert!(lines.is_sorted());
        }
    }
}
