//! Stopping: the first signal ends the work cleanly, the second one ends the process.

use std::time::Duration;

use tokio::sync::watch;

/// How long a clean stop may take before it is given up. What was in flight then may arrive twice, as
/// after a crash; it is never lost.
pub const STOP_MAX: Duration = Duration::from_secs(30);

/// What the process answers to the second signal: as a shell says it of SIGINT.
const STOPPED_AT_ONCE: i32 = 130;

/// A wish to stop, shared by all who have to know. It cannot be taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that SIGINT (Ctrl-C) and SIGTERM ask for. The second of them ends the process on the spot.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::new();
        let mut signals = Signals::listen()?;
        let asked = stop.clone();
        tokio::spawn(async move {
            signals.next().await;
            eprintln!("stopping: finishing what is in flight (again to stop at once)");
            asked.ask();
            signals.next().await;
            std::process::exit(STOPPED_AT_ONCE);
        });
        Ok(stop)
    }

    /// Asks everyone to stop.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Ready once someone asked to stop.
    pub async fn asked(&self) {
        // An error would say that every sender is gone, and one is ours.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }

    /// Waits so long, unless someone asks to stop. True if the time passed and nobody did.
    pub async fn outlasts(&self, time: Duration) -> bool {
        let passed = tokio::time::timeout(time, self.asked()).await.is_err();
        passed && !self.is_asked()
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a console there is nobody to ask.
        let _ = tokio::signal::ctrl_c().await;
    }
}
