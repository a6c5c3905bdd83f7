//! Log lines that are written together.
//!
//! A function that carries many small objects writes a line for each of them, and each write wakes whoever reads the
//! log: some hundredths of all CPU time that such objects take. So ordinary lines wait a moment for others.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// No line waits longer, as long as something asks for it: see [`LogLines::written_in_time`].
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Lines of so many bytes are written at once.
const BYTES_MAX: usize = 16 * 1024;

/// What is logged: lines of level `WARN` and above at once, with all that wait; others with the next of them, with
/// many, or a moment later. A clone is the same.
#[derive(Clone)]
pub struct LogLines {
    waiting: Arc<Mutex<Waiting>>,
}

struct Waiting {
    lines: Vec<u8>,
    out: Box<dyn Write + Send>,
}

impl LogLines {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            waiting: Arc::new(Mutex::new(Waiting {
                lines: Vec::new(),
                out: Box::new(out),
            })),
        }
    }

    /// Writes what waits. A log that cannot be written is nothing that could be logged.
    pub fn write(&self) {
        let _ = self.waiting().write();
    }

    /// Never ready: as long as it is polled, no line waits for more than a tenth of a second.
    pub async fn written_in_time(&self) {
        loop {
            tokio::time::sleep(WAIT_MAX).await;
            self.write();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic while it was held leaves whole lines, or one that is cut short.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn write(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = self.out.write_all(&self.lines);
        self.lines.clear();
        written?;
        self.out.flush()
    }
}

/// Takes one line.
pub struct LineWriter<'a> {
    lines: &'a LogLines,
    is_urgent: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.lines.waiting();
        waiting.lines.extend_from_slice(line);
        if self.is_urgent || waiting.lines.len() >= BYTES_MAX {
            waiting.write()?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.waiting().write()
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            lines: self,
            is_urgent: true,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        LineWriter {
            lines: self,
            is_urgent: *meta.level() <= Level::WARN,
        }
    }
}
