//! Questions about two or three sentences and about short chats; the answer is a span of the text.

use super::extract::join;
use crate::generate::json_object;
use crate::generate::scene::Scene;

/// A statement about `{person}` with the questions it answers.
struct Fact {
    tells: &'static [&'static str],
    asks: &'static [&'static str],
    answer: &'static str,
}

const FACTS: &[Fact] = &[
    Fact {
        tells: &[
            "{person} lives in {place}.",
            "The home of {person} is in {place}.",
            "{person} moved to {place}.",
        ],
        asks: &["Where does {person} live?", "In which town does {person} live?"],
        answer: "place",
    },
    Fact {
        tells: &[
            "{person} works for {company}.",
            "{company} has a new worker: {person}.",
            "{person} found a job at {company}.",
        ],
        asks: &["Where does {person} work?", "Which company does {person} work for?"],
        answer: "company",
    },
    Fact {
        tells: &["{person} has {a animal} called {given9}.", "{given9} is the {animal} of {person}."],
        asks: &["What is the {animal} of {person} called?", "Which animal name belongs to {person}?"],
        answer: "given9",
    },
    Fact {
        tells: &["{person} was born on {date}.", "The birthday of {person} is {date}."],
        asks: &["When was {person} born?", "What is the birthday of {person}?"],
        answer: "date",
    },
    Fact {
        tells: &["{person} will come at {time}.", "The {vehicle} with {person} arrives at {time}."],
        asks: &["When does {person} come?", "At what time does {person} arrive?"],
        answer: "time",
    },
    Fact {
        tells: &["The number of {person} is {phone}.", "{person} can be called at {phone}."],
        asks: &["What is the number of {person}?", "How can one call {person}?"],
        answer: "phone",
    },
    Fact {
        tells: &["{person} bought {a object} for {price}.", "The {object} of {person} cost {price}."],
        asks: &["How much did {person} pay?", "What did the {object} of {person} cost?"],
        answer: "price",
    },
    Fact {
        tells: &["{person} sits in room {roomnumber}.", "Room {roomnumber} belongs to {person}."],
        asks: &["In which room is {person}?", "Which room belongs to {person}?"],
        answer: "roomnumber",
    },
    Fact {
        tells: &["{person} wrote {title}.", "The book {title} is by {person}."],
        asks: &["Which book did {person} write?", "What is the book of {person} called?"],
        answer: "title",
    },
    Fact {
        tells: &["{person} is {a profession}.", "{person} works as {a profession}."],
        asks: &["What does {person} do?", "Which job does {person} have?"],
        answer: "profession",
    },
    Fact {
        tells: &["{person} gave {amount} to the {building}.", "The {building} got {amount} from {person}."],
        asks: &["How much did {person} give?", "Which sum came from {person}?"],
        answer: "amount",
    },
    Fact {
        tells: &["{person} plays for {team}.", "{team} has a new player, {person}."],
        asks: &["Which team does {person} play for?", "For whom does {person} play?"],
        answer: "team",
    },
];

/// Questions whose answer is the person of the fact.
const ASK_WHO: &[(&str, &str)] = &[
    ("place", "Who lives in {place}?"),
    ("company", "Who works for {company}?"),
    ("title", "Who wrote {title}?"),
    ("roomnumber", "Who sits in room {roomnumber}?"),
    ("phone", "Whose number is {phone}?"),
    ("team", "Who plays for {team}?"),
    ("amount", "Who gave {amount}?"),
];

/// A context of two to eight facts about different people, and one question.
pub(super) fn question(scene: &mut Scene) -> (String, String) {
    let count = scene.some(2, 4);
    let first: &Fact = scene.rng().choose(FACTS);
    let one_kind = scene.rng().chance(50);
    let mut told: Vec<(Scene, &Fact)> = Vec::with_capacity(count);
    let mut sentences = Vec::with_capacity(count);
    while told.len() < count {
        let fact = if one_kind { first } else { scene.rng().choose(FACTS) };
        let mut own = scene.another();
        let sentence = own.pick(fact.tells);
        let (person, value) = (own.value("person"), own.value(fact.answer));
        let ambiguous = told
            .iter_mut()
            .any(|(other, kind)| other.value("person") == person || other.value(kind.answer) == value);
        if !ambiguous {
            sentences.push(sentence);
            told.push((own, fact));
        }
    }
    let text = sentences.join(" ");
    let asked = scene.rng().below(count);
    let (mut own, fact) = told.swap_remove(asked);
    let who = ASK_WHO.iter().find(|(slot, _)| *slot == fact.answer);
    let (ask, answer) = match who {
        Some((_, ask)) if scene.rng().chance(30) => (own.render(ask), own.value("person")),
        _ => (own.pick(fact.asks), own.value(fact.answer)),
    };
    let task = if scene.rng().chance(30) {
        format!("Read the text. {ask}\n{text}")
    } else {
        join(scene, &ask, &text)
    };
    (task, answer)
}

