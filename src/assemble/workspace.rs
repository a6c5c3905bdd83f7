//! What taking objects apart takes, for one object after another.

use std::sync::{Mutex, PoisonError};

use crate::body::Tools;
use crate::decode::Spare;

/// Buffers that one assembler leaves to the next, so that an object of a few kilobytes does not cost new ones of
/// many. What comes of an object does not depend on them.
#[derive(Default)]
pub struct Workspace {
    pub(super) plain: Vec<u8>,
    pub(super) spare: Option<Spare>,
    pub(super) tools: Tools,
}

/// Plain bytes for which a workspace keeps room.
pub(super) const PLAIN_BYTES_KEPT: usize = 256 * 1024;

/// Workspaces that are kept while nobody uses them. Each takes at most some 1.6 MB, with a compressor in it.
const WORKSPACES_MAX: usize = 2;

/// Workspaces that nobody uses.
#[derive(Default)]
pub struct Workspaces(Mutex<Vec<Workspace>>);

impl Workspaces {
    pub fn take(&self) -> Workspace {
        self.change(Vec::pop).unwrap_or_default()
    }

    pub fn give_back(&self, workspace: Workspace) {
        self.change(|idle| {
            if idle.len() < WORKSPACES_MAX {
                idle.push(workspace);
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Workspace>) -> T) -> T {
        // No change leaves them half made.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
