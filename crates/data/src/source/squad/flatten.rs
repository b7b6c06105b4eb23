use std::vec;

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::record::Origin;
use crate::source::columns::{free_name, nearest};
use crate::source::elements::{Element, Payload};
use crate::source::shape::wrong_type;

type Object = Map<String, Value>;

/// The questions of one article.
pub(super) struct Article {
    origin: Origin,
    /// Where it stands: `data[3]`.
    place: String,
    title: Value,
    /// What else the article has.
    others: Object,
    paragraphs: vec::IntoIter<Value>,
    /// Paragraphs that were begun.
    begun: usize,
    paragraph: Option<Paragraph>,
}

struct Paragraph {
    place: String,
    context: Value,
    others: Object,
    questions: vec::IntoIter<Value>,
    begun: usize,
}

impl Article {
    pub(super) fn new(element: Element, place: String) -> Result<Self, DataError> {
        let origin = element.origin;
        let value = match element.payload {
            Payload::Json(value) => value,
            Payload::Text(text) => Value::String(text),
        };
        let mut article = object(value, &place, &origin)?;
        let paragraphs = list(&mut article, "paragraphs", &place, &origin)?;
        // Hugging Face's loader gives an article without a title an empty one.
        let title = match article.shift_remove("title") {
            Some(title) => text(title, &format!("{place}.title"), &origin)?,
            None => Value::String(String::new()),
        };
        let paragraphs = paragraphs.into_iter();
        Ok(Self { origin, place, title, others: article, paragraphs, begun: 0, paragraph: None })
    }

    /// The next question, or what is wrong with it or with its paragraph.
    pub(super) fn next(&mut self) -> Option<Result<Element, DataError>> {
        loop {
            if let Some(paragraph) = &mut self.paragraph
                && let Some(question) = paragraph.questions.next()
            {
                let place = format!("{}.qas[{}]", paragraph.place, paragraph.begun);
                paragraph.begun += 1;
                let row = row(
                    question,
                    &place,
                    &self.origin,
                    [("title", &self.title), ("context", &paragraph.context)],
                    [&paragraph.others, &self.others],
                );
                let origin = self.origin.clone();
                return Some(row.map(|row| Element { origin, payload: Payload::Json(Value::Object(row)) }));
            }
            let paragraph = self.paragraphs.next()?;
            let place = format!("{}.paragraphs[{}]", self.place, self.begun);
            self.begun += 1;
            match Paragraph::new(paragraph, place, &self.origin) {
                Ok(paragraph) => self.paragraph = Some(paragraph),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Paragraph {
    fn new(value: Value, place: String, origin: &Origin) -> Result<Self, DataError> {
        let mut paragraph = object(value, &place, origin)?;
        let questions = list(&mut paragraph, "qas", &place, origin)?.into_iter();
        let context = required(&mut paragraph, "context", &place, origin)?;
        let context = text(context, &format!("{place}.context"), origin)?;
        Ok(Self { place, context, others: paragraph, questions, begun: 0 })
    }
}

/// `id`, what is `around` the question, `question` and `answers`, then all else that the question, its paragraph and its
/// article have.
fn row(
    question: Value,
    place: &str,
    origin: &Origin,
    around: [(&str, &Value); 2],
    others: [&Object; 2],
) -> Result<Object, DataError> {
    let mut question = object(question, place, origin)?;
    let asked = required(&mut question, "question", place, origin)?;
    let asked = text(asked, &format!("{place}.question"), origin)?;
    let mut row = Object::new();
    if let Some(id) = question.shift_remove("id") {
        row.insert("id".to_owned(), id);
    }
    for (name, value) in around {
        row.insert(name.to_owned(), value.clone());
    }
    row.insert("question".to_owned(), asked);
    if question.contains_key("answers") {
        let found = list(&mut question, "answers", place, origin)?;
        row.insert("answers".to_owned(), answers(found, place, origin)?);
    }
    let others = others.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in question.into_iter().chain(others) {
        let name = free_name(name, |name| row.contains_key(name));
        row.insert(name, value);
    }
    Ok(row)
}

/// A list of `{"text", "answer_start"}` as one object of two lists.
fn answers(found: Vec<Value>, place: &str, origin: &Origin) -> Result<Value, DataError> {
    let (mut texts, mut starts) = (Vec::new(), Vec::new());
    for (index, answer) in found.into_iter().enumerate() {
        let place = format!("{place}.answers[{index}]");
        let mut answer = object(answer, &place, origin)?;
        let found = required(&mut answer, "text", &place, origin)?;
        texts.push(text(found, &format!("{place}.text"), origin)?);
        let start = required(&mut answer, "answer_start", &place, origin)?;
        match start.is_i64() || start.is_u64() {
            true => starts.push(start),
            false => {
                return Err(wrong_type(&start, &format!("{place}.answer_start"), "a whole number", origin));
            }
        }
    }
    let lists = [("text", texts), ("answer_start", starts)];
    Ok(Value::Object(lists.into_iter().map(|(name, list)| (name.to_owned(), Value::Array(list))).collect()))
}

fn object(value: Value, place: &str, origin: &Origin) -> Result<Object, DataError> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(wrong_type(&other, place, "an object", origin)),
    }
}

fn list(object: &mut Object, name: &str, place: &str, origin: &Origin) -> Result<Vec<Value>, DataError> {
    match required(object, name, place, origin)? {
        Value::Array(list) => Ok(list),
        other => Err(wrong_type(&other, &format!("{place}.{name}"), "a list", origin)),
    }
}

fn text(value: Value, place: &str, origin: &Origin) -> Result<Value, DataError> {
    match value.is_string() {
        true => Ok(value),
        false => Err(wrong_type(&value, place, "a string", origin)),
    }
}

fn required(object: &mut Object, name: &str, place: &str, origin: &Origin) -> Result<Value, DataError> {
    if let Some(value) = object.shift_remove(name) {
        return Ok(value);
    }
    Err(DataError::MissingColumn {
        origin: origin.clone(),
        wanted: format!("{place}.{name}"),
        found: object.keys().cloned().collect(),
        nearest: nearest(name, object.keys().map(String::as_str)),
    })
}
