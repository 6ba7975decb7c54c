//! `reqwest`: its client is a tower service, and its request builder can be sent through a layer.

use reqwest::{Error, Request, RequestBuilder, Response};

use super::client::{CallRequest, CallResponse, ClientLayer};
use super::exchange::Failure;

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

/// What kind of failure an error of `reqwest` is by its own word.
pub(super) fn kind(error: &Error) -> Option<Failure> {
    if error.is_timeout() {
        Some(Failure::Timeout)
    } else if error.is_connect() {
        Some(Failure::Connect)
    } else if error.is_redirect() {
        Some(Failure::Redirect)
    } else if error.is_body() || error.is_decode() {
        Some(Failure::Body)
    } else {
        None
    }
}

impl ClientLayer {
    /// Sends a request of `reqwest`, measured; `template` is the label `path`.
    ///
    /// A response that was not expected is an answer as well: it counts with its status, and
    /// [`error_for_status`](Response::error_for_status) comes after. A request that could not be built, as its URL is none,
    /// say, counts as one of kind `error`, and of method `other`: `reqwest` does not tell its own.
    ///
    /// # Errors
    ///
    /// As [`RequestBuilder::send`].
    ///
    /// ```
    /// # async fn user(clients: &tallies::http::Clients) -> Result<String, Box<dyn std::error::Error>> {
    /// let users = clients.named("users"); // made once, kept
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
