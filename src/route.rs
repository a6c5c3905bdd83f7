//! Where a body goes, and as what.

use std::sync::Arc;

use crate::rules::DestinationSpec;

/// What tells requests apart whatever is in them: bodies of one route may share a request, others never. A
/// clone shares its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The Logz.io type, which chooses the parsing pipeline. Without one it is the endpoint's own.
    pub log_type: Option<Arc<str>>,
    /// The endpoint, if it is not that of the settings.
    pub endpoint: Option<Arc<DestinationSpec>>,
}

impl Route {
    /// As that type.
    pub fn typed(log_type: &str) -> Self {
        Self {
            log_type: Some(log_type.into()),
            endpoint: None,
        }
    }
}
