//! Where a body goes, and as what.

use std::sync::Arc;

/// What tells requests apart whatever is in them: bodies of one route may share a request, others never. A
/// clone shares its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// The Logz.io type, which chooses the parsing pipeline. Without one it is the endpoint's own.
    pub log_type: Option<Arc<str>>,
}

impl Route {
    /// As that type.
    pub fn typed(log_type: &str) -> Self {
        Self {
            log_type: Some(log_type.into()),
        }
    }
}
