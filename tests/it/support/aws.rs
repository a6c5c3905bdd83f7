//! AWS on one loopback port: S3, DynamoDB, SQS, Secrets Manager, SSM and STS, told apart by what a
//! request looks like. With `AWS_ENDPOINT_URL` set to it a Lambda binary needs nothing else.

pub mod dynamodb;
pub mod failure;
pub mod secrets;
pub mod sqs;
pub mod sts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bucket_brigade::local::loopback::{Loopback, Serving};
use bucket_brigade::local::s3::S3Server;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use url::Url;

use self::dynamodb::DynamoDb;
use self::failure::ServiceError;
use self::secrets::Secrets;
use self::sqs::Sqs;
use self::sts::Sts;

/// The services, and the port they share. It closes with the last clone.
#[derive(Debug, Clone)]
pub struct Aws {
    pub s3: S3Server,
    pub dynamodb: DynamoDb,
    pub sqs: Sqs,
    pub secrets: Secrets,
    pub sts: Sts,
    endpoint: Url,
    callers: Callers,
    _serving: Arc<Serving>,
}

/// The access key ids that S3 was asked with, and the role it is restricted to.
#[derive(Debug, Clone, Default)]
struct Callers {
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    s3_role: Arc<Mutex<Option<String>>>,
}

impl Aws {
    pub async fn start() -> Self {
        let loopback = Loopback::bind().await.unwrap();
        let endpoint = Url::parse(&format!("http://{}", loopback.address())).unwrap();
        let services = Services {
            s3: S3Server::start().await.unwrap(),
            dynamodb: DynamoDb::default(),
            sqs: Sqs::new(endpoint.clone()),
            secrets: Secrets::default(),
            sts: Sts::default(),
            callers: Callers::default(),
        };
        let serving = loopback.serve({
            let services = services.clone();
            move |request| {
                let services = services.clone();
                async move { services.answer(request).await }
            }
        });
        Self {
            s3: services.s3,
            dynamodb: services.dynamodb,
            sqs: services.sqs,
            secrets: services.secrets,
            sts: services.sts,
            callers: services.callers,
            endpoint,
            _serving: Arc::new(serving),
        }
    }

    /// What `AWS_ENDPOINT_URL` is to be set to.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// How often S3 was asked, by access key id.
    pub fn s3_callers(&self) -> BTreeMap<String, u64> {
        self.callers.seen.lock().unwrap().clone()
    }

    /// Lets S3 be read only with credentials of a session of this role.
    pub fn restrict_s3_to(&self, role_arn: &str) {
        *self.callers.s3_role.lock().unwrap() = Some(role_arn.to_owned());
    }
}

#[derive(Debug, Clone)]
struct Services {
    s3: S3Server,
    dynamodb: DynamoDb,
    sqs: Sqs,
    secrets: Secrets,
    sts: Sts,
    callers: Callers,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Services {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<s3s::Body>, NoAnswer> {
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let target = header("x-amz-target").map(str::to_owned);
        let is_form = header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if let Some(target) = target {
            let body = request
                .into_body()
                .collect()
                .await
                .map_err(|_| NoAnswer)?
                .to_bytes();
            return self.json(&target, &body).await;
        }
        if is_form && request.method() == Method::POST && request.uri().path() == "/" {
            let body = request
                .into_body()
                .collect()
                .await
                .map_err(|_| NoAnswer)?
                .to_bytes();
            let (status, xml) = self.sts.answer(&body);
            return Ok(response(status, "text/xml", xml.into()));
        }
        let caller = header("authorization")
            .and_then(access_key_id)
            .unwrap_or_default()
            .to_owned();
        *self
            .callers
            .seen
            .lock()
            .unwrap()
            .entry(caller.clone())
            .or_default() += 1;
        if !self.may_use_s3(&caller) {
            let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
            return Ok(response(403, "application/xml", denied.into()));
        }
        self.s3.respond(request).await.map_err(|_| NoAnswer)
    }

    fn may_use_s3(&self, access_key_id: &str) -> bool {
        let role = self.callers.s3_role.lock().unwrap().clone();
        role.is_none_or(|role| {
            let sessions = self.sts.sessions();
            sessions
                .iter()
                .any(|session| session.role_arn == role && session.access_key_id == access_key_id)
        })
    }

    async fn json(&self, target: &str, body: &[u8]) -> Result<Response<s3s::Body>, NoAnswer> {
        let (service, operation) = target.split_once('.').unwrap_or((target, ""));
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        let (answer, namespace, version) = match service {
            "DynamoDB_20120810" => {
                let answer = self.dynamodb.answer(operation, &input);
                (answer, "com.amazonaws.dynamodb.v20120810", "1.0")
            }
            "AmazonSQS" => (
                self.sqs.answer(operation, &input).await,
                "com.amazonaws.sqs",
                "1.0",
            ),
            "secretsmanager" => {
                let answer = self.secrets.answer(operation, &input);
                (answer, "com.amazonaws.secretsmanager", "1.1")
            }
            "AmazonSSM" => (
                self.secrets.answer(operation, &input),
                "com.amazonaws.ssm",
                "1.1",
            ),
            _ => {
                let error = ServiceError::new(404, "UnknownOperationException", target);
                (Some(Err(error)), "com.amazonaws", "1.0")
            }
        };
        let (status, body) = match answer.ok_or(NoAnswer)? {
            Ok(output) => (200, output),
            Err(error) => (error.status, error.body(namespace)),
        };
        let kind = format!("application/x-amz-json-{version}");
        Ok(response(status, &kind, body.to_string().into()))
    }
}

fn access_key_id(authorization: &str) -> Option<&str> {
    authorization.split_once("Credential=")?.1.split('/').next()
}

fn response(status: u16, content_type: &str, body: Bytes) -> Response<s3s::Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-requestid", "request")
        .body(s3s::Body::from(body))
        .unwrap()
}
