//! All users of a client share its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunq_partner::MemoryCustody;
use bunq_partner_sandbox::Sandbox;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on to a sandbox, and counts them. Returns its base URL.
async fn counting(sandbox: &Sandbox) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (base_url, accepted) = (format!("http://{}/v1", listener.local_addr().unwrap()), Arc::<AtomicUsize>::default());
    let bank = sandbox.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut outside = TcpStream::connect(&bank).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut inside, &mut outside).await });
        }
    });
    (base_url, accepted)
}

/// One connection for each of them would be 50. A few more than one are made when a call begins before the one before it has given
/// its connection back.
#[tokio::test]
async fn fifty_users_have_no_connections_of_their_own() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (base_url, accepted) = counting(&sandbox).await;
    let client = sandbox.client().base_url(base_url).custody(MemoryCustody::new()).build().unwrap();
    let mut users = Vec::new();
    for id in sandbox.populate(50) {
        let user = client.users().activate(id).await.unwrap();
        user.api().list_credentials().await.unwrap();
        users.push(user);
    }
    for user in &users {
        user.api().list_credentials().await.unwrap();
    }
    let accepted = accepted.load(Ordering::Relaxed);
    assert!(accepted <= 10, "{accepted} connections");
}
