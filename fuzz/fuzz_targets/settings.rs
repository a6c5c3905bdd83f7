//! Any text as settings, a line each: nothing panics, and nothing that comes out shows the token.

#![no_main]

use std::collections::BTreeMap;

use bucket_brigade::config::{Config, IngestConfig, ReconcileConfig};
use libfuzzer_sys::fuzz_target;

/// Nothing else that is written in the settings looks like it.
const TOKEN: &str = "s3cr3t~t0ken~of~the~fuzzer";

fuzz_target!(|text: &str| {
    let mut settings: BTreeMap<&str, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    settings.insert("ENDPOINT_TOKEN", TOKEN.to_owned());
    if let Some(url) = settings.get_mut("ENDPOINT_URL") {
        url.push_str("?token=");
        url.push_str(TOKEN);
    }
    let lookup = |name: &str| settings.get(name).cloned();
    let shown = [
        format!("{:?}", Config::parse(lookup).map_err(|errors| errors.to_string())),
        format!("{:?}", IngestConfig::parse(lookup).map_err(|errors| errors.to_string())),
        format!("{:?}", ReconcileConfig::parse(lookup).map_err(|errors| errors.to_string())),
    ];
    for text in shown {
        assert!(!text.contains(TOKEN), "{text}");
    }
});
