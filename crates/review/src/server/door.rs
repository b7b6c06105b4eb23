//! What every request passes: the checks before, the headers and the log of refusals after.

use std::sync::Arc;

use axum::{
    Router,
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    App,
    connection::Peer,
    keys::Caller,
    refusal::{Kind, Refusal},
    routes,
};

/// Sent with everything, beside the content security policy.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(routes::page))
        .route("/api/session", get(routes::session))
        .route("/api/task", get(routes::task))
        .route("/api/judgement", post(routes::judgement))
        .route("/api/progress", get(routes::progress))
        .route("/api/results", get(routes::results))
        .route("/api/export", get(routes::export))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), door))
        .with_state(app)
}

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, Kind::Path, "nothing is here")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Kind::Method, "this path takes another method")
}

async fn door(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    peer.asked();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = match own(&app.hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        app.refused(peer.address(), method.as_str(), &shown(&uri), &refusal);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, app.policy.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    peer.answered();
    response
}

/// The path with its query.
fn shown(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.to_string(), ToString::to_string)
}

/// Refuses what was meant for another server or comes from another site's page.
fn own(hosts: &[String], request: &Request) -> Result<(), Refusal> {
    let known = |host: &str| hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = named.next().and_then(|host| host.to_str().ok());
    let target = request.uri().authority();
    let strange = |found: String| Refusal::new(StatusCode::MISDIRECTED_REQUEST, Kind::Host, found);
    match host {
        Some(host) if known(host) && named.next().is_none() => {}
        Some(host) => return Err(strange(format!("this server is not `{host}`"))),
        None => return Err(strange("no readable Host header".to_owned())),
    }
    if let Some(target) = target.filter(|target| !known(target.as_str())) {
        return Err(strange(format!("this server is not `{target}`")));
    }
    for origin in request.headers().get_all(header::ORIGIN) {
        let text = origin.to_str().unwrap_or("?");
        let site = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if !site.is_some_and(known) {
            let found = format!("a request from `{text}`, which is another site");
            return Err(Refusal::new(StatusCode::FORBIDDEN, Kind::Origin, found));
        }
    }
    Ok(())
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let caller = token.and_then(|token| app.keys.caller(token));
        let detail = if token.is_some() { "the token is unknown" } else { "no token" };
        caller.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, Kind::Token, detail))
    }
}
