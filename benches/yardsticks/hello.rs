//! The smallest function there is, to compare the start with: it answers with what it was asked.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let service =
        service_fn(async |event: LambdaEvent<Box<RawValue>>| Ok::<_, Error>(event.payload));
    lambda_runtime::run(service).await
}
