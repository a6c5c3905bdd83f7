//! A port in front of another one, that can be closed and opened again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

/// How the port is to those who connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Connections are passed on.
    Open,
    /// Those that stand are cut, and new ones are as soon as they are made.
    Cut,
    /// Those that stand are cut, and nobody listens.
    Gone,
}

/// The gate; it closes with this.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    way: watch::Sender<Way>,
    turned_away: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// An open gate in front of the server of this URL.
    pub async fn before(server: &Url) -> Self {
        let to = server.socket_addrs(|| None).expect("an address")[0];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let (way, ways) = watch::channel(Way::Open);
        let turned_away = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(keep(listener, to, ways, Arc::clone(&turned_away)));
        Self {
            address,
            way,
            turned_away,
            task,
        }
    }

    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("a URL")
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Connections that were cut as soon as they were made.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

async fn keep(
    listener: TcpListener,
    to: SocketAddr,
    mut ways: watch::Receiver<Way>,
    turned_away: Arc<AtomicU64>,
) {
    let address = listener.local_addr().expect("bound");
    let mut listener = Some(listener);
    loop {
        let way = *ways.borrow_and_update();
        let mut connections = JoinSet::new();
        match way {
            Way::Gone => listener = None,
            Way::Open | Way::Cut if listener.is_none() => {
                listener = Some(TcpListener::bind(address).await.expect("the same port"));
            }
            Way::Open | Way::Cut => {}
        }
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = ways.changed() => match changed {
                    // The connections end with their set.
                    Ok(()) => break,
                    Err(_) => return,
                },
                accepted = accepted => {
                    let Ok((mut from, _)) = accepted else { continue };
                    if way == Way::Cut {
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    connections.spawn(async move {
                        if let Ok(mut to) = TcpStream::connect(to).await {
                            // Nagle's algorithm would hold back the end of each answer.
                            let _ = (from.set_nodelay(true), to.set_nodelay(true));
                            let _ = copy_bidirectional(&mut from, &mut to).await;
                        }
                    });
                }
            }
        }
    }
}
