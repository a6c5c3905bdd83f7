//! What a rule says of the objects that it matches: plain data, complete, with nothing left to check.

use std::fmt;

use url::Url;

use super::template::Template;
use crate::config::{EndpointKind, TokenPlace};
use crate::format::Leaves;
use crate::plan::Said;
use crate::shape::spec::ShapeSpec;

/// How the objects that a rule matches are carried. By default as their content says, unchanged, to the
/// endpoint of the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carry {
    /// What the objects are; by default what their keys and their content say.
    pub format: Option<Said>,
    /// How records leave; by default as the format says.
    pub leaves: Option<Leaves>,
    /// The type; by default the format's, or that of the settings. [`Carry::log_type`] has its text.
    pub log_type: Option<Template>,
    pub shape: ShapeSpec,
    /// By default the endpoint of the settings.
    pub destination: Option<DestinationSpec>,
}

impl Carry {
    /// The type for an object with these captures: text without spaces. White space and control characters of
    /// a capture become `_`; nothing is no type.
    pub fn log_type(&self, captures: &[(String, String)]) -> Option<String> {
        let expanded = self.log_type.as_ref()?.expand(captures);
        let plain: String = expanded
            .chars()
            .map(|char| {
                if char.is_whitespace() || char.is_control() {
                    '_'
                } else {
                    char
                }
            })
            .collect();
        (!plain.is_empty()).then_some(plain)
    }
}

/// An endpoint of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct DestinationSpec {
    /// `https`, or loopback; without user, fragment, token and type.
    pub url: Url,
    pub kind: EndpointKind,
    /// A secret or a parameter, never the token itself. Always there for Logz.io.
    pub token: Option<TokenPlace>,
}

impl fmt::Debug for DestinationSpec {
    /// A path or a query may be as good as a password, so neither is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationSpec")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("kind", &self.kind)
            .field("token", &self.token)
            .finish()
    }
}
