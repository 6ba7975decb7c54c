//! The calls that a client layer can measure: requests, responses, and templates in requests.

use http::Extensions;

/// The template of a call's path, as an extension of the request. Has precedence over the layer's
/// own templates.
///
/// ```
/// use tallies_http::Template;
///
/// let request = http::Request::get("http://users.local/users/7")
///     .extension(Template("/users/{id}"))
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template(pub &'static str);

/// A request that a client layer can measure.
///
/// ```
/// use tallies_http::CallRequest;
///
/// struct Query {
///     method: http::Method,
///     collection: String,
/// }
///
/// impl CallRequest for Query {
///     fn method(&self) -> &http::Method {
///         &self.method
///     }
///
///     fn path(&self) -> &str {
///         &self.collection
///     }
/// }
///
/// let query = Query { method: http::Method::GET, collection: "/users".to_owned() };
/// assert!(query.extensions().is_none());
/// ```
pub trait CallRequest {
    /// Returns the method.
    fn method(&self) -> &http::Method;
    /// Returns the path of the URL.
    fn path(&self) -> &str;
    /// Returns the extensions, which may contain a [`Template`].
    fn extensions(&self) -> Option<&Extensions> {
        None
    }
}

/// A response that a client layer can measure.
///
/// ```
/// use tallies_http::CallResponse;
///
/// struct Answer(Vec<u8>);
///
/// impl CallResponse for Answer {
///     fn status(&self) -> http::StatusCode {
///         if self.0.is_empty() { http::StatusCode::NOT_FOUND } else { http::StatusCode::OK }
///     }
/// }
///
/// assert_eq!(Answer(Vec::new()).status(), 404);
/// ```
pub trait CallResponse {
    /// Returns the status.
    fn status(&self) -> http::StatusCode;
}

impl<B> CallRequest for http::Request<B> {
    fn method(&self) -> &http::Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }
}

impl<B> CallResponse for http::Response<B> {
    fn status(&self) -> http::StatusCode {
        self.status()
    }
}
