//! The settings of client layers, their registration, and the clients by name.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use crate::families::{Families, FamilySettings};
use crate::routes::Routes;
use crate::scheme::{CLIENT, Spec};
use tallies::{Error, Info, Registry};
use tallies_names::setters;

use super::ClientLayer;
use super::classify::Classifiers;

/// The settings of client layers: which families they have and how they are named.
/// [`register`](Self::register) creates the [`Clients`].
///
/// | family | |
/// |---|---|
/// | `{prefix}_info{version}` | 1, if a [`version`](Self::version) is given |
/// | `{prefix}_http_requests_total{client_name,method,path,status_code}` | every call, however it ended |
/// | `{prefix}_request_latency_seconds{client_name,method,path,status_code}` | time to the response head, or to the failure |
/// | `{prefix}_http_requests_in_flight{client_name,method,path}` | calls that wait for a response |
///
/// `path` is the template, such as `/users/{id}`, never the path itself. For a call without a
/// response, `status_code` is the kind of its [`FailureKind`]: `timeout`, `connect`, `redirect`,
/// `body`, `cancelled` (the caller dropped the future), `panic` or `error`. A layer inside a
/// retrying service counts every attempt.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies_http::ClientMetrics;
///
/// let version = env!("CARGO_PKG_VERSION");
/// let clients = ClientMetrics::new().prefix("shop").version(version).register(tallies::registry())?;
/// let users = clients.named("users").templates(["/users", "/users/{id}"]);
/// assert_eq!(tallies::snapshot().get("shop_info", &[("version", version)]), Some(1.0));
/// # let _ = users;
/// # Ok(())
/// # }
/// ```
///
/// [`FailureKind`]: crate::FailureKind
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `register`"]
pub struct ClientMetrics {
    families: FamilySettings,
    version: Option<String>,
}

impl Default for ClientMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientMetrics {
    /// Uses the prefix `client` and the bucket bounds 0.05, 0.1, 0.2,
    /// 0.4, 0.8, 1.6, 3.2, 6.4, 12.8 and 25.6 seconds.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies_http::ClientMetrics::new().register(&registry)?;
    /// assert!(registry.snapshot().family("client_http_requests_total").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        let families = FamilySettings::new(CLIENT, "client");
        let version = None;
        Self { families, version }
    }

    setters! {
        /// Sets the prefix of all names; the default is `client`, and `""` means no prefix. An
        /// underscore separates prefix and name, unless the prefix ends in an underscore or in any
        /// other character that is not an ASCII letter or digit.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new().prefix("shop").register(&registry)?;
        /// assert!(registry.snapshot().family("shop_http_requests_total").is_some());
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn prefix(self, prefix: &str) = prefix.clone_into(&mut self.families.prefix);

        /// Adds `{prefix}_info` with this label `version`: the program's, as in
        /// `version(env!("CARGO_PKG_VERSION"))`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new().version("1.2.3").register(&registry)?;
        /// let seen = registry.snapshot();
        /// assert_eq!(seen.get("client_info", &[("version", "1.2.3")]), Some(1.0));
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn version(self, version: &str) = self.version = Some(version.to_owned());

        /// Sets the name of the counter, without the prefix; the default is `http_requests_total`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new()
        ///     .requests_name("calls_total")
        ///     .register(&registry)?;
        /// assert!(registry.snapshot().family("client_calls_total").is_some());
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn requests_name(self, name: &str) = rename(&mut self.families.scheme.answered, name);

        /// Sets the name of the histogram, without the prefix; the default is
        /// `request_latency_seconds`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new()
        ///     .latency_name("call_seconds")
        ///     .register(&registry)?;
        /// assert!(registry.snapshot().family("client_call_seconds").is_some());
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn latency_name(self, name: &str) = rename(&mut self.families.scheme.headers, name);

        /// Sets the bucket bounds of the latency, in seconds. [`register`](Self::register) checks
        /// them.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new().buckets(&[0.1, 1.0, 10.0]);
        /// assert!(clients.register(&registry).is_ok());
        ///
        /// let descending = tallies_http::ClientMetrics::new().buckets(&[1.0, 0.1]);
        /// assert!(descending.register(&registry).is_err());
        /// # Ok(())
        /// # }
        /// ```
        fn buckets(self, seconds: &[f64]) =
            self.families.scheme.buckets = Cow::Owned(seconds.to_vec());

        /// Adds a label to every series.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new()
        ///     .version("1")
        ///     .constant("zone", "a")
        ///     .register(&registry)?;
        /// let seen = registry.snapshot();
        /// assert_eq!(seen.get("client_info", &[("version", "1"), ("zone", "a")]), Some(1.0));
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn constant(self, name: &str, value: &str) =
            self.families.constant.push((name.to_owned(), value.to_owned()));

        /// Sets the limit of templates per client; the default is 1000. Calls to templates beyond
        /// the limit count with the path `__overflow__`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let clients = tallies_http::ClientMetrics::new().limit(100).register(&registry)?;
        /// assert!(registry.snapshot().family("client_http_requests_total").is_some());
        /// # let _ = clients;
        /// # Ok(())
        /// # }
        /// ```
        fn limit(self, templates: usize) = self.families.routes = templates;
    }

    /// Registers the families. Reuses families that are already registered with the same settings.
    ///
    /// The memory of the families and of the layers is never freed, even if the registry is
    /// dropped. Call this once.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies_http::ClientMetrics::new().register(&registry)?;
    /// let users = clients.named("users");
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the families reject the prefix, a name, a constant label or the bounds,
    /// or if a family of another shape has one of the names.
    #[track_caller]
    pub fn register(self, registry: &Registry) -> Result<Clients, Error> {
        let settings = &self.families;
        let families = Families::leak(settings, registry)?;
        if let Some(version) = &self.version {
            let help = "The version of the program that calls other services.";
            let info = settings.apply(Info::builder("info", help));
            let info = info.constant("version", version);
            info.get_or_register(registry)?;
        }
        let named = Arc::default();
        Ok(Clients { families, named })
    }
}

