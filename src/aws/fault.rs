//! What a failed AWS call says, the same for every service, before a port gives it its own name.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::secrets::SecretError;

/// A failed call, by what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service answered, and the answer is no, or is no answer that can be read.
    Answered {
        status: u16,
        /// The service's own code. The answer to a HEAD has none.
        code: Option<String>,
        message: Option<String>,
        /// S3's `x-amz-bucket-region`: where the bucket is.
        region: Option<String>,
    },
    /// No answer: not connected, broken off, timed out, or credentials that were not to be had
    /// just now.
    Unreachable { reason: String },
    /// The request could not be made: no region, no credentials, a role that may not be assumed.
    /// Only a person can change that.
    Unmade { reason: String },
}

/// Codes that say "later" under a status that says "no". Beside them, whatever has `Throttl` in
/// its code: each service spells that in its own way.
const TRANSIENT_CODES: [&str; 11] = [
    "InternalError",
    "InternalFailure",
    "InternalServiceError",
    "LimitExceededException",
    "OperationAborted",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "TooManyRequestsException",
];

impl Fault {
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(response) = error.raw_response() {
            return Self::Answered {
                status: response.status().as_u16(),
                code: error.code().map(str::to_owned),
                message: match error.message() {
                    Some(_) if quotes_request(error.code()) => None,
                    Some(message) => Some(message.to_owned()),
                    // A good answer that could not be read; the SDK says where.
                    None if response.status().is_success() => Some(chain(error)),
                    None => None,
                },
                region: response
                    .headers()
                    .get("x-amz-bucket-region")
                    .map(str::to_owned),
            };
        }
        let reason = chain(error);
        let lasting = match error {
            SdkError::ConstructionFailure(_) => true,
            SdkError::TimeoutError(_) => false,
            _ => credentials_refused(error),
        };
        match lasting {
            true => Self::Unmade { reason },
            false => Self::Unreachable { reason },
        }
    }

    /// Whether the same request may succeed later, with nobody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Answered { status, code, .. } => {
                // An answer with a good status came here because it could not be read.
                matches!(status, 200..=299 | 408 | 429 | 500..)
                    || code.as_deref().is_some_and(|code| {
                        TRANSIENT_CODES.contains(&code) || code.contains("Throttl")
                    })
            }
            Self::Unreachable { .. } => true,
            Self::Unmade { .. } => false,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Unmade { .. } => None,
        }
    }

    /// The service's code, empty if it gave none.
    pub fn code(&self) -> &str {
        match self {
            Self::Answered { code, .. } => code.as_deref().unwrap_or_default(),
            Self::Unreachable { .. } | Self::Unmade { .. } => "",
        }
    }

    /// The service's message, empty if it gave none.
    pub fn message(&self) -> &str {
        match self {
            Self::Answered { message, .. } => message.as_deref().unwrap_or_default(),
            Self::Unreachable { .. } | Self::Unmade { .. } => "",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered {
                status,
                code,
                message,
                ..
            } => {
                write!(f, "{status}")?;
                if let Some(code) = code {
                    write!(f, " {code}")?;
                }
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => Ok(()),
                }
            }
            Self::Unreachable { reason } | Self::Unmade { reason } => f.write_str(reason),
        }
    }
}

/// Whether the service's message may quote the request as it would have signed it, session token and
/// all (IAM User Guide, "Troubleshoot Signature Version 4 signing").
fn quotes_request(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.contains("Signature"))
}

/// Whether the request was never sent because credentials cannot be had until a person acts.
fn credentials_refused(error: &(dyn Error + 'static)) -> bool {
    let mut credentials = None;
    let mut broken_off = false;
    // Not the error itself: it may be the very refusal to assume a role that is looked into.
    for cause in causes(error).skip(1) {
        if let Some(refused) = cause.downcast_ref::<SecretError>() {
            return matches!(refused, SecretError::Refused { .. });
        }
        if let Some(assume) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            return !Fault::of(assume).is_transient();
        }
        if let Some(found) = cause.downcast_ref::<CredentialsError>() {
            credentials = Some(found);
        }
        if let Some(connector) = cause.downcast_ref::<ConnectorError>() {
            broken_off |= connector.is_io() || connector.is_timeout();
        }
    }
    match credentials {
        Some(
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_),
        ) => true,
        Some(CredentialsError::ProviderTimedOut(_)) | None => false,
        // An SSO session that is over, a process that failed, a metadata service that says no;
        // unless it was only the way there that failed.
        Some(_) => !broken_off,
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| Error::source(*error))
}

/// The error and its causes in one line, each once. None of them holds a payload: the SDK's
/// errors name operations, codes and sockets.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        // Some list their attempts on lines of their own.
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> Fault {
        Fault::Answered {
            status,
            code: code.map(str::to_owned),
            message: None,
            region: None,
        }
    }

    #[test]
    fn a_message_that_quotes_the_request_is_told_from_the_others() {
        for code in [
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
        ] {
            assert!(quotes_request(Some(code)), "{code}");
        }
        assert!(!quotes_request(Some("AccessDenied")));
        assert!(!quotes_request(None));
    }

    #[test]
    fn what_may_succeed_later_is_told_from_what_may_not() {
        for (status, code, transient) in [
            (500, None, true),
            (503, Some("SlowDown"), true),
            (429, None, true),
            (400, Some("RequestTimeout"), true),
            (400, Some("ThrottlingException"), true),
            (403, Some("RequestThrottled"), true),
            (400, Some("KMS.ThrottlingException"), true),
            (400, Some("ProvisionedThroughputExceededException"), true),
            (400, None, false),
            (403, Some("AccessDenied"), false),
            (404, Some("NoSuchKey"), false),
            (400, Some("ResourceNotFoundException"), false),
        ] {
            let fault = answered(status, code);
            assert_eq!(fault.is_transient(), transient, "{fault}");
        }
    }
}
