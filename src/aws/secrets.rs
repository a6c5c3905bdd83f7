//! Secrets: an ARN goes in, what is stored there comes out, read anew at every call.
//!
//! No error, log line or debug text made here holds any part of a value.

use aws_types::SdkConfig;
use aws_types::region::Region;
use futures_util::FutureExt;
use serde_json::Value;

use crate::aws::fault::Fault;
use crate::token::{Token, TokenError, TokenSource};

/// Why a secret could not be read, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Throttled, timed out, unreachable: try again later.
    #[error("failed to read {arn}: {reason}")]
    Unavailable { arn: String, reason: String },
    /// Not there, not allowed, or not in the form expected: nothing can succeed until a person
    /// acts.
    #[error("cannot use {arn}: {reason}")]
    Refused { arn: String, reason: String },
}

/// A Secrets Manager secret or an SSM parameter.
#[derive(Clone, Debug)]
pub struct Secret {
    arn: String,
    service: Service,
}

#[derive(Clone, Debug)]
enum Service {
    SecretsManager(aws_sdk_secretsmanager::Client),
    Parameters(aws_sdk_ssm::Client),
}

impl Secret {
    /// Which service it is, and in which region, the ARN says. Nothing is read yet.
    pub fn new(arn: &str, config: &SdkConfig) -> Result<Self, SecretError> {
        let unknown = || SecretError::Refused {
            arn: arn.to_owned(),
            reason: "expected the ARN of a Secrets Manager secret \
                     (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME) \
                     or of an SSM parameter (arn:aws:ssm:REGION:ACCOUNT:parameter/NAME)"
                .to_owned(),
        };
        // arn:partition:service:region:account:resource (IAM User Guide, reference-arns)
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, service, region, _, resource] = parts[..] else {
            return Err(unknown());
        };
        let config = config
            .to_builder()
            .region(Region::new(region.to_owned()))
            .build();
        let service = match service {
            "secretsmanager" if resource.starts_with("secret:") => {
                Service::SecretsManager(aws_sdk_secretsmanager::Client::new(&config))
            }
            "ssm" if resource.starts_with("parameter/") => {
                Service::Parameters(aws_sdk_ssm::Client::new(&config))
            }
            _ => return Err(unknown()),
        };
        Ok(Self {
            arn: arn.to_owned(),
            service,
        })
    }

    /// Reads the text that is stored now.
    pub async fn read(&self) -> Result<String, SecretError> {
        let text = match &self.service {
            Service::SecretsManager(client) => {
                client
                    .get_secret_value()
                    .secret_id(&self.arn)
                    .send()
                    .boxed()
                    .await
                    .map_err(|error| self.failed(Fault::of(&error)))?
                    .secret_string
            }
            Service::Parameters(client) => client
                .get_parameter()
                .name(&self.arn)
                .with_decryption(true)
                .send()
                .boxed()
                .await
                .map_err(|error| self.failed(Fault::of(&error)))?
                .parameter
                .and_then(|parameter| parameter.value),
        };
        text.ok_or_else(|| self.refused("it holds no text"))
    }

    fn failed(&self, fault: Fault) -> SecretError {
        let arn = self.arn.clone();
        let reason = fault.to_string();
        match fault.is_transient() {
            true => SecretError::Unavailable { arn, reason },
            false => SecretError::Refused { arn, reason },
        }
    }

    pub(crate) fn refused(&self, reason: &str) -> SecretError {
        SecretError::Refused {
            arn: self.arn.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The endpoint's token, as a secret holds it: the text itself, or a JSON object with the token
/// under `token` or as its only value (as the Secrets Manager console stores it).
#[derive(Clone, Debug)]
pub struct AwsTokenSource(Secret);

impl AwsTokenSource {
    pub fn new(arn: &str, config: &SdkConfig) -> Result<Self, TokenError> {
        Ok(Self(Secret::new(arn, config)?))
    }
}

impl TokenSource for AwsTokenSource {
    async fn read(&self) -> Result<Token, TokenError> {
        let text = self.0.read().await?;
        match token_in(&text) {
            Some(token) => Ok(Token::new(token)),
            None => Err(self
                .0
                .refused(
                    "expected the token as plain text, \
                     or a JSON object that has it under `token` or as its only value",
                )
                .into()),
        }
    }
}

fn token_in(text: &str) -> Option<String> {
    let token = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => match (fields.get("token"), fields.len()) {
            (Some(token), _) => token.as_str()?.to_owned(),
            (None, 1) => fields.values().next()?.as_str()?.to_owned(),
            (None, _) => return None,
        },
        // A bare number or word is a token too; a quoted string is taken out of its quotes.
        Ok(Value::String(token)) => token,
        Ok(_) | Err(_) => text.to_owned(),
    };
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

impl From<SecretError> for TokenError {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Unavailable { arn, reason } => {
                TokenError::Unavailable { place: arn, reason }
            }
            SecretError::Refused { arn, reason } => TokenError::Refused { place: arn, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_each_form_that_people_store_it_in() {
        for text in [
            "abc",
            " abc\n",
            "\"abc\"",
            r#"{"token":"abc"}"#,
            r#"{"token":"abc","note":"x"}"#,
            r#"{"LOGZIO_TOKEN":"abc"}"#,
        ] {
            assert_eq!(token_in(text).as_deref(), Some("abc"), "{text}");
        }
        assert_eq!(token_in("123456").as_deref(), Some("123456"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "  \n", r#"{"a":"1","b":"2"}"#, r#"{"token":7}"#, "{}"] {
            assert_eq!(token_in(text), None, "{text}");
        }
    }

    #[test]
    fn the_arn_says_which_service_holds_the_secret() {
        let config = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .build();
        for (arn, known) in [
            ("arn:aws:secretsmanager:eu-west-1:1:secret:a-AbCdEf", true),
            ("arn:aws-cn:ssm:cn-north-1:1:parameter/logs/token", true),
            ("arn:aws:s3:::bucket", false),
            ("my-secret", false),
        ] {
            assert_eq!(Secret::new(arn, &config).is_ok(), known, "{arn}");
        }
    }
}
