//! The arguments that `sync` and `ship` share, parsed once into what they mean.
//!
//! Goes in: arguments, the environment for what they leave open. Comes out: ports, bounds, or an error
//! that says what to do. The token is no argument: a process's arguments are anyone's to read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::crew::CrewBounds;
use super::destination::{Destination, FileToken, GivenToken, StdoutSink, Way, read_token};
use super::place::Keep;
use crate::aws::{Aws, AwsSettings};
use crate::config::{Config, ConfigErrors, Endpoint, EndpointKind, WatchedPrefix, environment};
use crate::failure::Failure;
use crate::function::ConfiguredToken;
use crate::ledger::LedgerError;
use crate::pipeline::OBJECTS_HELD_MAX;
use crate::quarantine::QuarantinePlace;
use crate::quarantine::dir::DirQuarantine;
use crate::quarantine::s3::S3Quarantine;
use crate::sink::endpoint::EndpointSink;
use crate::sink::routed::RoutedSink;
use crate::tls;
use crate::token::{FixedToken, Token};

/// Why a command did not come to its account, by its exit code.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// 2: the command cannot be done as it was asked for.
    #[error("{0}")]
    Usage(String),
    /// 1: it began and could not go on.
    #[error("{0}")]
    Failed(String),
}

impl ToolError {
    pub fn usage(reason: impl std::fmt::Display) -> Self {
        Self::Usage(reason.to_string())
    }

    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

impl From<LedgerError> for ToolError {
    fn from(error: LedgerError) -> Self {
        Self::failed(error)
    }
}

impl From<Failure> for ToolError {
    fn from(failure: Failure) -> Self {
        Self::failed(failure)
    }
}

/// What the endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The Logz.io bulk listener.
    Logzio,
    /// Any receiver of NDJSON or lines over POST.
    Http,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Logzio => "logzio",
            Kind::Http => "http",
        }
    }
}

impl From<Kind> for EndpointKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Logzio => Self::Logzio,
            Kind::Http => Self::Http,
        }
    }
}

/// Where records go.
#[derive(Clone, Debug, Args)]
pub struct EndpointArgs {
    /// Where records go: a URL, or `stdout` for a record a line [env: ENDPOINT_URL]
    #[arg(long, value_name = "URL|stdout", help_heading = "Endpoint")]
    pub to: Option<String>,
    /// What the endpoint speaks [env: ENDPOINT_KIND] [default: logzio]
    #[arg(long, value_enum, help_heading = "Endpoint")]
    pub kind: Option<Kind>,
    /// The Logz.io type of every record [env: LOG_TYPE] [default: that of the source, else http-bulk]
    #[arg(long = "type", value_name = "TYPE", help_heading = "Endpoint")]
    pub log_type: Option<String>,
    /// A file that holds the token, read again when it is refused; without it the token is taken from
    /// ENDPOINT_TOKEN
    #[arg(long, value_name = "FILE", help_heading = "Endpoint")]
    pub token_file: Option<PathBuf>,
    /// Give each record a field s3_object_key with bucket/key
    #[arg(long, help_heading = "Endpoint")]
    pub add_source_field: bool,
}

/// What goes where, as what, and what is left out.
#[derive(Clone, Debug, Default, Args)]
pub struct RulesArgs {
    /// A rules file, see docs/rules.md [env: RULES_URL, or RULES for the rules themselves]
    #[arg(
        long,
        value_name = "FILE|s3://BUCKET/KEY",
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        help_heading = "Endpoint"
    )]
    pub rules: Option<String>,
}

/// As whom S3 is read, and where it is.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// An S3-compatible store instead of AWS; buckets go into the path [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL", help_heading = "Store")]
    pub endpoint_url: Option<String>,
    /// The region of the bucket [env: AWS_REGION]
    #[arg(long, help_heading = "Store")]
    pub region: Option<String>,
    /// A profile of ~/.aws/config, single sign-on included [env: AWS_PROFILE]
    #[arg(long, help_heading = "Store")]
    pub profile: Option<String>,
}

