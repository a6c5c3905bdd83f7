//! Lambda around a function's binary: the Runtime API (2018-06-01) on loopback, one process at a
//! time, killed at the time-out and started anew for the invocation after it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bucket_brigade::clock::{Clock, SystemClock};
use bucket_brigade::local::loopback::{Loopback, Serving};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a process may take until it asks for its first invocation.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:function";

/// A function as it is deployed.
#[derive(Debug, Clone)]
pub struct Function {
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    /// Beside what Lambda itself sets; nothing else is inherited.
    pub environment: Vec<(String, String)>,
    pub timeout: Duration,
}

impl Function {
    pub fn new(binary: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self {
            binary: binary.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            timeout,
        }
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

/// How an invocation failed, as Lambda reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    pub kind: String,
    pub message: String,
}

impl FunctionError {
    fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
        }
    }

    fn read(body: &[u8]) -> Self {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        Self::new(text("errorType"), text("errorMessage"))
    }
}

/// A function that can be invoked; its process ends with it.
#[derive(Debug)]
pub struct LambdaProcess {
    function: Function,
    running: AsyncMutex<Option<Running>>,
    kill: Notify,
    seen: Arc<Seen>,
}

/// What is seen of a function from outside, over all of its processes.
#[derive(Debug, Default)]
struct Seen {
    logs: Mutex<String>,
    starts: AtomicU64,
    invocations: AtomicU64,
    peak_memory_bytes: AtomicU64,
    time_to_first_poll: Mutex<Option<Duration>>,
    process_id: Mutex<Option<u32>>,
}

impl LambdaProcess {
    /// Nothing runs until the first invocation.
    pub fn new(function: Function) -> Self {
        Self {
            function,
            running: AsyncMutex::new(None),
            kill: Notify::new(),
            seen: Arc::default(),
        }
    }

    /// Invokes the function and waits for its answer. One invocation runs at a time.
    pub async fn invoke(&self, payload: &[u8]) -> Result<Value, FunctionError> {
        let mut slot = self.running.lock().await;
        let mut running = match slot.take() {
            Some(running) => running,
            None => Running::start(&self.function, &self.seen).await,
        };
        let answer = self.converse(&mut running, payload).await;
        self.seen.look_at(&running.child);
        match answer {
            Ended::Answered(answer) => {
                *slot = Some(running);
                answer
            }
            Ended::Failed(error) => {
                // Gone already, or about to be.
                let _ = running.child.kill().await;
                // What it wrote last is still on its way here.
                for collector in running.collectors {
                    collector.await.unwrap();
                }
                Err(error)
            }
        }
    }

    async fn converse(&self, running: &mut Running, payload: &[u8]) -> Ended {
        let Running {
            child,
            polling,
            invocations,
            outcomes,
            ..
        } = running;
        tokio::select! {
            polled = tokio::time::timeout(INIT_TIMEOUT, polling.wait_for(|polling| *polling)) => {
                if polled.is_err() {
                    let message = format!("Task timed out after {} seconds", INIT_TIMEOUT.as_secs());
                    return Ended::Failed(FunctionError::new("Sandbox.Timedout", message));
                }
            }
            status = child.wait() => return Ended::Failed(exited(status)),
            outcome = outcomes.recv() => return Ended::Failed(init_error(outcome)),
        }
        let serial = self.seen.invocations.fetch_add(1, Ordering::Relaxed) + 1;
        let request_id = format!("{serial:08x}-0000-4000-8000-000000000000");
        let invocation = Invocation {
            request_id: request_id.clone(),
            payload: Bytes::copy_from_slice(payload),
            timeout: self.function.timeout,
        };
        invocations
            .send(invocation)
            .expect("the API lives as long as the process");
        let timeout = self.function.timeout;
        let until = Instant::now() + timeout;
        loop {
            tokio::select! {
                outcome = outcomes.recv() => match outcome {
                    // An answer to an invocation that is over is nobody's.
                    Some((id, _)) if id.as_ref() != Some(&request_id) => {}
                    Some((_, answer)) => return Ended::Answered(answer),
                    None => unreachable!("the API lives as long as the process"),
                },
                () = tokio::time::sleep_until(until) => {
                    self.seen.look_at(child);
                    let message = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
                    return Ended::Failed(FunctionError::new("Sandbox.Timedout", message));
                }
                () = self.kill.notified() => {
                    self.seen.look_at(child);
                    return Ended::Failed(FunctionError::new("Runtime.ExitError", "signal: killed"));
                }
                status = child.wait() => return Ended::Failed(exited(status)),
            }
        }
    }

    /// Kills the process, as `kill -9` does, in the middle of the invocation that is running or
    /// in the next one.
    pub fn kill(&self) {
        self.kill.notify_one();
    }

    /// Everything the processes wrote to standard output and error.
    pub fn logs(&self) -> String {
        self.seen.logs.lock().unwrap().clone()
    }

    /// Processes started so far.
    pub fn starts(&self) -> u64 {
        self.seen.starts.load(Ordering::Relaxed)
    }

    /// From the start of the latest process to its first poll.
    pub fn time_to_first_poll(&self) -> Option<Duration> {
        *self.seen.time_to_first_poll.lock().unwrap()
    }

    /// Of the latest process.
    pub fn process_id(&self) -> Option<u32> {
        *self.seen.process_id.lock().unwrap()
    }

    /// The most resident memory that any process had, looked at when each invocation ended.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.seen.peak_memory_bytes.load(Ordering::Relaxed)
    }
}

