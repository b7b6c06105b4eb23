//! SQuAD's nested file as one row per question.

mod detect;
mod flatten;

use std::io::BufRead;
use std::num::NonZeroU64;

use super::array::Array;
use super::elements::{Element, FileContext};
use crate::error::DataError;
use crate::record::Origin;

use detect::Head;
use flatten::Article;

/// The questions of a file `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}`,
/// with the columns of `squad` on the Hugging Face hub. One article is in memory at a time.
///
/// The layout is that of Rajpurkar et al. 2016 (arXiv:1606.05250) and, with `is_impossible`, 2018 (arXiv:1806.03822).
pub(crate) struct Questions {
    articles: Array,
    /// Articles that were read, and questions.
    count: usize,
    asked: u64,
    article: Option<Article>,
}

/// What a file that begins with an object is.
pub(crate) enum Detected {
    Questions(Questions),
    /// Something else; the stream from its beginning.
    Other(Box<dyn BufRead + Send>),
}

impl Questions {
    /// Reads up to the end of the first article, or to where it is clear that there is none.
    pub(crate) fn detect(
        reader: Box<dyn BufRead + Send>,
        context: &FileContext,
    ) -> Result<Detected, DataError> {
        let mut head = Head::new(reader, context.max_record_bytes);
        let list = head.find_articles().map_err(|error| context.damaged(1, &error))?;
        let Some(list) = list else {
            return Ok(Detected::Other(head.into_stream()));
        };
        let articles = Array::new(head.into_list(list), context.clone())?;
        Ok(Detected::Questions(Self { articles, count: 0, asked: 0, article: None }))
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        loop {
            if let Some(question) = self.article.as_mut().and_then(Article::next) {
                self.asked += 1;
                // An article and all its questions are one element of the list, mostly on one line.
                return Some(question.map(|mut question| {
                    question.origin.record = NonZeroU64::new(self.asked);
                    question
                }));
            }
            self.article = None;
            let article = by_line(self.articles.next()?);
            let place = format!("data[{}]", self.count);
            self.count += 1;
            match article.and_then(|article| Article::new(article, place)) {
                Ok(article) => self.article = Some(article),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The place of an article without its number: the numbers are those of the questions.
fn by_line(article: Result<Element, DataError>) -> Result<Element, DataError> {
    let line_of = |origin: Origin| Origin { record: None, ..origin };
    match article {
        Ok(Element { origin, payload }) => Ok(Element { origin: line_of(origin), payload }),
        Err(DataError::RecordTooLong { origin, limit }) => {
            Err(DataError::RecordTooLong { origin: line_of(origin), limit })
        }
        Err(error) => Err(error),
    }
}