/// Where the rest of the work is kept, and how it is bounded.
#[derive(Clone, Debug, Args)]
pub struct WorkArgs {
    /// Where objects and records are kept that can never succeed: a folder or s3://bucket/prefix
    #[arg(
        long,
        value_name = "PLACE",
        default_value = "brigade-quarantine",
        help_heading = "Work"
    )]
    pub quarantine: String,
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// How work is bounded.
#[derive(Clone, Debug, Args)]
pub struct PaceArgs {
    /// How many objects are read at once [env: OBJECTS_IN_FLIGHT_MAX] [default: 4]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub objects_in_flight: Option<usize>,
    /// How many requests are under way at once [env: REQUESTS_IN_FLIGHT_MAX] [default: 4]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub requests_in_flight: Option<usize>,
    /// How long an object may go without progress before it is given up, as 90s, 15m or 2h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration, help_heading = "Work")]
    pub patience: Duration,
    /// Show no progress; the last line of standard output is the account as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// TLS for everything that leaves the process, with the authorities of `SSL_CERT_FILE`.
pub fn tls_config() -> Result<rustls::ClientConfig, ToolError> {
    let file = environment("SSL_CERT_FILE").filter(|file| !file.is_empty());
    tls::client_config(file.as_deref().map(Path::new)).map_err(ToolError::usage)
}

/// `500ms`, `5s`, `15m`, `2h`, `1d`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time above zero such as 500ms, 5s, 15m, 2h or 1d".to_owned();
    let split = text.find(|char: char| !char.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    match number.checked_mul(unit_ms) {
        Some(ms @ 1..) => Ok(Duration::from_millis(ms)),
        Some(0) | None => Err(expected()),
    }
}

impl EndpointArgs {
    /// Whether records go to standard output, which then holds nothing else but the JSON account.
    pub fn is_stdout(&self) -> bool {
        self.to.as_deref() == Some("stdout")
    }

    /// The destination, its kind, and the type of all records, if there is one. Tokens of the endpoints of rules
    /// are read with the credentials of `aws`.
    pub fn destination(
        &self,
        tls: &rustls::ClientConfig,
        aws: &Aws,
    ) -> Result<(Destination, EndpointKind, Option<String>), ToolError> {
        if self.is_stdout() {
            let kind = self.kind.unwrap_or(Kind::Logzio).into();
            let destination = Destination::new(Way::Stdout(StdoutSink));
            return Ok((destination, kind, self.log_type.clone()));
        }
        let (token, given) = self.token()?;
        let endpoint = Endpoint::parse(|name| match name {
            "ENDPOINT_URL" => self.to.clone().or_else(|| environment(name)),
            "ENDPOINT_KIND" => self
                .kind
                .map(|kind| kind.as_str().to_owned())
                .or_else(|| environment(name)),
            "LOG_TYPE" => self.log_type.clone().or_else(|| environment(name)),
            "ENDPOINT_TOKEN" => token.as_ref().map(|token| token.reveal().to_owned()),
            _ => None,
        })
        .map_err(|errors| refused(&errors))?;
        let client = tls::http_client(tls).map_err(ToolError::failed)?;
        let sink = EndpointSink::new(client.clone(), &endpoint, given);
        let sink = sink.ok_or_else(|| ToolError::usage(NO_TOKEN))?;
        let aws = aws.config().clone();
        let token = move |place: &_| ConfiguredToken::new(place, &aws).map(GivenToken::Configured);
        let sink = RoutedSink::new(sink, client, Box::new(token));
        let destination = Destination::new(Way::Endpoint(sink));
        Ok((destination, endpoint.kind, endpoint.log_type))
    }