fn rename(spec: &mut Option<Spec>, name: &str) {
    if let Some(spec) = spec {
        spec.name = Cow::Owned(name.to_owned());
    }
}

/// The registered families of [`ClientMetrics`]. Creates a layer for each service that the program
/// calls.
#[derive(Clone, Debug)]
pub struct Clients {
    families: &'static Families,
    /// The routes of each client created so far. Written and read by [`named`](Self::named).
    named: Arc<Mutex<Vec<&'static Routes>>>,
}

impl Clients {
    /// Returns the layer for calls to one service. `name` is the value of the label `client_name`.
    ///
    /// Layers with the same name share their series. The memory of a name, a few kilobytes, is
    /// never freed, so use few names, and do not take them from data.
    ///
    /// ```
    /// use tallies_http::ClientMetrics;
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = tallies::Registry::new();
    /// let clients = ClientMetrics::new().register(&registry)?;
    /// let service = ServiceBuilder::new()
    ///     .layer(clients.named("users"))
    ///     .service_fn(async |_: http::Request<()>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(()))
    ///     });
    /// let request = http::Request::get("http://users.local/").body(())?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response = service.oneshot(request).await;
    /// assert!(response.is_ok());
    /// # });
    /// let labels = [
    ///     ("client_name", "users"),
    ///     ("method", "GET"),
    ///     ("path", "unmatched"),
    ///     ("status_code", "200"),
    /// ];
    /// assert_eq!(registry.snapshot().get("client_http_requests_total", &labels), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn named(&self, name: &str) -> ClientLayer {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let known = named.iter().find(|routes| *routes.client == *name);
        let routes = known.copied().unwrap_or_else(|| {
            let routes = Routes::leak(self.families, name, [].into());
            named.push(routes);
            routes
        });
        ClientLayer {
            routes,
            templates: None,
            classifiers: Classifiers::default(),
        }
    }
}
