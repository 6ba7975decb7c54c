//! OpenTelemetry's environment variables, from the variables to the bytes that a receiver gets.
//! Each case is a process of its own.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use tallies_send::Sender;

use crate::gateway::{Answer, Gateway, Request, fine};
use crate::roads::receiver_with_tls;
use crate::support::alone;
use crate::{Program, jobs, stop};

/// Sends as the environment says, once and at the end, and prints the result.
fn program() {
    // A program that hangs fails its test.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(60));
        println!("result: hangs");
        std::process::abort();
    });
    let program = Program::new();
    program.jobs.add(3);
    let sender =
        Sender::from_env().map(|sender| sender.map(|sender| sender.registry(&program.registry)));
    let result = match sender {
        Ok(None) => "no sender".to_owned(),
        Ok(Some(sender)) => match sender.start() {
            Ok(sending) => stop(sending),
            Err(error) => format!("start: {error}"),
        },
        Err(error) => format!("from_env: {error}"),
    };
    println!("result: {result}");
}

/// Runs the program of a test with these variables, and returns what it prints and logs.
fn run(test: &str, variables: &[(&str, &str)]) -> String {
    let test = format!("environment::{test}");
    let output = alone(&test, program, |command| {
        command.arg("--nocapture");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
    });
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[track_caller]
fn assert_arrived(said: &str) {
    assert!(said.contains("result: arrived"), "{said}");
}

/// Returns the attributes of the resource in a request.
fn resource(request: &Request) -> Vec<(String, String)> {
    let request = ExportMetricsServiceRequest::decode(&*request.body).unwrap();
    let resource = request.resource_metrics[0].resource.clone().unwrap();
    let attributes = resource.attributes.into_iter();
    let pairs = attributes.map(|attribute| match attribute.value.unwrap().value {
        Some(Any::StringValue(text)) => (attribute.key, text),
        other => panic!("{other:?}"),
    });
    pairs.collect()
}

/// It was an error of `start`, though each receiver of OTLP documents this login.
#[test]
fn headers_are_a_login() {
    let name = "headers_are_a_login";
    for variable in [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    ] {
        for (value, authorization) in [
            ("Authorization=Bearer%20SECRET", "Bearer SECRET"),
            (
                "Authorization=Basic dXNlcjpTRUNSRVQ=",
                "Basic dXNlcjpTRUNSRVQ=",
            ),
            (
                "x-scope = a%2Cb,authorization=ApiKey SECRET",
                "ApiKey SECRET",
            ),
        ] {
            let receiver = Gateway::of(fine());
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*receiver.url);
            let said = run(name, &[endpoint, (variable, value)]);
            assert_arrived(&said);
            let request = receiver.next_request();
            assert_eq!(request.header("authorization"), Some(authorization));
            let tenant = value.contains("x-scope").then_some("a,b");
            assert_eq!(request.header("x-scope"), tenant);
            let agent = request.header("user-agent").unwrap();
            assert!(agent.starts_with("tallies/"), "{agent}");
            assert!(!said.contains("SECRET"), "{said}");
        }
    }
}

#[test]
fn a_user_agent_replaces_that_of_the_sender() {
    let receiver = Gateway::of(fine());
    let said = run(
        "a_user_agent_replaces_that_of_the_sender",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", "User-Agent=shop/1.0"),
        ],
    );
    assert_arrived(&said);
    let request = receiver.next_request();
    let agents = request
        .headers
        .iter()
        .filter(|(name, _)| name == "user-agent");
    let agents: Vec<_> = agents.map(|(_, value)| &**value).collect();
    assert_eq!(agents, ["shop/1.0"]);
}

/// `start` once refused a scheme in capitals, and cut a slash off.
#[test]
fn requests_go_to_the_endpoint() {
    let name = "requests_go_to_the_endpoint";
    for (variable, path, target) in [
        ("", "", "/v1/metrics"),
        ("", "/", "/v1/metrics"),
        ("", "/otlp/", "/otlp/v1/metrics"),
        ("METRICS_", "", "/"),
        ("METRICS_", "/otlp", "/otlp"),
        ("METRICS_", "/v1/metrics/", "/v1/metrics/"),
    ] {
        let receiver = Gateway::of(fine());
        let variable = format!("OTEL_EXPORTER_OTLP_{variable}ENDPOINT");
        let url = format!("{}{path}", receiver.url.replace("http:", "HTTP:"));
        assert_arrived(&run(name, &[(&variable, &url)]));
        let request = receiver.next_request();
        assert_eq!((&*request.method, &*request.target), ("POST", target));
        assert_eq!(jobs(&request.body), 3.0);
    }
}

