//! Access keys kept in a secret: the guide's other way into a source bucket.
//!
//! They are read when first needed and kept until the store refuses them; then they are read
//! again, so that keys can be rotated by changing the secret alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use serde_json::{Map, Value};

use crate::aws::secrets::Secret;

/// A provider of the keys in one secret. Clones share what was read.
#[derive(Clone, Debug)]
pub struct SourceKeys {
    secret: Secret,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    current: Option<Credentials>,
    /// The keys that were refused last.
    refused: Option<Credentials>,
}

impl SourceKeys {
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            known: Arc::default(),
        }
    }

    /// Says that a request with these keys was refused: the next request reads the secret again.
    /// True if that may help, false if it was just tried and the secret still holds these keys.
    pub fn refused(&self) -> bool {
        let mut known = self.known();
        match known.current.take() {
            // Another request has been refused already, and the secret is yet to be read.
            None => true,
            Some(keys) => {
                let tried = known.refused.as_ref().is_some_and(|old| same(old, &keys));
                known.refused = Some(keys);
                !tried
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one assignment, so what a panic left behind is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keys(&self) -> provider::Result {
        if let Some(keys) = &self.known().current {
            return Ok(keys.clone());
        }
        let text = self
            .secret
            .read()
            .await
            .map_err(CredentialsError::provider_error)?;
        let keys = keys_in(&text).ok_or_else(|| {
            CredentialsError::provider_error(self.secret.refused(
                "expected a JSON object with `aws_access_key_id` and `aws_secret_access_key`",
            ))
        })?;
        self.known().current = Some(keys.clone());
        Ok(keys)
    }
}

impl ProvideCredentials for SourceKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.keys())
    }
}

fn same(a: &Credentials, b: &Credentials) -> bool {
    a.access_key_id() == b.access_key_id() && a.secret_access_key() == b.secret_access_key()
}

/// People spell these names as the AWS tools, the S3 console or Logz.io do.
fn keys_in(text: &str) -> Option<Credentials> {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return None;
    };
    let id = field(&fields, &["accesskeyid", "accesskey"])?;
    let secret = field(&fields, &["secretaccesskey", "secretkey"])?;
    let session = field(&fields, &["sessiontoken"]);
    Some(Credentials::new(id, secret, session, None, "SourceKeys"))
}

/// The first of `names` that the object has, whatever its case, `_`, `-`, and leading `aws`.
fn field(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let plain = |name: &str| {
        let letters = name.chars().filter(|c| !matches!(c, '_' | '-'));
        let name: String = letters.flat_map(char::to_lowercase).collect();
        name.strip_prefix("aws").map_or(name.clone(), str::to_owned)
    };
    names.iter().find_map(|wanted| {
        let (_, value) = fields.iter().find(|(name, _)| plain(name) == *wanted)?;
        let value = value.as_str()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_under_each_usual_spelling() {
        for text in [
            r#"{"AWS_ACCESS_KEY_ID":"AK","AWS_SECRET_ACCESS_KEY":"s"}"#,
            r#"{"aws_access_key_id":"AK","aws_secret_access_key":"s"}"#,
            r#"{"access_key_id":"AK","secret_access_key":"s"}"#,
            r#"{"AccessKeyId":"AK","SecretAccessKey":"s"}"#,
            r#"{"accessKey":"AK","secretKey":" s "}"#,
            r#"{"user":"u","access_key":"AK","secret_key":"s"}"#,
        ] {
            let keys = keys_in(text).expect(text);
            assert_eq!(keys.access_key_id(), "AK", "{text}");
            assert_eq!(keys.secret_access_key(), "s", "{text}");
            assert_eq!(keys.session_token(), None, "{text}");
        }
    }

    #[test]
    fn half_a_pair_of_keys_is_none() {
        for text in ["AK", "{}", r#"{"accessKey":"AK"}"#, r#"["AK","s"]"#] {
            assert!(keys_in(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_that_are_refused_are_read_again_once() {
        let config = aws_types::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .build();
        let secret = Secret::new("arn:aws:secretsmanager:us-east-1:1:secret:k", &config);
        let keys = SourceKeys::new(secret.expect("an ARN"));
        let read = |id: &str| {
            keys.known().current = Some(Credentials::new(id, "s", None, None, "test"));
        };
        read("old");
        assert!(keys.refused(), "reading the secret may help");
        assert!(keys.refused(), "a second request that was under way");
        read("old");
        assert!(!keys.refused(), "it did not help");
        read("new");
        assert!(keys.refused(), "other keys have their own chance");
    }
}
