//! `quickstart`: the whole product in a minute, from the binary alone.
//!
//! Checks the host, starts `serve` as a child, deploys the embedded example, calls its function URL cold and warm, shows the
//! answers, the REPORT line and the bill, imports notes as asynchronous events of which one fails and is sent again, and stays
//! up. `--once` ends after the calls.

mod child;
mod example;
mod import;

use crate::cli::{self, Global};
use crate::client::{Answer, Client, Endpoint};
use crate::commands::{FunctionSettings, deploy_package};
use crate::config::Config;
use crate::failure::Failure;
use crate::{doctor, output, server};
use bytes::Bytes;
use child::Server;
use example::{Call, Variant};
use http::Method;
use lamplight_model::{PriceBook, Timestamp};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs it. 0 when every answer was right, 1 when one was not.
pub fn run(global: &Global, flags: &cli::Quickstart, mut config: Config) -> Result<u8, Failure> {
    config.check()?;
    server::require_root("quickstart")?;
    doctor::require(&config)?;
    let (listen, remark) = child::free_address(&config, flags.listen.is_some());
    let say = |text: &str| {
        if global.json {
            output::remark(text);
        } else {
            output::line(text);
        }
    };
    if let Some(remark) = remark {
        say(&remark);
    }
    if let Some(process) = server::holder(&config.data_dir)
        && global.data_dir.is_none()
    {
        let beside = config.data_dir.with_file_name("lamplight-quickstart");
        say(&format!(
            "{} is in use by process {process}, so {} is used",
            config.data_dir.display(),
            beside.display()
        ));
        config.data_dir = beside;
    }
    say(&format!("starting a server, data in {}", config.data_dir.display()));
    let mut server = Server::start(global, &config, listen)?;
    say(&format!("the server listens on {}", server.endpoint));
    for remark in doctor::remarks(&config) {
        say(&remark);
    }
    let client = Client::new(
        Endpoint::parse(&server.endpoint, "the server")?,
        lamplight_model::Region::DEFAULT.to_owned(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::usage("failed to start").because(error))?;
    let shown = runtime.block_on(async {
        tokio::select! {
            shown = show_all(global, &client, &config.prices, &say) => shown.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    });
    let shown = match shown {
        Ok(Some(shown)) => shown,
        // Ctrl-C in the middle.
        Ok(None) => {
            server.stop();
            return Ok(1);
        }
        Err(failure) => {
            server.stop();
            return Err(failure);
        }
    };
    if global.json {
        output::json(
            &json!({ "Endpoint": server.endpoint, "Calls": shown.calls, "AllRight": shown.all_right }),
        );
    }
    if flags.once {
        server.stop();
        say(if shown.all_right {
            "every answer was right; the server is stopped"
        } else {
            "an answer was wrong"
        });
        return Ok(u8::from(!shown.all_right));
    }
    say(&next_steps(&server.endpoint, &shown.url));
    runtime.block_on(until_stopped(&mut server));
    server.stop();
    Ok(u8::from(!shown.all_right))
}

/// Until Ctrl-C, a termination, or the end of the server. Ctrl-C in a terminal reaches the server as well.
async fn until_stopped(server: &mut Server) {
    /// Time between two looks at whether the server ended by itself.
    const LOOK: Duration = Duration::from_millis(200);
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return;
    };
    let ended = async {
        while !server.has_ended() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        () = ended => {}
    }
}

struct Shown {
    /// Of the first function.
    url: String,
    calls: Vec<Value>,
    all_right: bool,
}

async fn show_all(
    global: &Global,
    client: &Client,
    prices: &PriceBook,
    say: &impl Fn(&str),
) -> Result<Shown, Failure> {
    let answer = client.json(Method::GET, "/lamplight/v1/runtimes", None).await?;
    let runtimes: Vec<String> = answer
        .get("Runtimes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|row| row.get("Identifier").and_then(Value::as_str).map(str::to_owned))
        .collect();
    let variants = example::variants(&runtimes);
    if !variants.iter().any(|variant| variant.language == "Python") {
        return Err(Failure::usage("no Python was found on this host")
            .then("apt-get install python3")
            .then("or name one: sudo lamplight runtime add python3.13 PATH"));
    }
    if variants.len() == 1 {
        say("no Node.js was found on this host, so Python only is shown");
    }
    let package = example::package()?;
    let mut shown = Shown { url: String::new(), calls: Vec::new(), all_right: true };
    let mut urls = Vec::new();
    for variant in &variants {
        urls.push(show_variant(global, client, prices, variant, &package, &mut shown, say).await?);
    }
    shown.url = urls[0].clone();
    for (variant, url) in variants.iter().zip(&urls).filter(|(variant, _)| variant.language == "Python") {
        let imported = import::show(client, variant, &package, url, say).await?;
        shown.all_right &= imported["Right"] == true;
        shown.calls.push(imported);
    }
    Ok(shown)
}

/// Gives the function's URL.
async fn show_variant(
    global: &Global,
    client: &Client,
    prices: &PriceBook,
    variant: &Variant,
    package: &[u8],
    shown: &mut Shown,
    say: &impl Fn(&str),
) -> Result<String, Failure> {
    let settings = FunctionSettings {
        memory_mib: Some(256),
        timeout_seconds: Some(10),
        file_systems: vec![(variant.function.to_owned(), "/mnt/notes".to_owned())],
        description: Some("lamplight quickstart: notes over HTTP".to_owned()),
        ..FunctionSettings::default()
    };
    let started = Instant::now();
    let (_, created) =
        deploy_package(client, variant.function, &variant.runtime, variant.handler, package, &settings)
            .await?;
    let url = client.publish_url(variant.function, "BUFFERED").await?;
    say(&format!(
        "\n{}: {} function {} ({}) in {} ms\n  {url}",
        variant.language,
        if created { "created" } else { "updated" },
        variant.function,
        variant.runtime,
        started.elapsed().as_millis()
    ));
    let note = format!("written at {}", now().iso_format());
    for call in example::calls(&note) {
        let since = now();
        let sent = Instant::now();
        let body = Bytes::from(call.body.clone());
        let answer = client.fetch(&url, call.method.clone(), example::PATH, body).await?;
        let elapsed = sent.elapsed();
        let lines = log_of(client, variant.function, since, &answer).await?;
        if answer.status.is_server_error() {
            lines.iter().for_each(|line| say(line.trim_end()));
            return Err(Failure::usage(format!("the function {} failed", variant.function))
                .because(format!("its URL answered {}", answer.status))
                .then(format!("lamplight logs {}", variant.function)));
        }
        let right = call.is_right(answer.status.as_u16(), &answer.body);
        shown.all_right &= right;
        let bill = Bill::of(&lines, prices);
        if !global.json {
            show_call(&call, &answer, elapsed, right, bill.as_ref(), prices, say);
        }
        shown.calls.push(json!({
            "Function": variant.function,
            "Call": call.title,
            "Right": right,
            "Status": answer.status.as_u16(),
            "Body": serde_json::from_slice::<Value>(&answer.body).unwrap_or_default(),
            "ElapsedMs": elapsed.as_secs_f64() * 1_000.0,
            "Report": bill.as_ref().map(|bill| bill.report.clone()),
            "Price": bill.as_ref().map(|bill| bill.price),
        }));
    }
    Ok(url)
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// The log lines of an answered request, its REPORT line the last. Logs are written beside the answer, so it may take a moment.
async fn log_of(
    client: &Client,
    function: &str,
    since: Timestamp,
    answer: &Answer,
) -> Result<Vec<String>, Failure> {
    /// Looks at the log, and the time between two.
    const LOOKS: (usize, Duration) = (100, Duration::from_millis(20));
    let id = answer.headers.get("x-amzn-requestid").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (group, pattern) = (format!("/aws/lambda/{function}"), format!("\"{id}\""));
    let mut lines = Vec::new();
    for _ in 0..LOOKS.0 {
        let page = client.filter_log_events(&group, since.0, Some(&pattern), None).await?;
        lines = page.lines.into_iter().map(|line| line.message).collect();
        if lines.iter().any(|line: &String| line.starts_with("REPORT ")) {
            break;
        }
        tokio::time::sleep(LOOKS.1).await;
    }
    Ok(lines)
}

fn show_call(
    call: &Call,
    answer: &Answer,
    elapsed: Duration,
    right: bool,
    bill: Option<&Bill>,
    prices: &PriceBook,
    say: &impl Fn(&str),
) {
    say(&format!(
        "  {}: {:.1} ms{}",
        call.title,
        elapsed.as_secs_f64() * 1_000.0,
        if right { "" } else { "   WRONG ANSWER" }
    ));
    let body: String = String::from_utf8_lossy(&answer.body).chars().take(400).collect();
    say(&format!("    {} {body}", answer.status.as_u16()));
    if let Some(bill) = bill {
        say(&format!("    {}", bill.report.replace('\t', "  ").trim_end()));
        say(&format!(
            "    bill: {} ms x {} MB = {:.9} GB-s, {:.12} {}",
            bill.billed_ms, bill.memory_mib, bill.gb_seconds, bill.price, prices.currency
        ));
    }
}

/// What one call cost, from its REPORT line.
struct Bill {
    report: String,
    billed_ms: u64,
    memory_mib: u32,
    gb_seconds: f64,
    price: f64,
}

impl Bill {
    fn of(lines: &[String], prices: &PriceBook) -> Option<Self> {
        let report = lines.iter().rev().find(|line| line.starts_with("REPORT "))?.trim_end().to_owned();
        let field = |name: &str| {
            let part = report.split('\t').find_map(|part| part.strip_prefix(name))?;
            part.split_whitespace().next()
        };
        let billed_ms: u64 = field("Billed Duration: ")?.parse().ok()?;
        let memory_mib: u32 = field("Memory Size: ")?.parse().ok()?;
        let billed = Duration::from_millis(billed_ms);
        Some(Self {
            billed_ms,
            memory_mib,
            gb_seconds: lamplight_model::billing::gb_seconds(billed, memory_mib),
            price: prices.price(billed, memory_mib),
            report,
        })
    }
}

fn next_steps(endpoint: &str, url: &str) -> String {
    let program = output::program();
    format!(
        "\nThe server stays up; Ctrl-C stops it. In another terminal:\n\n  \
         export AWS_ENDPOINT_URL={endpoint}\n  \
         export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1\n\n  \
         curl {url}notes\n  \
         {program} invoke notes '{{\"httpMethod\": \"GET\"}}' --log\n  \
         {program} logs notes --follow\n  \
         {program} usage\n  \
         {program} deploy ./my-function\n  \
         echo '{{\"httpMethod\": \"GET\"}}' > event.json\n  \
         aws lambda invoke --function-name notes --payload fileb://event.json /dev/stdout\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_is_read_from_the_report_line() {
        let report =
            "REPORT RequestId: x\tDuration: 1.20 ms\tBilled Duration: 1024 ms\tMemory Size: 512 MB\t\n";
        let lines = ["START\n", report].map(str::to_owned);
        let bill =
            Bill::of(&lines, &PriceBook { per_gb_second: 1.0, per_request: 0.0, ..PriceBook::default() });
        let bill = bill.unwrap();
        assert_eq!((bill.billed_ms, bill.memory_mib), (1024, 512));
        assert!((bill.price - 0.512).abs() < 1e-9);
    }
}
