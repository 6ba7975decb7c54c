//! The environment variables, one by one.

use std::collections::HashMap;

use crate::otlp::environment::Environment;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Environment, tallies::Error> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Environment::read(|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn read_ok(variables: &[(&str, &str)]) -> Environment {
    let found = read(variables);
    found.unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the error of one variable.
fn error(variable: &str, value: &str) -> String {
    let error = read(&[(variable, value)]).err();
    error.expect("an error").to_string()
}

/// Returns the resource of a request.
fn resource(environment: &Environment) -> Vec<(String, String)> {
    let gauge = family("load", Kind::Gauge, &[(&[], Value::Gauge(1.0))]);
    let request = request(&environment.otlp, &snapshot(vec![gauge], 1));
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let texts = texts(&resource.attributes).into_iter();
    let others = texts.filter(|(name, _)| !name.starts_with("telemetry.sdk."));
    let owned = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[test]
fn defaults_are_those_of_the_specification() {
    for variables in [
        &[][..],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", " "),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", ""),
        ],
    ] {
        let found = read_ok(variables);
        assert_eq!(found.url, "http://localhost:4318/v1/metrics");
        assert_eq!(found.timeout, Duration::from_secs(10));
        assert_eq!(found.interval, Duration::from_secs(60));
        assert_eq!(found.export_timeout, Duration::from_secs(30));
        assert!(found.headers.is_empty() && found.certificate.is_none());
        assert!(!found.gzip && !found.is_disabled);
        assert_eq!(format!("{:?}", found.otlp), format!("{:?}", Otlp::new()));
    }
}

#[test]
fn the_path_is_added_to_the_endpoint_of_all_signals_only() {
    for (variable, value, url) in [
        (
            "",
            "http://collector:4318",
            "http://collector:4318/v1/metrics",
        ),
        (
            "",
            "http://collector:4318/",
            "http://collector:4318/v1/metrics",
        ),
        (
            "",
            "http://collector:4318/mycollector",
            "http://collector:4318/mycollector/v1/metrics",
        ),
        (
            "",
            "HTTP://collector/mycollector/",
            "http://collector/mycollector/v1/metrics",
        ),
        ("METRICS_", "http://collector:4318", "http://collector:4318"),
        (
            "METRICS_",
            "Http://collector/v1/metrics/",
            "http://collector/v1/metrics/",
        ),
        (
            "METRICS_",
            "http://collector/v1/metrics",
            "http://collector/v1/metrics",
        ),
    ] {
        let variable = format!("OTEL_EXPORTER_OTLP_{variable}ENDPOINT");
        assert_eq!(read_ok(&[(&variable, value)]).url, url);
    }
    for value in [
        "collector:4318",
        "http://",
        "http:///x",
        "ftp://collector",
        "é",
    ] {
        let error = error("OTEL_EXPORTER_OTLP_ENDPOINT", value);
        let expected = format!("OTEL_EXPORTER_OTLP_ENDPOINT: receiver URL `{value}` ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn variables_of_metrics_win() {
    let found = read_ok(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics/x"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "all=1"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "metrics=1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "LOWMEMORY",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "0"),
    ]);
    assert_eq!(found.url, "http://metrics/x");
    assert_eq!(found.headers, owned(&[("metrics", "1")]));
    assert_eq!(found.timeout, Duration::from_millis(2500));
    assert!(found.gzip);
    assert_eq!(found.interval, Duration::from_secs(5));
    // 0 stands for no limit.
    assert!(found.export_timeout > Duration::from_secs(24 * 3600));
    let otlp = Otlp::new().json().temporality(Temporality::LowMemory);
    assert_eq!(format!("{:?}", found.otlp), format!("{otlp:?}"));
}

#[test]
fn values_that_are_unknown_name_those_that_are_known() {
    for (variable, value, expected) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "is `grpc`; it needs `http/protobuf` or `http/json`",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
            "zstd",
            "is `zstd`; it needs `none` or `gzip`",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "rate",
            "is `rate`; it needs `cumulative` or `delta` or `lowmemory`",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            "is `10s`; it needs a whole number of milliseconds",
        ),
        (
            "OTEL_METRIC_EXPORT_TIMEOUT",
            "-1",
            "is `-1`; it needs a whole number of milliseconds",
        ),
        (
            "OTEL_METRIC_EXPORT_INTERVAL",
            "0",
            "is `0`; it needs a number of milliseconds above 0",
        ),
    ] {
        assert_eq!(error(variable, value), format!("{variable} {expected}"));
    }
}

