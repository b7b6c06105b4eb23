//! The requests that the page makes.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes, HttpBody},
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    keys::Caller,
    ledger::{Ledger, Progress},
    lock,
    refusal::{Kind, Refusal},
};
use crate::{
    Judgement, Origin, Results,
    judgement::now_ms,
    preference_pairs,
    view::{StudyView, TaskView},
};

/// A body is read, but not kept, to this many times its limit before it is refused, so that a browser reads the refusal.
const OVERRUN: usize = 16;

type Reply = Result<Response, Refusal>;

/// Works with the log where waiting for the disk holds up nobody else.
async fn with_ledger<T: Send + 'static>(
    app: Arc<App>,
    work: impl FnOnce(&App, &mut Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let work = move || {
        let mut ledger = lock(&app.ledger);
        work(&app, &mut ledger)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(internal(error)))
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, error.to_string())
}

fn json_value(value: impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(internal)
}

fn judge(caller: Caller) -> Result<usize, Refusal> {
    match caller {
        Caller::Judge(judge) => Ok(judge),
        Caller::Owner => Err(Refusal::new(StatusCode::FORBIDDEN, Kind::Role, "the owner does not judge")),
    }
}

fn owner(caller: Caller) -> Result<(), Refusal> {
    match caller {
        Caller::Owner => Ok(()),
        Caller::Judge(_) => {
            Err(Refusal::new(StatusCode::FORBIDDEN, Kind::Role, "results are for the owner's token"))
        }
    }
}

pub(super) async fn page(State(app): State<Arc<App>>) -> Html<Bytes> {
    Html(app.page.clone())
}

pub(super) async fn session(State(app): State<Arc<App>>, caller: Caller) -> Reply {
    let (role, name) = match caller {
        Caller::Owner => ("owner", ""),
        Caller::Judge(judge) => ("judge", app.plan.judges().nth(judge).unwrap_or_default()),
    };
    let study = StudyView::new(&app.study);
    Ok(Json(json!({ "role": role, "name": name, "study": json_value(study)? })).into_response())
}

/// Which task: number `at`, or the first open one behind `after`, or the first open one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    at: Option<usize>,
    after: Option<usize>,
}

pub(super) async fn task(
    State(app): State<Arc<App>>,
    caller: Caller,
    which: Result<Query<Which>, QueryRejection>,
) -> Reply {
    let judge = judge(caller)?;
    let Query(which) =
        which.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, Kind::Query, error.body_text()))?;
    let reply = with_ledger(app, move |app, ledger| {
        let tasks = app.plan.tasks(judge);
        let place = match which.at {
            Some(at) if at >= tasks.len() => {
                let detail = format!("found task number {at}, wanted one below {}", tasks.len());
                return Err(Refusal::new(StatusCode::NOT_FOUND, Kind::Task, detail));
            }
            Some(at) => Some(at),
            None => ledger.open_task(judge, which.after),
        };
        let view = place
            .map(|place| TaskView::new(&app.study, &tasks[place], place, ledger.answer(judge, place)))
            .map(json_value)
            .transpose()?;
        Ok(json!({ "task": view, "progress": json_value(ledger.progress(&app.plan, judge))? }))
    });
    Ok(Json(reply.await?).into_response())
}

pub(super) async fn judgement(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Reply {
    let judge = judge(caller)?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or("");
    if media.split(';').next().map(str::trim) != Some("application/json") {
        let detail = format!("found the type `{media}`, wanted application/json");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::MediaType, detail));
    }
    let body = read(request.into_body(), app.body_limit, app.patience).await?;
    let judgement: Judgement = serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, Kind::Json, error.to_string()))?;
    let reply = with_ledger(app, move |app, ledger| {
        let (place, record) = app.plan.record(&app.study, judge, judgement, Origin::Server, now_ms())?;
        ledger.add(judge, place, record)?;
        Ok(json!({ "saved": true, "progress": json_value(ledger.progress(&app.plan, judge))? }))
    });
    Ok(Json(reply.await?).into_response())
}

async fn read(mut body: Body, limit: usize, patience: Duration) -> Result<Vec<u8>, Refusal> {
    let refuse = |status, detail: String| Refusal::new(status, Kind::Body, detail);
    let reading = async {
        let (mut bytes, mut length) = (Vec::new(), 0);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let cut = |_| refuse(StatusCode::BAD_REQUEST, "the body was cut off".to_owned());
            let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
            length += data.len();
            if length <= limit {
                bytes.extend_from_slice(&data);
            } else if length > limit.saturating_mul(OVERRUN) {
                break;
            }
        }
        if length > limit {
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("found a body above {limit} bytes")));
        }
        Ok(bytes)
    };
    let slow = |_| refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned());
    tokio::time::timeout(patience, reading).await.map_err(slow)?
}

pub(super) async fn progress(State(app): State<Arc<App>>, caller: Caller) -> Reply {
    let reply = with_ledger(app, move |app, ledger| {
        let judges: Vec<usize> = match caller {
            Caller::Judge(judge) => vec![judge],
            Caller::Owner => (0..app.plan.judges().len()).collect(),
        };
        let progress: Vec<Progress> =
            judges.into_iter().map(|judge| ledger.progress(&app.plan, judge)).collect();
        let changed = matches!(caller, Caller::Owner).then(|| ledger.changed());
        Ok(json!({ "judges": json_value(progress)?, "changed": changed }))
    });
    Ok(Json(reply.await?).into_response())
}

pub(super) async fn results(State(app): State<Arc<App>>, caller: Caller) -> Reply {
    owner(caller)?;
    let work = move || {
        // Copied, so that judges do not wait for a bootstrap.
        let contents = lock(&app.ledger).contents().clone();
        let results = Results::new(&app.study, &app.plan, &contents, &app.counting)?;
        json_value(json!({ "markdown": results.to_markdown(), "results": json_value(&results)? }))
    };
    let reply = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(internal(error)))?;
    Ok(Json(reply).into_response())
}

/// What to export.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    format: Format,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Every judgement of the log.
    Judgements,
    /// Chosen and rejected outputs.
    Preferences,
}

pub(super) async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    what: Result<Query<What>, QueryRejection>,
) -> Reply {
    owner(caller)?;
    let Query(what) =
        what.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, Kind::Query, error.body_text()))?;
    let lines = with_ledger(app, move |app, ledger| {
        let values: Vec<Value> = match what.format {
            Format::Judgements => {
                ledger.contents().records.iter().map(json_value).collect::<Result<_, _>>()?
            }
            Format::Preferences => {
                let export = preference_pairs(&app.study, &app.counted, ledger.contents());
                export.pairs.iter().map(json_value).collect::<Result<_, _>>()?
            }
        };
        Ok(values.iter().map(|value| format!("{value}\n")).collect::<String>())
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines.await?).into_response())
}
