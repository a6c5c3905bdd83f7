//! What the function is measured against, each as a process of its own: `yardstick NAME JSON`.
//!
//! A yardstick does its work, writes one line of JSON about it and waits for the end of standard
//! input, so that the driver can read its CPU time and memory while it is still there.

mod calls;
mod inflate;
mod plain;
mod start;

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;

use bucket_brigade::tls;
use serde::de::DeserializeOwned;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("expected the name of a yardstick")?;
    let input = arguments.next().unwrap_or_else(|| "{}".to_owned());
    let about = match name.as_str() {
        "calls" => calls::run(read(&input)?).await?,
        "inflate" => inflate::inflate(&read(&input)?)?,
        "plain" => plain::run(read(&input)?).await?,
        "recode" => inflate::recode(&read(&input)?)?,
        "start" => start::run().await?,
        _ => return Err(format!("no such yardstick: {name}").into()),
    };
    writeln!(std::io::stdout(), "{about}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn read<T: DeserializeOwned>(input: &str) -> Outcome<T> {
    Ok(serde_json::from_str(input)?)
}

/// The same client as the function's own, so that TLS and HTTP cost the same.
fn http_client(roots: Option<&PathBuf>) -> Outcome<reqwest::Client> {
    let tls = tls::client_config(roots.map(PathBuf::as_path))?;
    Ok(tls::http_client(&tls)?)
}

async fn post(client: &reqwest::Client, endpoint: &str, body: Vec<u8>) -> Outcome<()> {
    let request = client
        .post(endpoint)
        .header("content-encoding", "gzip")
        .body(body);
    request.send().await?.error_for_status()?;
    Ok(())
}
