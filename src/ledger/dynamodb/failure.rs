//! What a failed request to DynamoDB means for the caller.
//!
//! Texts name the operation and the service's code. The service's own message is added only where
//! it cannot quote the request: that of a bad signature holds the session token.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::ledger::LedgerError;

pub fn failure<E>(operation: &str, error: SdkError<E, HttpResponse>) -> LedgerError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(credentials) = cause::<CredentialsError>(&error) {
        let reason = format!("{operation}: {credentials}");
        return match credentials {
            CredentialsError::ProviderTimedOut(_) => LedgerError::Unavailable { reason },
            _ => LedgerError::Refused { reason },
        };
    }
    match error {
        // A whole answer that makes no sense comes as an error of the service, too.
        SdkError::ServiceError(context) if context.raw().status().is_success() => {
            LedgerError::Unavailable {
                reason: format!("{operation}: the answer could not be read"),
            }
        }
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            answered(operation, status, context.err())
        }
        SdkError::ConstructionFailure(_) => LedgerError::Refused {
            reason: format!("{operation}: the request could not be built"),
        },
        SdkError::TimeoutError(_) => LedgerError::Unavailable {
            reason: format!("{operation}: timed out"),
        },
        SdkError::DispatchFailure(failure) if failure.is_user() => LedgerError::Refused {
            reason: format!("{operation}: the request could not be sent"),
        },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => LedgerError::Unavailable {
            reason: format!("{operation}: timed out"),
        },
        SdkError::DispatchFailure(_) => LedgerError::Unavailable {
            reason: format!("{operation}: no connection"),
        },
        SdkError::ResponseError(_) => LedgerError::Unavailable {
            reason: format!("{operation}: the answer could not be read"),
        },
        // The enum is open; whatever else fails may succeed later, and nothing is lost by trying.
        _ => LedgerError::Unavailable {
            reason: format!("{operation}: failed"),
        },
    }
}

fn answered(operation: &str, status: u16, error: &impl ProvideErrorMetadata) -> LedgerError {
    let code = error.code().unwrap_or("no code");
    let mut reason = format!("{operation}: {code} (status {status})");
    match code {
        "AccessDeniedException" | "ResourceNotFoundException" | "ValidationException" => {
            if let Some(message) = error.message() {
                reason.push_str(": ");
                reason.push_str(message);
            }
            LedgerError::Refused { reason }
        }
        "InternalServerError"
        | "LimitExceededException"
        | "ProvisionedThroughputExceededException"
        | "ReplicatedWriteConflictException"
        | "RequestLimitExceeded"
        | "ServiceUnavailable"
        | "ThrottlingException"
        | "TransactionConflictException" => LedgerError::Unavailable { reason },
        _ if status >= 500 || status == 429 => LedgerError::Unavailable { reason },
        _ => LedgerError::Refused { reason },
    }
}

/// The first error of this type among an error and its sources.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