enum Ended {
    /// The process goes on.
    Answered(Result<Value, FunctionError>),
    /// The process is over.
    Failed(FunctionError),
}

fn exited(status: std::io::Result<ExitStatus>) -> FunctionError {
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    FunctionError::new(
        "Runtime.ExitError",
        format!("Runtime exited with error: {status}"),
    )
}

fn init_error(outcome: Option<Outcome>) -> FunctionError {
    match outcome {
        Some((_, Err(error))) => error,
        Some((_, Ok(_))) | None => {
            FunctionError::new("Runtime.Unknown", "answered before it asked")
        }
    }
}

impl Seen {
    /// Keeps the process's high-water mark of resident memory.
    fn look_at(&self, child: &Child) {
        let status = child
            .id()
            .map(|id| std::fs::read_to_string(format!("/proc/{id}/status")));
        let Some(Ok(status)) = status else { return };
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes =
            mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let bytes = kilobytes.unwrap_or(0) * 1_024;
        self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// A request's id, none for an error during initialisation, and how it ended.
type Outcome = (Option<String>, Result<Value, FunctionError>);

#[derive(Debug)]
struct Invocation {
    request_id: String,
    payload: Bytes,
    timeout: Duration,
}

/// One process, and the API that it alone speaks to.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Whether it waits for an invocation.
    polling: watch::Receiver<bool>,
    invocations: mpsc::UnboundedSender<Invocation>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// They end with the process's output.
    collectors: [JoinHandle<()>; 2],
    _serving: Serving,
}

impl Running {
    async fn start(function: &Function, seen: &Arc<Seen>) -> Self {
        let loopback = Loopback::bind().await.unwrap();
        let address = loopback.address().to_string();
        let (is_polling, polling) = watch::channel(false);
        let (invocations, queued) = mpsc::unbounded_channel();
        let (ended, outcomes) = mpsc::unbounded_channel();
        let api = Arc::new(Api {
            started: Instant::now(),
            first_poll: OnceLock::new(),
            seen: Arc::clone(seen),
            is_polling,
            queued: AsyncMutex::new(queued),
            ended,
        });
        let serving = loopback.serve(move |request| {
            let api = Arc::clone(&api);
            async move { api.answer(request).await }
        });
        let mut child = Command::new(&function.binary)
            .args(&function.arguments)
            .env_clear()
            .envs(lambda_environment(&address))
            .envs(function.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        seen.starts.fetch_add(1, Ordering::Relaxed);
        *seen.process_id.lock().unwrap() = child.id();
        let collectors = [
            tokio::spawn(collect(child.stdout.take().unwrap(), Arc::clone(seen))),
            tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(seen))),
        ];
        Self {
            collectors,
            child,
            polling,
            invocations,
            outcomes,
            _serving: serving,
        }
    }
}

/// What Lambda sets for every function.
fn lambda_environment(runtime_api: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_LAMBDA_FUNCTION_NAME", "function"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAFUNCTION"),
        ("AWS_SECRET_ACCESS_KEY", "function-secret"),
        ("AWS_SESSION_TOKEN", "function-token"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("_HANDLER", "bootstrap"),
        ("TZ", ":UTC"),
    ]
}

async fn collect(output: impl AsyncRead + Unpin, seen: Arc<Seen>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut logs = seen.logs.lock().unwrap();
        logs.push_str(&line);
        logs.push('\n');
    }
}

#[derive(Debug)]
struct Api {
    started: Instant,
    first_poll: OnceLock<()>,
    seen: Arc<Seen>,
    is_polling: watch::Sender<bool>,
    queued: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    ended: mpsc::UnboundedSender<Outcome>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let path = request.uri().path().to_owned();
        let Some(path) = path.strip_prefix("/2018-06-01/runtime/") else {
            return Ok(plain(404));
        };
        if request.method() == Method::GET && path == "invocation/next" {
            return self.next().await;
        }
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(|_| NoAnswer)?
            .to_bytes();
        let outcome = match path.split('/').collect::<Vec<_>>()[..] {
            ["init", "error"] => (None, Err(FunctionError::read(&body))),
            ["invocation", id, "error"] => (Some(id.to_owned()), Err(FunctionError::read(&body))),
            ["invocation", id, "response"] => {
                let answer = serde_json::from_slice(&body);
                let answer =
                    answer.map_err(|e| FunctionError::new("Runtime.BadResponse", e.to_string()));
                (Some(id.to_owned()), answer)
            }
            _ => return Ok(plain(404)),
        };
        self.ended.send(outcome).map_err(|_| NoAnswer)?;
        Ok(plain(202))
    }

    async fn next(&self) -> Result<Response<Full<Bytes>>, NoAnswer> {
        if self.first_poll.set(()).is_ok() {
            *self.seen.time_to_first_poll.lock().unwrap() = Some(self.started.elapsed());
        }
        self.is_polling.send_replace(true);
        let invocation = self.queued.lock().await.recv().await.ok_or(NoAnswer)?;
        self.is_polling.send_replace(false);
        let deadline = SystemClock.now().plus(invocation.timeout);
        let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";
        Ok(Response::builder()
            .header("lambda-runtime-aws-request-id", invocation.request_id)
            .header("lambda-runtime-deadline-ms", deadline.as_ms())
            .header("lambda-runtime-invoked-function-arn", FUNCTION_ARN)
            .header("lambda-runtime-trace-id", trace)
            .header("content-type", "application/json")
            .body(Full::new(invocation.payload))
            .unwrap())
    }
}

fn plain(status: u16) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from_static(b"{\"status\":\"OK\"}"));
    Response::builder().status(status).body(body).unwrap()
}
