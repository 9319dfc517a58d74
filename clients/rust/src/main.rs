//! Gets a price, reads an error, and follows prices through every cut of the connection.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

#[allow(clippy::all)]
mod gen {
    pub mod google {
        pub mod api {
            include!("gen/google.api.rs");
        }
        pub mod rpc {
            include!("gen/google.rpc.rs");
        }
    }
    pub mod trinity {
        pub mod options {
            pub mod v1 {
                include!("gen/trinity.options.v1.rs");
            }
        }
        pub mod price {
            pub mod v1 {
                include!("gen/trinity.price.v1.rs");
            }
        }
    }
}

use gen::trinity::price::v1::price_service_client::PriceServiceClient;
use gen::trinity::price::v1::{GetPriceRequest, Price, WatchPricesRequest, WatchPricesResponse};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// A service that has just started may let a stream wait.
const OPENING: Duration = Duration::from_secs(10);

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// TLS with a CA, mutual TLS with a certificate too; plain without, for this machine only.
async fn channel() -> Result<Channel, Box<dyn Error>> {
    let address = env("TRINITY_ADDRESS").ok_or("TRINITY_ADDRESS is not set")?;
    let Some(ca) = env("TRINITY_CA") else {
        return Ok(Endpoint::from_shared(format!("http://{address}"))?
            .connect()
            .await?);
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
    if let (Some(cert), Some(key)) = (env("TRINITY_CERT"), env("TRINITY_CERT_KEY")) {
        tls = tls.identity(Identity::from_pem(
            std::fs::read(cert)?,
            std::fs::read(key)?,
        ));
    }
    if let Some(name) = env("TRINITY_SERVER_NAME") {
        tls = tls.domain_name(name);
    }
    Ok(Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await?)
}

/// Sends an API key with every call, where there is one.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Client = PriceServiceClient<InterceptedService<Channel, Bearer>>;

/// The error's own word ("STALE_PRICE"), and when to try again.
fn reason(status: &Status) -> (String, Option<Duration>) {
    let details = status.get_error_details();
    let word = details.error_info().map(|info| info.reason.clone());
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    (
        word.unwrap_or_else(|| format!("{:?}", status.code())),
        retry,
    )
}

/// The newest price of each asset, and how far the stream has come.
#[derive(Default)]
struct Book {
    prices: HashMap<String, Price>,
    staged: HashMap<String, Price>,
    epoch: u64,
    sequence: u64,
}

impl Book {
    /// Applies one batch: a snapshot of another run of the service replaces everything once it is whole.
    fn take(&mut self, batch: &WatchPricesResponse) {
        let anew = batch.snapshot && batch.epoch != self.epoch;
        let into = if anew {
            &mut self.staged
        } else {
            &mut self.prices
        };
        into.extend(
            batch
                .prices
                .iter()
                .map(|price| (price.asset.clone(), price.clone())),
        );
        if batch.snapshot && !batch.snapshot_complete {
            return;
        }
        if anew {
            self.prices = std::mem::take(&mut self.staged);
            self.epoch = batch.epoch;
        }
        self.sequence = batch.sequence;
    }
}

/// Reads one stream until it is lost or silent; Ok once `told` returned false.
async fn follow(
    client: &mut Client,
    book: &mut Book,
    told: &mut impl FnMut(&Price) -> bool,
) -> Result<(), Status> {
    let silent = |_| Status::unavailable("nothing came");
    book.staged.clear();
    let request = WatchPricesRequest {
        assets: vec!["BTC".into(), "ETH".into()],
        heartbeat_ms: HEARTBEAT.as_millis() as u32,
        resume_epoch: book.epoch,
        resume_sequence: book.sequence,
        ..Default::default()
    };
    let opening = tokio::time::timeout(OPENING, client.watch_prices(request));
    let mut stream = opening.await.map_err(silent)??.into_inner();
    let mut patience = OPENING;
    loop {
        let next = tokio::time::timeout(patience, stream.message())
            .await
            .map_err(silent)??;
        let batch = next.ok_or_else(|| Status::unavailable("the service ended the stream"))?;
        patience = 3 * HEARTBEAT;
        book.take(&batch);
        if !batch.prices.iter().all(&mut *told) {
            return Ok(());
        }
    }
}

/// Follows prices; a stream that is lost is opened again and resumed.
async fn watch(client: &mut Client, mut told: impl FnMut(&Price) -> bool) -> Result<(), Status> {
    let (mut book, mut failures) = (Book::default(), 0u32);
    loop {
        let before = book.sequence;
        let Err(status) = follow(client, &mut book, &mut told).await else {
            return Ok(());
        };
        if matches!(
            status.code(),
            Code::InvalidArgument | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated
        ) {
            return Err(status); // a refusal: asking again changes nothing
        }
        failures = if book.sequence == before {
            failures + 1
        } else {
            0
        };
        tokio::time::sleep(Duration::from_millis(rand::random_range(
            0..50u64 << failures.min(5),
        )))
        .await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bearer = env("TRINITY_KEY")
        .map(|key| format!("Bearer {key}").parse())
        .transpose()?;
    let mut client = PriceServiceClient::with_interceptor(channel().await?, Bearer(bearer));

    let mut request = Request::new(GetPriceRequest {
        asset: "BTC".into(),
        min_sources: 1,
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(5));
    let price = client
        .get_price(request)
        .await?
        .into_inner()
        .price
        .ok_or("no price")?;
    println!(
        "price {} {} {}",
        price.asset,
        price.price,
        price.state().as_str_name()
    );

    let nope = GetPriceRequest {
        asset: "NOPE".into(),
        ..Default::default()
    };
    if let Err(status) = client.get_price(nope).await {
        let (word, retry) = reason(&status);
        println!("error {word} {:?} {retry:?}", status.code());
    }

    let mut left: i64 = env("TRINITY_CHANGES").map_or(Ok(0), |text| text.parse())?; // 0: for ever
    watch(&mut client, |price| {
        println!("change {} {}", price.asset, price.price);
        left -= 1;
        left != 0
    })
    .await?;
    Ok(())
}
