use bunq_partner::{Client, Environment, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::builder(Environment::Sandbox).api_key("sandbox_…").build()?;
    let closed = client.provisions().close("123".parse()?).await?.await?;
    println!("provision {} is {}", closed.id, closed.status);
    Ok(())
}
