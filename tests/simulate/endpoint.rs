//! The endpoint: takes records as the Logz.io listener does, or all or nothing, and keeps each with its
//! identity. Its answers go through the product's own reading of them.
//!
//! A request reaches it whether or not the client lives to hear the answer.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::body::Body;
use bucket_brigade::config::EndpointKind;
use bucket_brigade::sink::{Answer, RetryReason, Sink, http, logzio};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::faults::Fault;
use crate::object::{Nature, Out, Written, identity};
use crate::rules::type_of;
use crate::world::{Held, Request, State, TOKEN, Taken, World};

/// The way of one process to the endpoint.
#[derive(Clone)]
pub struct SimSink {
    pub world: Arc<World>,
    pub process: u64,
}

/// What the endpoint says.
struct Said {
    status: u16,
    retry_after: Option<u64>,
    text: String,
}

impl Said {
    fn status(status: u16) -> Self {
        Self {
            status,
            retry_after: None,
            // A careless proxy quotes the request.
            text: format!("no: POST /?token={TOKEN}"),
        }
    }
}

/// One record of a body, as it was sent.
struct Sent {
    content: usize,
    record: usize,
    bytes: usize,
}

/// Which endpoint a request goes to.
#[derive(Clone, Copy)]
struct Place {
    /// Whether it is one that a rule names.
    is_of_rule: bool,
    is_logzio: bool,
}

/// What happens on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Good,
    /// The answer never comes.
    Hangs {
        before: bool,
    },
    /// The connection breaks before or after the endpoint did its work.
    Breaks {
        before: bool,
    },
}

/// Where it is; the query would hold a secret.
fn address() -> Url {
    let url = format!("https://listener.example.com:8071/?token={TOKEN}");
    Url::parse(&url).expect("a URL")
}

impl Sink for SimSink {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let until = Instant::now() + timeout;
        let bytes = body.gzip.len();
        let _guard = self.world.begin(self.process, move |under_way, begins| {
            let UnderWayOf {
                requests,
                body_bytes,
            } = if begins {
                UnderWayOf {
                    requests: under_way.requests + 1,
                    body_bytes: under_way.body_bytes + bytes,
                }
            } else {
                UnderWayOf {
                    requests: under_way.requests - 1,
                    body_bytes: under_way.body_bytes - bytes,
                }
            };
            under_way.requests = requests;
            under_way.body_bytes = body_bytes;
        });
        if self.world.strikes(Fault::EndpointUnreachable) {
            self.world.pass_log(1, 5_000).await;
            return retry(RetryReason::Unreachable("connection refused".to_owned()));
        }
        let lines = self.unpack(body);
        let (request, claims) = self.note_request(&lines);
        let place = self.place(body);
        let way = {
            let mut state = self.world.state();
            if state.strikes(Fault::EndpointAnswerLost) {
                let before = state.random.chance(0.2);
                Way::Breaks { before }
            } else if state.strikes(Fault::EndpointHangs) {
                let before = state.random.chance(0.3);
                Way::Hangs { before }
            } else {
                Way::Good
            }
        };
        let (reply, answer) = oneshot::channel();
        let world = Arc::clone(&self.world);
        tokio::spawn(async move {
            world.pass_log(5, world.endpoint_ms_max).await;
            if let Way::Hangs { before: true } | Way::Breaks { before: true } = way {
                hold(way, reply).await;
                return;
            }
            let said = take_in(&world, place, &lines, request, &claims);
            world.pass_log(1, 800).await;
            match way {
                // An error says that the client is gone.
                Way::Good => drop(reply.send(said)),
                Way::Hangs { .. } | Way::Breaks { .. } => hold(way, reply).await,
            }
        });
        match timeout_at(until, answer).await {
            Ok(Ok(said)) => self.read(said, place, body, until).await,
            Ok(Err(_)) => {
                self.lose(request);
                retry(RetryReason::Connection(
                    "closed before the answer".to_owned(),
                ))
            }
            Err(_) => {
                self.lose(request);
                retry(RetryReason::TimedOut)
            }
        }
    }
}

