//! The example of a program that bunq calls.

use crate::webhooks::run;

#[tokio::test]
async fn it_hears_of_each_step_and_tells_the_same_each_time() {
    test_timeout::start();
    let told = run().await.unwrap();
    let expected = [
        "first user: Ready",
        "first user: Verified",
        "first user: Asked",
        "first user: Answered",
        "first user: Closed",
        "second user: Ready",
        "second user: Closed",
    ];
    assert_eq!(told, expected);
}