/// What people say in a chat.
const LINES: &[&str] = &[
    "I will bring the {food}.",
    "The {vehicle} leaves at {time}.",
    "Let us meet at the {spot}.",
    "Who has my {object}?",
    "I paid {price} for the {object}.",
    "It is {weather} in {place}.",
    "Can you call {person} today?",
    "My new number is {phone}.",
    "I am at the {spot} with {given}.",
    "The code for the door is {code}.",
    "See you on {weekday}.",
    "I cannot come on {date}.",
    "{company} sent a parcel.",
    "I would like some {drink}.",
    "We need {count} chairs.",
];

/// A chat of three to eight lines and a question about who said what.
pub(super) fn chat(scene: &mut Scene) -> (String, String) {
    let count = scene.some(3, 4);
    let names: Vec<String> = (1..=3).map(|number| scene.value(&format!("given{number}"))).collect();
    let mut lines: Vec<(usize, String)> = Vec::with_capacity(count);
    while lines.len() < count {
        let speaker = if lines.len() < 2 { lines.len() } else { scene.rng().below(3) };
        let line = scene.another().pick(LINES);
        if lines.iter().all(|(_, other)| *other != line) {
            lines.push((speaker, line));
        }
    }
    let text = lines
        .iter()
        .map(|(speaker, line)| format!("{}: {line}", names[*speaker]))
        .collect::<Vec<_>>()
        .join("\n");
    let (speaker, line) = scene.rng().choose(&lines).clone();
    let speaker = names[speaker].clone();
    let (first, last) = (names[lines[0].0].as_str(), names[lines[count - 1].0].as_str());
    let (instruction, answer) = match scene.rng().below(10) {
        0..=3 => (format!("Who said \"{line}\"?"), speaker),
        4 => ("Who spoke first?".to_owned(), first.to_owned()),
        5 => ("Who spoke last?".to_owned(), last.to_owned()),
        6 | 7 => {
            let said: Vec<&str> =
                lines.iter().filter(|(by, _)| names[*by] == speaker).map(|(_, line)| line.as_str()).collect();
            (format!("What did {speaker} say?"), said.join(" "))
        }
        8 => (
            "Read the chat and answer in JSON with the keys \"first_speaker\",\"last_speaker\".".to_owned(),
            json_object(&[("first_speaker", first), ("last_speaker", last)]),
        ),
        _ => (
            "Read the chat and answer in JSON with the keys \"speaker\",\"message\" for the first line."
                .to_owned(),
            json_object(&[("speaker", first), ("message", lines[0].1.as_str())]),
        ),
    };
    (join(scene, &instruction, &text), answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::names::Realm;
    use crate::generate::rng::Rng;

    #[test]
    fn answers_are_spans_of_the_text() {
        for record in 0..500 {
            let mut scene = Scene::new(Rng::keyed(9, "question", record), Realm::General);
            let (task, answer) = question(&mut scene);
            assert!(task.contains(&answer), "{task}\n{answer}");
        }
    }

    #[test]
    fn every_fact_tells_its_answer() {
        for fact in FACTS {
            for tells in fact.tells {
                let mut scene = Scene::new(Rng::new(3), Realm::General);
                let text = scene.render(tells);
                assert!(text.contains(&scene.value(fact.answer)), "{text}");
                assert!(text.contains(&scene.value("person")), "{text}");
            }
        }
        for (slot, ask) in ASK_WHO {
            assert!(ask.contains(slot), "{ask}");
        }
    }

    #[test]
    fn chats_name_their_speakers() {
        for record in 0..300 {
            let mut scene = Scene::new(Rng::keyed(9, "chat", record), Realm::General);
            let (task, answer) = chat(&mut scene);
            assert!(!answer.is_empty() && task.contains(": "), "{task}\n{answer}");
        }
    }
}