struct UnderWayOf {
    requests: usize,
    body_bytes: usize,
}

/// Keeps the client waiting, or not.
async fn hold(way: Way, reply: oneshot::Sender<Said>) {
    if let Way::Hangs { .. } = way {
        sleep(Duration::from_secs(3_600)).await;
    }
    drop(reply);
}

fn retry(reason: RetryReason) -> Answer {
    Answer::Retry {
        reason,
        after: None,
    }
}

impl SimSink {
    fn place(&self, body: &Body) -> Place {
        let of_rule = body.route.endpoint.as_ref();
        if of_rule.is_some() {
            self.world.state().faults.count(Fault::OwnEndpoint);
        }
        Place {
            is_of_rule: of_rule.is_some(),
            is_logzio: of_rule.map_or(self.world.is_logzio, |endpoint| {
                endpoint.kind == EndpointKind::Logzio
            }),
        }
    }

    /// The records of a body, read by a decoder that is not the product's.
    fn unpack(&self, body: &Body) -> Vec<Sent> {
        let mut gunzip = flate2::write::GzDecoder::new(Vec::new());
        let whole = gunzip.write_all(&body.gzip).is_ok();
        let Some(plain) = whole.then(|| gunzip.finish().ok()).flatten() else {
            self.world.violate("a body is no gzip member");
            return Vec::new();
        };
        let mut sent = Vec::new();
        let mut claim: Option<(usize, usize)> = None;
        let mut state = self.world.state();
        let at = self.world.elapsed();
        for line in plain.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let known = identity(line).filter(|(content, record)| {
                let content = state.contents.get(*content);
                content.is_some_and(|content| *record < content.records.len())
            });
            let Some((content, record)) = known else {
                let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
                state.violate(at, &format!("a record that nobody wrote: {line}"));
                continue;
            };
            if claim.is_none_or(|(of, _)| of != content) {
                claim = state
                    .claim_of_process(self.process, content)
                    .map(|claim| (content, claim));
            }
            // Without a claim it must not be sent at all, which is said elsewhere.
            if let Some((_, claim)) = claim
                && let Some(wrong) = self.wrong(&state, &state.claims[claim], record, line, body)
            {
                let line = String::from_utf8_lossy(&line[..line.len().min(300)]).into_owned();
                state.violate(at, &format!("record {content}.{record} {wrong}: {line}"));
            }
            sent.push(Sent {
                content,
                record,
                bytes: line.len() + 1,
            });
        }
        if sent.len() as u64 != body.records || plain.len() as u64 != body.plain_bytes {
            let records = body.records;
            state.violate(
                at,
                &format!("a body of {} records says {records}", sent.len()),
            );
        }
        sent
    }

    /// What is wrong with a record that leaves so, under a claim.
    fn wrong(
        &self,
        state: &State,
        claim: &Held,
        record: usize,
        line: &[u8],
        body: &Body,
    ) -> Option<&'static str> {
        let plan = &self.world.bounds.plan;
        let content = &state.contents[claim.content];
        let written = &content.records[record];
        let said = &claim.said;
        if written.is_control || (written.is_marked && said.leaves_out) {
            return Some("is to be left out, and was sent");
        }
        let own = body.route.endpoint.is_some();
        if own != said.own.is_some() {
            return Some("went to another endpoint");
        }
        let log_type = said.log_type.or(plan.log_type.as_deref());
        if body.route.log_type.as_deref() != log_type.or(type_of(content.kind)) {
            return Some("was sent as another type");
        }
        if record < content.first(claim.as_lines) {
            return Some("is a header, and was sent");
        }
        let json_only = self.world.goes_to_logzio(said);
        let out = match claim.as_lines {
            true if !matches!(written.out, Out::Any) => &Out::Text,
            _ => &written.out,
        };
        match leaves_as(written, out, line, plan.add_source_field, json_only) {
            true => None,
            false => Some("was changed on its way"),
        }
    }

    /// Numbers the request, and says for each content in it under which claim it is sent.
    fn note_request(&self, lines: &[Sent]) -> (usize, Vec<(usize, Option<usize>)>) {
        let at = self.world.elapsed();
        let mut state = self.world.state();
        let request = state.requests.len();
        state.requests.push(Request::default());
        state.bodies += 1;
        state.records_sent += lines.len() as u64;
        let mut contents: Vec<usize> = lines.iter().map(|sent| sent.content).collect();
        contents.dedup();
        let is_shared = contents.len() > 1;
        let mut claims = Vec::new();
        for content in contents {
            let claim = state.claim_of_process(self.process, content);
            let end = claim.map(|claim| state.claims[claim].end);
            let name = state.contents[content].id.key.clone();
            match end {
                None => state.violate(at, &format!("{name}: sent without a claim")),
                Some(crate::world::End::LeaseLost) if !is_shared => {
                    state.violate(
                        at,
                        &format!("{name}: sent although its lease is known to be lost"),
                    );
                }
                Some(crate::world::End::Clean) if !is_shared => {
                    state.violate(
                        at,
                        &format!("{name}: sent although its lease was given back"),
                    );
                }
                Some(_) => {}
            }
            claims.push((content, claim));
        }
        (request, claims)
    }

    fn lose(&self, request: usize) {
        self.world.tell(&format!("request {request}: no answer"));
        self.world.state().requests[request].is_lost = true;
    }

    /// What the product makes of the answer.
    async fn read(&self, said: Said, place: Place, body: &Body, until: Instant) -> Answer {
        if said.status == 401 && !place.is_of_rule {
            self.world.state().refused.insert(self.process);
        }
        let mut response = ::http::Response::builder().status(said.status);
        if let Some(after) = said.retry_after {
            response = response.header("retry-after", after.to_string());
        }
        let response = response.body(said.text).expect("a valid response");
        let response = Response::from(response);
        match place.is_logzio {
            true => logzio::answer_of(response, &address(), body, until).await,
            false => http::answer_of(response, &address(), until).await,
        }
    }
}