#[test]
fn the_form_of_requests_follows_the_variables() {
    let receiver = Gateway::of(fine());
    let said = run(
        "the_form_of_requests_follows_the_variables",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("OTEL_METRICS_EXPORTER", "console,otlp"),
        ],
    );
    assert_arrived(&said);
    let request = receiver.next_request();
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let body = flate2::read::GzDecoder::new(&*request.body);
    let body: serde_json::Value = serde_json::from_reader(body).unwrap();
    let sum = &body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"];
    assert_eq!(sum["aggregationTemporality"], 1, "{body}");
}

#[test]
fn the_resource_follows_the_variables() {
    let name = "the_resource_follows_the_variables";
    let service = ("OTEL_SERVICE_NAME", "shop");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (attributes, zone) in [
        ("zone=a%2Cb,service.name=other", Some(pair("zone", "a,b"))),
        // All of it is discarded, and that is logged without the value.
        ("zone=a,SECRET", None),
        ("zone=a,password=SECRET%2", None),
    ] {
        let receiver = Gateway::of(fine());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*receiver.url);
        let said = run(
            name,
            &[endpoint, service, ("OTEL_RESOURCE_ATTRIBUTES", attributes)],
        );
        assert_arrived(&said);
        let request = receiver.next_request();
        let resource = resource(&request);
        assert!(
            resource.contains(&pair("service.name", "shop")),
            "{resource:?}"
        );
        let found = resource.into_iter().find(|(name, _)| name == "zone");
        assert_eq!(found, zone);
        let is_logged = said.contains("OTEL_RESOURCE_ATTRIBUTES is invalid in its entry 2");
        assert_eq!(is_logged, zone.is_none(), "{said}");
        assert!(!said.contains("SECRET"), "{said}");
    }
}

#[test]
fn intervals_and_timeouts_follow_the_variables() {
    let receiver = Gateway::of(Answer::Hang);
    let said = run(
        "intervals_and_timeouts_follow_the_variables",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "30000"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "150"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
        ],
    );
    assert!(said.contains("no response within 150ms"), "{said}");
}

#[test]
fn nothing_is_sent_if_the_variables_say_so() {
    let name = "nothing_is_sent_if_the_variables_say_so";
    for (variable, value, log) in [
        ("OTEL_SDK_DISABLED", "true", None),
        ("OTEL_METRICS_EXPORTER", "none", None),
        (
            "OTEL_METRICS_EXPORTER",
            "prometheus",
            Some("is `prometheus`, so no metrics are sent"),
        ),
    ] {
        let receiver = Gateway::of(fine());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*receiver.url);
        let said = run(name, &[endpoint, (variable, value)]);
        assert!(said.contains("result: no sender"), "{said}");
        assert!(said.contains(log.unwrap_or("")), "{said}");
        assert_eq!(said.contains(variable), log.is_some(), "{said}");
        assert!(receiver.is_quiet());
    }
}

#[test]
fn an_unknown_exporter_is_logged_and_ignored() {
    let receiver = Gateway::of(fine());
    let said = run(
        "an_unknown_exporter_is_logged_and_ignored",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url),
            ("OTEL_METRICS_EXPORTER", "SECRET"),
        ],
    );
    assert_arrived(&said);
    assert!(
        said.contains("OTEL_METRICS_EXPORTER has an exporter that is unknown"),
        "{said}"
    );
    assert!(!said.contains("SECRET"), "{said}");
}

#[test]
fn a_certificate_is_a_file_and_nothing_that_never_ends() {
    let name = "a_certificate_is_a_file_and_nothing_that_never_ends";
    let (port, authority) = receiver_with_tls();
    let dir = std::env::temp_dir().join(format!("tallies-certificate-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (file, pipe) = (dir.join("ca.pem"), dir.join("pipe"));
    std::fs::write(&file, authority).unwrap();
    let is_made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(is_made.success());
    let url = format!("https://localhost:{port}");
    for (file, expected) in [
        (file.to_str().unwrap(), "result: arrived"),
        (pipe.to_str().unwrap(), "it is not a regular file"),
        (dir.to_str().unwrap(), "it is not a regular file"),
        ("/there/is/no/such.pem", "No such file"),
    ] {
        let said = run(
            name,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", file),
            ],
        );
        assert!(said.contains(expected), "{file}: {said}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
