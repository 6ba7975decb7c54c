//! Support for `reqwest`: the layer can wrap its client, which is a tower service, and can send its
//! request builders.

use reqwest::{Error, Request, RequestBuilder, Response};

use super::client::{CallRequest, CallResponse, ClientLayer};
use super::exchange::FailureKind;

impl CallRequest for Request {
    fn method(&self) -> &http::Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.url().path()
    }
}

impl CallResponse for Response {
    fn status(&self) -> http::StatusCode {
        self.status()
    }
}

/// Returns the kind of failure that `reqwest` reports for `error`.
pub(super) fn kind(error: &Error) -> Option<FailureKind> {
    let kinds = [
        (error.is_timeout(), FailureKind::Timeout),
        (error.is_connect(), FailureKind::Connect),
        (error.is_redirect(), FailureKind::Redirect),
        (error.is_body() || error.is_decode(), FailureKind::Body),
    ];
    let (_, kind) = kinds.into_iter().find(|(is_it, _)| *is_it)?;
    Some(kind)
}

impl ClientLayer {
    /// Sends a `reqwest` request and measures the call. `template` is the value of the label
    /// `path`.
    ///
    /// A response with an error status is still a response: it counts with its status, and the
    /// caller can check it with [`error_for_status`](Response::error_for_status) afterwards. A
    /// request that cannot be built, for example because its URL is invalid, counts with kind
    /// `error` and method `other`, as `reqwest` does not reveal the method.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`RequestBuilder::send`].
    ///
    /// ```
    /// # async fn user(
    /// #     clients: &tallies_http::Clients,
    /// # ) -> Result<String, Box<dyn std::error::Error>> {
    /// let users = clients.named("users"); // create once, and keep
    /// let http = reqwest::Client::new();
    /// let answer = users.send("/users/{id}", http.get("http://users.local/users/7")).await?;
    /// Ok(answer.text().await?)
    /// # }
    /// ```
    pub async fn send(&self, template: &str, request: RequestBuilder) -> Result<Response, Error> {
        let (client, request) = request.build_split();
        let method = request.as_ref().map_or("", |r| r.method().as_str());
        let exchange = self.begin(method, Some(template), "");
        let call = async || client.execute(request?).await;
        self.measure(exchange, call).await
    }
}