/// Whether a record leaves as it is to. `adds` says that each gets a member that names its object.
fn leaves_as(written: &Written, out: &Out, line: &[u8], adds: bool, json_only: bool) -> bool {
    let is_whole = match out {
        Out::Any => return true,
        Out::Same => !adds && line == written.bytes,
        Out::Text => !adds && !json_only && line == written.bytes,
        Out::Members(_) | Out::Message => false,
    };
    if is_whole || written.nature == Nature::Malformed {
        return true;
    }
    let Ok(Value::Object(left)) = serde_json::from_slice::<Value>(line) else {
        return false;
    };
    if written.time.is_some()
        && left.get("@timestamp").and_then(Value::as_str) != written.time.as_deref()
    {
        return false;
    }
    let message = String::from_utf8_lossy(&written.bytes);
    let has = |members: &Value| {
        let mut members = members.as_object().into_iter().flatten();
        members.all(|(name, value)| left.get(name) == Some(value))
    };
    match out {
        Out::Any => true,
        Out::Same => adds && serde_json::from_slice(&written.bytes).is_ok_and(|value| has(&value)),
        Out::Members(members) => has(members),
        Out::Text | Out::Message => left.get("message") == Some(&Value::from(message.as_ref())),
    }
}

/// Does what the endpoint does with a request.
fn take_in(
    world: &World,
    place: Place,
    lines: &[Sent],
    request: usize,
    claims: &[(usize, Option<usize>)],
) -> Said {
    let said = judge(world, place, lines, request, claims);
    let parts: Vec<String> = claims
        .iter()
        .map(|(content, claim)| {
            format!(
                "#{content}{}",
                claim.map_or(String::new(), |c| format!("/c{c}"))
            )
        })
        .collect();
    world.tell(&format!(
        "request {request} of {} records of {}: {}{}",
        lines.len(),
        parts.join(" "),
        said.status,
        said.retry_after
            .map_or(String::new(), |s| format!(", again after {s} s"))
    ));
    said
}