#[test]
fn headers_are_decoded_and_their_values_are_never_shown() {
    let value = "Authorization=Basic%20dXNlcjpwYXNz==, x-scope = a%2Cb=c ,, empty=";
    let found = read_ok(&[("OTEL_EXPORTER_OTLP_HEADERS", value)]);
    let expected = [
        ("authorization", "Basic dXNlcjpwYXNz=="),
        ("x-scope", "a,b=c"),
        ("empty", ""),
    ];
    assert_eq!(found.headers, owned(&expected));
    for value in [
        "a=1,secret",
        "a=1,=secret",
        "a=secret%2",
        "a=secret%zz",
        "a=secret%+1",
        "a=secret%ff",
        "a=secret%0d%0ax: y",
        "a b=secret",
        "é=secret",
        // A colon for the equals sign, and a value in base64.
        "Authorization: Basic secret==",
        "x-api-key: secret=",
    ] {
        let error = error("OTEL_EXPORTER_OTLP_HEADERS", value);
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_HEADERS"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// Secrets in the wrong variable, or in the wrong form.
#[test]
fn no_variable_shows_a_login() {
    for option in [
        "ENDPOINT",
        "HEADERS",
        "TIMEOUT",
        "PROTOCOL",
        "COMPRESSION",
        "CERTIFICATE",
        "CLIENT_CERTIFICATE",
        "CLIENT_KEY",
        "METRICS_TEMPORALITY_PREFERENCE",
    ] {
        for value in [
            "me:SECRET@collector:4318",
            "https:/me:SECRET@collector:4318",
            "http://me:SECRET@collector:4318",
            "http://collector:4318/?token=SECRET",
            "Authorization: Bearer SECRET",
            "Authorization: Basic SECRET==",
            "x-api-key=SECRET\u{1b}",
            "-----BEGIN PRIVATE KEY-----\nSECRET\n",
        ] {
            let variable = format!("OTEL_EXPORTER_OTLP_{option}");
            if let Err(error) = read(&[(&variable, value)]) {
                let error = error.to_string();
                assert!(error.starts_with(&variable), "{error}");
                assert!(!error.contains("SECRET"), "{value}: {error}");
            }
        }
    }
    for variable in ["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"] {
        assert!(!error(variable, "Bearer SECRET").contains("SECRET"));
    }
}

#[test]
fn headers_that_describe_the_body_are_refused() {
    for name in ["Content-Type", "content-encoding", "Content-Length", "Host"] {
        let error = error("OTEL_EXPORTER_OTLP_HEADERS", &format!("{name}=x"));
        let name = name.to_ascii_lowercase();
        assert_eq!(
            error,
            format!("OTEL_EXPORTER_OTLP_HEADERS: header `{name}` is set by the client itself")
        );
    }
}

#[test]
fn a_client_certificate_is_an_error_and_not_ignored() {
    for variable in [
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
    ] {
        let error = error(variable, "/client.pem");
        assert!(
            error.starts_with(&format!("{variable} is set, but")),
            "{error}"
        );
    }
}

#[test]
fn a_certificate_needs_tls() {
    let found = read(&[
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/metrics.pem"),
    ]);
    #[cfg(feature = "tls")]
    assert_eq!(found.ok().unwrap().certificate, Some("/metrics.pem".into()));
    #[cfg(not(feature = "tls"))]
    {
        let error = found.err().unwrap().to_string();
        assert!(error.contains("needs the feature `tls`"), "{error}");
    }
}

#[test]
fn the_service_has_a_name_and_attributes() {
    let attributes = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=a, k%3D1 = v%2C%C3%A4 ,host=x=y,k%3D1=2",
    );
    let found = resource(&read_ok(&[attributes]));
    assert_eq!(
        found,
        owned(&[("service.name", "a"), ("k=1", "2"), ("host", "x=y")])
    );
    let found = resource(&read_ok(&[attributes, ("OTEL_SERVICE_NAME", "b")]));
    assert_eq!(found[0], ("service.name".to_owned(), "b".to_owned()));
    // All of it is discarded, as the specification says.
    for value in ["a", "a=%", "=a", "a=1,b=%f", "%ff=1"] {
        let found = resource(&read_ok(&[("OTEL_RESOURCE_ATTRIBUTES", value)]));
        let unknown = resource(&read_ok(&[]));
        assert_eq!(found, unknown, "{value}");
        let service = ("OTEL_SERVICE_NAME", "b");
        let found = resource(&read_ok(&[("OTEL_RESOURCE_ATTRIBUTES", value), service]));
        assert_eq!(found, owned(&[("service.name", "b")]), "{value}");
    }
}

#[test]
fn exporters_other_than_otlp_send_nothing() {
    for (value, sends) in [
        ("otlp", true),
        (" OTLP ", true),
        ("console,otlp", true),
        ("prometheus, otlp", true),
        ("none", false),
        ("None", false),
        ("prometheus", false),
        ("console", false),
        ("logging,prometheus", false),
        // Nothing is left of these, so the default is.
        ("", true),
        (",", true),
        ("zipkin", true),
        ("none,zipkin", false),
    ] {
        let found = read_ok(&[("OTEL_METRICS_EXPORTER", value)]);
        assert_eq!(found.is_disabled, !sends, "{value}");
    }
    // The variables of what is not used are not read.
    let broken = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert!(read_ok(&[("OTEL_METRICS_EXPORTER", "none"), broken]).is_disabled);
}

#[test]
fn a_disabled_environment_is_not_read() {
    let broken = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    for (value, is_disabled) in [
        ("true", true),
        ("TRUE", true),
        ("false", false),
        ("1", false),
    ] {
        let found = read(&[("OTEL_SDK_DISABLED", value), broken]);
        assert_eq!(found.is_ok_and(|found| found.is_disabled), is_disabled);
    }
}