    fn token(&self) -> Result<(Option<Token>, Option<GivenToken>), ToolError> {
        if let Some(path) = &self.token_file {
            let token = read_token(path).map_err(ToolError::usage)?;
            let given = GivenToken::File(FileToken::new(path));
            return Ok((Some(token), Some(given)));
        }
        let token = environment("ENDPOINT_TOKEN").map(|token| Token::new(token.trim()));
        let token = token.filter(|token| !token.reveal().is_empty());
        let given = token
            .clone()
            .map(|token| GivenToken::Fixed(FixedToken(token)));
        Ok((token, given))
    }
}

const NO_TOKEN: &str = "no token: put it into ENDPOINT_TOKEN, or into a file and give --token-file; \
     an endpoint without one is --kind http";

/// All problems of the settings, by the arguments that set them here.
fn refused(errors: &ConfigErrors) -> ToolError {
    let problems: Vec<String> = errors
        .problems()
        .iter()
        .map(|problem| in_words_of_the_tool(problem.name, &problem.to_string()))
        .collect();
    ToolError::Usage(problems.join("; "))
}

fn in_words_of_the_tool(name: &str, problem: &str) -> String {
    match name {
        "ENDPOINT_URL" => problem.replacen("ENDPOINT_URL", "--to", 1),
        "ENDPOINT_KIND" => problem.replacen("ENDPOINT_KIND", "--kind", 1),
        "LOG_TYPE" => problem.replacen("LOG_TYPE", "--type", 1),
        "SINCE" => problem.replacen("SINCE", "--since", 1),
        "RULES_URL" => problem.replacen("RULES_URL", "--rules", 1),
        "ENDPOINT_TOKEN_ARN" => NO_TOKEN.to_owned(),
        _ => problem.to_owned(),
    }
}

impl StoreArgs {
    pub async fn aws(&self, tls: &rustls::ClientConfig) -> Result<Aws, ToolError> {
        let settings = AwsSettings {
            endpoint_url: self.endpoint_url.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            ..AwsSettings::default()
        };
        Aws::load(settings, tls).await.map_err(ToolError::usage)
    }
}

/// Variables that mean for the tool what they mean for the functions.
const SHARED: &[&str] = &[
    "ADD_TIMESTAMP",
    "RULES",
    "RULES_URL",
    "RULES_REFRESH_MS",
    "AWS_REGION",
    "OBJECTS_IN_FLIGHT_MAX",
    "REQUESTS_IN_FLIGHT_MAX",
    "BATCH_BYTES_MAX",
    "RECORD_BYTES_MAX",
    "PART_BYTES",
    "RESTORE_INTERVAL_BYTES",
    "OBJECT_PLAIN_BYTES_MAX",
    "EXPANSION_MAX",
    "BODY_BYTES_IN_FLIGHT_MAX",
    "SHARE_LINGER_MS",
    "ATTEMPTS_MAX",
    "DELIVERY_TIMEOUT_MS",
    "SSL_CERT_FILE",
];

/// The settings of the environment, with what the arguments say in their place.
pub fn settings(
    kind: EndpointKind,
    rules: &RulesArgs,
    said: impl Fn(&str) -> Option<String>,
) -> Result<Config, ToolError> {
    let shared = |name: &str| SHARED.contains(&name).then(|| environment(name)).flatten();
    Config::parse(|name| match (name, &rules.rules) {
        ("ENDPOINT_KIND", _) => Some(
            match kind {
                EndpointKind::Logzio => "logzio",
                EndpointKind::Http => "http",
            }
            .to_owned(),
        ),
        ("RULES", Some(_)) => None,
        ("RULES_URL", Some(place)) => Some(place.clone()),
        _ => said(name).or_else(|| shared(name)),
    })
    .map_err(|errors| refused(&errors))
}

impl PaceArgs {
    /// The settings of the environment, with what these and other arguments say in their place.
    pub fn config(
        &self,
        kind: EndpointKind,
        rules: &RulesArgs,
        since: Option<&str>,
    ) -> Result<Config, ToolError> {
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        settings(kind, rules, |name| match name {
            "OBJECTS_IN_FLIGHT_MAX" => number(self.objects_in_flight),
            "REQUESTS_IN_FLIGHT_MAX" => number(self.requests_in_flight),
            "SINCE" => since.map(str::to_owned),
            _ => None,
        })
    }

    pub fn crew(&self) -> CrewBounds {
        CrewBounds {
            objects_held_max: OBJECTS_HELD_MAX,
            patience: self.patience,
        }
    }
}

impl WorkArgs {
    /// The place of quarantine: not where it would be listed, or what is put away would come back as
    /// work.
    pub fn keep(
        &self,
        aws: Option<&Aws>,
        listed: Option<&WatchedPrefix>,
    ) -> Result<Keep, ToolError> {
        let place = QuarantinePlace::parse(&self.quarantine).map_err(ToolError::usage)?;
        if let (QuarantinePlace::S3(place), Some(listed)) = (&place, listed)
            && listed.touches(place)
        {
            return Err(ToolError::Usage(format!(
                "quarantine at {} would be carried in its turn: choose a place that does not lie \
                 under {listed}",
                self.quarantine
            )));
        }
        match (place, aws) {
            (QuarantinePlace::Dir(root), _) => Ok(Keep::Dir(DirQuarantine::new(root))),
            (QuarantinePlace::S3(place), Some(aws)) => {
                Ok(Keep::S3(S3Quarantine::new(aws.s3(), place)))
            }
            (QuarantinePlace::S3(_), None) => Err(ToolError::usage(
                "files are put away into a folder: give --quarantine FOLDER",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("7", 7_000),
            ("15m", 900_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "-1s",
            "5 s",
            "1w",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