fn judge(
    world: &World,
    place: Place,
    lines: &[Sent],
    request: usize,
    claims: &[(usize, Option<usize>)],
) -> Said {
    let wrong_token = match place.is_of_rule {
        true => Fault::OwnWrongToken,
        false => Fault::EndpointWrongToken,
    };
    if world.spell(Fault::EndpointOutage, 0) {
        return Said::status(503);
    }
    if world.spell(wrong_token, 0) {
        return Said::status(401);
    }
    let mut state = world.state();
    if state.strikes(Fault::Endpoint5xx) {
        let status = state.random.pick(&[500, 502, 503, 504, 408]);
        return Said::status(status);
    }
    if state.strikes(Fault::Endpoint429) {
        return Said::status(429);
    }
    if state.strikes(Fault::Endpoint429After) {
        let after = state.random.log_between(1, 3_000);
        return Said {
            retry_after: Some(after),
            ..Said::status(429)
        };
    }
    let bytes: usize = lines.iter().map(|sent| sent.bytes).sum();
    if bytes > world.body_bytes_max && lines.len() > 1 {
        state.faults.count(Fault::Endpoint413);
        return Said::status(413);
    }
    let refused: Vec<Option<Nature>> = lines
        .iter()
        .map(|sent| state.refusal(sent.content, sent.record))
        .collect();
    let all_good = refused.iter().all(Option::is_none);
    if !place.is_logzio && !all_good {
        return Said::status(400);
    }
    let miscounts = place.is_logzio && lines.len() > 1 && state.strikes(Fault::EndpointWrongCounts);
    // Who counts wrong takes the first ones, or none.
    let only_first = miscounts.then(|| state.random.between(0, lines.len() as u64));
    let mut taken = 0_u64;
    for (sent, refused) in lines.iter().zip(&refused) {
        let is_taken = match only_first {
            Some(first) => taken < first && refused.is_none(),
            None => refused.is_none(),
        };
        if !is_taken {
            continue;
        }
        taken += 1;
        let claim = claims
            .iter()
            .find(|(content, _)| *content == sent.content)
            .and_then(|(_, claim)| *claim);
        state.fates[sent.content][sent.record].taken.push(Taken {
            request,
            claim,
            bytes: sent.bytes,
        });
    }
    let count = lines.len() as u64;
    // The product's own look at the records does not find what only the endpoint knows.
    state.requests[request].is_unclear = place.is_logzio
        && taken < count
        && (only_first.is_some() || refused.contains(&Some(Nature::Strange)));
    if state.requests[request].is_unclear && claims.len() > 1 {
        // How many of each object's records were refused nobody knows either.
        let contents = claims.iter().map(|(content, _)| *content);
        state.miscounted.extend(contents);
    }
    if let Some(first) = only_first {
        if taken > 0 {
            state
                .miscounted
                .extend(lines.iter().map(|sent| sent.content));
        }
        let text = match first {
            0 => "<html>bad request</html>".to_owned(),
            _ => counts(taken, count),
        };
        return Said {
            status: 400,
            retry_after: None,
            text: if taken == 0 {
                "<html>bad request</html>".to_owned()
            } else {
                text
            },
        };
    }
    if all_good {
        return Said {
            status: 200,
            retry_after: None,
            text: String::new(),
        };
    }
    state.faults.count(Fault::Endpoint400);
    Said {
        status: 400,
        retry_after: None,
        text: counts(taken, count - taken),
    }
}

fn counts(successful: u64, malformed: u64) -> String {
    format!(
        "{{\"successfulLines\":{successful},\"malformedLines\":{malformed},\"oversizedLines\":0,\"emptyLogLines\":0}}"
    )
}
