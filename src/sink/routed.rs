//! The endpoint of the settings, and those of rules: each body goes where its route says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::endpoint::EndpointSink;
use super::{Answer, Sink};
use crate::body::Body;
use crate::config::{Endpoint, TokenPlace};
use crate::rules::DestinationSpec;
use crate::token::{TokenError, TokenSource};

/// Endpoints of rules that are held at a time; of more the one that was met first is made anew when it is
/// needed again. Rules may change, so nobody knows them all beforehand.
const OTHERS_MAX: usize = 64;

/// Makes a source of tokens from the place that a rule names.
pub type MakeToken<T> = Box<dyn Fn(&TokenPlace) -> Result<T, TokenError> + Send + Sync>;

type Other<T> = (Arc<DestinationSpec>, Arc<EndpointSink<T>>);

/// Delivers each body to the endpoint of its route.
pub struct RoutedSink<T> {
    main: EndpointSink<T>,
    client: reqwest::Client,
    token: MakeToken<T>,
    others: Mutex<Vec<Other<T>>>,
}

impl<T: TokenSource> RoutedSink<T> {
    /// `main` is for bodies whose route names no other endpoint; `client` is for those.
    pub fn new(main: EndpointSink<T>, client: reqwest::Client, token: MakeToken<T>) -> Self {
        Self {
            main,
            client,
            token,
            others: Mutex::default(),
        }
    }

    fn other(&self, wanted: &Arc<DestinationSpec>) -> Result<Arc<EndpointSink<T>>, String> {
        // What a panicking thread left is whole.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sink)) = others.iter().find(|(spec, _)| spec == wanted) {
            return Ok(Arc::clone(sink));
        }
        let token = wanted.token.as_ref().map(&self.token).transpose();
        let token = token.map_err(|error| error.to_string())?;
        let endpoint = Endpoint {
            url: wanted.url.clone(),
            kind: wanted.kind,
            token: wanted.token.clone(),
            log_type: None,
        };
        let sink = EndpointSink::new(self.client.clone(), &endpoint, token);
        let sink = Arc::new(sink.ok_or("the endpoint's kind needs a token")?);
        if others.len() >= OTHERS_MAX {
            others.remove(0);
        }
        others.push((Arc::clone(wanted), Arc::clone(&sink)));
        Ok(sink)
    }
}

impl<T: TokenSource> Sink for RoutedSink<T> {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        match &body.route.endpoint {
            None => self.main.deliver(body, timeout).await,
            Some(endpoint) => match self.other(endpoint) {
                Ok(sink) => sink.deliver(body, timeout).await,
                Err(reason) => Answer::Fatal { reason },
            },
        }
    }

    async fn prepare(&self) {
        self.main.prepare().await;
    }
}
