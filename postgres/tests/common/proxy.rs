//! What is between a service and its server, and fails.

use std::future::pending;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::TestDatabase;

/// Passes connections on to a server, on a port of its own.
pub struct Proxy {
    port: u16,
    made: watch::Receiver<usize>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    is_away: bool,
    /// Nothing passes any more over the connections up to this one.
    stuck: usize,
}

impl Proxy {
    /// Starts a proxy before the server of a test. It ends with the runtime.
    pub async fn start(test: &TestDatabase) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), test.server.port());
        let (count, made) = watch::channel(0);
        let state = watch::Sender::new(State::default());
        let states = state.subscribe();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                if !states.borrow().is_away {
                    tokio::spawn(pass(client, server, *count.borrow(), states.clone()));
                }
            }
        });
        Self { port, made, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a service that connects over this.
    pub fn url(&self, test: &TestDatabase) -> String {
        test.url().replace(&format!(":{}/", test.server.port()), &format!(":{}/", self.port))
    }

    /// Ends all connections, and refuses new ones as long as it is away.
    pub fn set_away(&self, is_away: bool) {
        self.state.send_modify(|state| state.is_away = is_away);
    }

    /// Has the connections that there are neither end nor pass anything on. New ones are not affected.
    pub fn stall(&self) {
        let made = self.made();
        self.state.send_modify(|state| state.stuck = made);
    }

    /// Has all connections stand still, also those that are made from now on.
    pub fn stall_all(&self) {
        self.state.send_modify(|state| state.stuck = usize::MAX);
    }

    /// How many connections were made, or tried.
    pub fn made(&self) -> usize {
        *self.made.borrow()
    }

    /// Waits until so many connections were made, or tried.
    pub async fn has_made(&self, count: usize) {
        self.made.clone().wait_for(|made| *made >= count).await.unwrap();
    }
}

async fn pass(mut client: TcpStream, server: u16, number: usize, mut states: watch::Receiver<State>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let is_away = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        state = states.wait_for(|state| state.is_away || state.stuck >= number) => state.is_err() || state.unwrap().is_away,
    };
    if !is_away {
        pending().await
    }
}
