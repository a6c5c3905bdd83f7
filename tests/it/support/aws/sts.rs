//! STS AssumeRole in memory: roles, their external ids, and the sessions handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bucket_brigade::clock::{Clock, SystemClock};

/// A handle on the roles; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sts {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    roles: BTreeMap<String, Option<String>>,
    sessions: Vec<Session>,
    refusals: u64,
    lifetime: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            roles: BTreeMap::new(),
            sessions: Vec::new(),
            refusals: 0,
            lifetime: Duration::from_secs(3_600),
        }
    }
}

/// Credentials that were handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub role_arn: String,
    pub session_name: String,
    pub external_id: Option<String>,
    pub access_key_id: String,
}

impl Sts {
    /// Lets a role be assumed, if asked for with this external id, or without one if it has none.
    pub fn allow(&self, role_arn: &str, external_id: Option<&str>) {
        let external_id = external_id.map(str::to_owned);
        self.state().roles.insert(role_arn.to_owned(), external_id);
    }

    /// How long the credentials of later sessions are good for.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.state().sessions.clone()
    }

    /// How often a role was refused.
    pub fn refusals(&self) -> u64 {
        self.state().refusals
    }

    /// Answers one request of the query protocol: status and XML.
    pub(super) fn answer(&self, form: &[u8]) -> (u16, String) {
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(form).into_owned().collect();
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        if field("Action") != "AssumeRole" {
            return (400, error("InvalidAction", "only AssumeRole is known here"));
        }
        let mut state = self.state();
        let (role_arn, external_id) = (field("RoleArn"), form.get("ExternalId").cloned());
        let expected = state.roles.get(&role_arn);
        // An external id that the role's trust does not ask for does no harm.
        let allowed =
            expected.is_some_and(|expected| expected.is_none() || *expected == external_id);
        if !allowed {
            state.refusals += 1;
            let message =
                format!("not authorized to perform: sts:AssumeRole on resource: {role_arn}");
            return (403, error("AccessDenied", &message));
        }
        let serial = state.sessions.len() + 1;
        let access_key_id = format!("ASIASESSION{serial:09}");
        let expiration = SystemClock.now().plus(state.lifetime);
        state.sessions.push(Session {
            role_arn: role_arn.clone(),
            session_name: field("RoleSessionName"),
            external_id,
            access_key_id: access_key_id.clone(),
        });
        let answer = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <AssumedRoleUser><Arn>{role_arn}/session</Arn><AssumedRoleId>AROA:session</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>secret-{serial}</SecretAccessKey>\
             <SessionToken>token-{serial}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
             </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"
        );
        (200, answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}
