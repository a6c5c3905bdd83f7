//! The endpoint: its address, what it speaks, and where its token is.

use std::fmt;

use url::{Host, Url};

use super::reader::{ConfigErrors, Parsed, Reader, Reported};
use super::{arn, vars, web_url};
use crate::token::Token;

/// Bytes of the largest body that the Logz.io listener takes, uncompressed
/// (Logz.io documentation, `docs/shipping/Code/http.md`, "Limitations").
pub(super) const LOGZIO_BODY_BYTES_MAX: usize = 10_485_760;

const ENDPOINT_URL: &str = "a URL such as https://listener.logz.io:8071";
const LOG_TYPE: &str = "text without spaces";

/// Where records go.
#[derive(Clone)]
pub struct Endpoint {
    /// `https`, or loopback; without user, fragment, token and type.
    pub url: Url,
    pub kind: EndpointKind,
    /// Always there for Logz.io.
    pub token: Option<TokenPlace>,
    /// For Logz.io: the type of every record, if it is not to be that of the source.
    pub log_type: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// The Logz.io bulk listener.
    Logzio,
    /// Any receiver of NDJSON over POST.
    Http,
}

/// Where the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    Given(Token),
    /// The ARN of a Secrets Manager secret.
    Secret(String),
    /// The ARN of an SSM parameter.
    Parameter(String),
}

impl Endpoint {
    /// The endpoint alone, for a program that takes it from its arguments: `lookup` is asked for
    /// `ENDPOINT_URL`, `ENDPOINT_KIND`, `ENDPOINT_TOKEN`, `ENDPOINT_TOKEN_ARN` and `LOG_TYPE`.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let endpoint = Self::read(&mut reader);
        reader.finish(endpoint)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let url = reader.required(&vars::ENDPOINT_URL, ENDPOINT_URL, endpoint_url);
        let kind = EndpointKind::read(reader);
        let token = TokenPlace::read(reader, kind);
        let log_type = reader.optional(&vars::LOG_TYPE, |text| {
            let plain = !text.contains(|char: char| char.is_whitespace() || char.is_control());
            plain.then(|| text.to_owned()).ok_or(LOG_TYPE.to_owned())
        });
        Ok(Self {
            url: url?,
            kind: kind?,
            token: token?,
            log_type: log_type?,
        })
    }
}

impl fmt::Debug for Endpoint {
    /// A path or a query may be as good as a password, so neither is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("kind", &self.kind)
            .field("token", &self.token)
            .field("log_type", &self.log_type)
            .finish()
    }
}

impl EndpointKind {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        const EXPECTED: &str = "logzio or http";
        reader.required(&vars::ENDPOINT_KIND, EXPECTED, |text| match text {
            "logzio" => Ok(Self::Logzio),
            "http" => Ok(Self::Http),
            _ => Err(EXPECTED.to_owned()),
        })
    }
}

impl TokenPlace {
    /// The place that an ARN names; else what was expected, without what was given.
    pub(crate) fn from_arn(text: &str) -> Result<Self, String> {
        match arn(text) {
            Some(("secretsmanager", resource)) if resource.starts_with("secret:") => {
                Ok(Self::Secret(text.to_owned()))
            }
            Some(("ssm", resource)) if resource.starts_with("parameter/") => {
                Ok(Self::Parameter(text.to_owned()))
            }
            _ => Err("the ARN of a Secrets Manager secret or an SSM parameter".to_owned()),
        }
    }

    fn read(
        reader: &mut Reader<'_>,
        kind: Result<EndpointKind, Reported>,
    ) -> Result<Option<Self>, Reported> {
        let given = reader.optional(&vars::ENDPOINT_TOKEN, |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            plain
                .then(|| Self::Given(Token::new(text)))
                .ok_or("printable characters without spaces".to_owned())
        });
        let kept = reader.optional(&vars::ENDPOINT_TOKEN_ARN, Self::from_arn);
        match (given?, kept?, kind?) {
            (Some(_), Some(_), _) => Err(reader.refuse(
                &vars::ENDPOINT_TOKEN,
                "to be absent, since ENDPOINT_TOKEN_ARN is set",
            )),
            (None, None, EndpointKind::Logzio) => Err(reader.refuse(
                &vars::ENDPOINT_TOKEN_ARN,
                "the ARN of a Secrets Manager secret or an SSM parameter \
                 (or, for local use, ENDPOINT_TOKEN)",
            )),
            (None, None, EndpointKind::Http) => Ok(None),
            (Some(place), None, _) | (None, Some(place), _) => Ok(Some(place)),
        }
    }
}

/// The address of an endpoint; else what was expected, without what was given, which may hold a secret.
pub(crate) fn endpoint_url(text: &str) -> Parsed<Url> {
    let url = web_url(text).map_err(|_| ENDPOINT_URL.to_owned())?;
    let ours = |name: &str| name.eq_ignore_ascii_case("token") || name.eq_ignore_ascii_case("type");
    let expected = if url.scheme() != "https" && !is_loopback(&url) {
        "https, except to loopback"
    } else if !url.username().is_empty() || url.password().is_some() {
        "no user and password in the URL"
    } else if url.fragment().is_some() {
        "no fragment in the URL"
    } else if url.query_pairs().any(|(name, _)| ours(&name)) {
        "no token or type in the URL: they have settings of their own"
    } else {
        return Ok(url);
    };
    Err(expected.to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
