//! Secrets Manager and SSM parameters in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::failure::{Failure, Faults, ServiceError, text};

type Answer = Result<Value, ServiceError>;

/// A handle on the secrets of both services; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    secrets: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    reads: u64,
    faults: Faults,
}

impl Secrets {
    /// Sets a secret, by the ARN or name that will be asked for.
    pub fn set_secret(&self, id: &str, value: &str) {
        self.state().secrets.insert(id.to_owned(), value.to_owned());
    }

    /// Sets a SecureString parameter, which can be asked for by name and by ARN.
    pub fn set_parameter(&self, name: &str, value: &str) {
        self.state()
            .parameters
            .insert(name.to_owned(), value.to_owned());
    }

    /// How often either service was asked.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Makes requests fail.
    pub fn faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state().faults);
    }

    /// Answers one request; `None` closes the connection without a word.
    pub(super) fn answer(&self, operation: &str, input: &Value) -> Option<Answer> {
        let mut state = self.state();
        state.reads += 1;
        let failure = state.faults.take(operation);
        if let Some(error) = failure.and_then(|failure| failure.error("ThrottlingException")) {
            return Some(Err(error));
        }
        let answer = match operation {
            "GetSecretValue" => state.secret(input),
            "CreateSecret" => state.create_secret(input),
            "PutSecretValue" => state.put_secret_value(input),
            "GetParameter" => state.parameter(input),
            "PutParameter" => state.put_parameter(input),
            _ => Err(ServiceError::new(
                400,
                "UnknownOperationException",
                operation,
            )),
        };
        (failure != Some(Failure::AnswerLost)).then_some(answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn secret(&self, input: &Value) -> Answer {
        let id = text(input, "SecretId")?;
        let value = self.secrets.get(id).ok_or_else(|| {
            let message = "Secrets Manager can't find the specified secret.";
            ServiceError::new(400, "ResourceNotFoundException", message)
        })?;
        Ok(json!({ "ARN": id, "Name": id, "SecretString": value, "VersionId": "1" }))
    }

    fn create_secret(&mut self, input: &Value) -> Answer {
        let (name, value) = (text(input, "Name")?, text(input, "SecretString")?);
        let arn = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf");
        self.secrets.insert(arn.clone(), value.to_owned());
        Ok(json!({ "ARN": arn, "Name": name, "VersionId": "1" }))
    }

    fn put_secret_value(&mut self, input: &Value) -> Answer {
        let (id, value) = (text(input, "SecretId")?, text(input, "SecretString")?);
        self.secrets.insert(id.to_owned(), value.to_owned());
        Ok(json!({ "ARN": id, "Name": id, "VersionId": "2" }))
    }

    fn put_parameter(&mut self, input: &Value) -> Answer {
        let (name, value) = (text(input, "Name")?, text(input, "Value")?);
        self.parameters.insert(name.to_owned(), value.to_owned());
        Ok(json!({ "Version": 1 }))
    }

    fn parameter(&self, input: &Value) -> Answer {
        let name = text(input, "Name")?;
        // `arn:aws:ssm:REGION:ACCOUNT:parameter/NAME`, where the slash is the name's own.
        let name = name.split_once(":parameter").map_or(name, |(_, name)| name);
        let value = self
            .parameters
            .get(name)
            .ok_or_else(|| ServiceError::new(400, "ParameterNotFound", ""))?;
        // Without decryption a SecureString is of no use to anyone.
        let value = match input["WithDecryption"].as_bool() {
            Some(true) => value,
            Some(false) | None => "AQICAHh-still-encrypted",
        };
        Ok(json!({ "Parameter": {
            "Name": name, "Type": "SecureString", "Value": value, "Version": 1, "DataType": "text",
        } }))
    }
}
