//! Short prose: one sentence out of each group, in order, with the slots shared by the whole text.

use crate::generate::scene::Scene;

/// A kind of text: groups of sentences of which one each is taken. An empty sentence leaves the group out.
type Groups = &'static [&'static [&'static str]];

const STORY: Groups = &[
    &[
        "{given} lived in a {adjective} house near {place}.",
        "There was once {a profession} called {given} who lived in {place}.",
        "On a {weather} {daytime} in {month}, {given} walked to the {spot}.",
        "{given} and {given2} had known each other since school.",
        "Every {weekday}, {given} went to the {spot} with {given2}.",
        "When {given} was young, {he} kept {a animal} in the {room}.",
        "{given} was {a adjective} {profession} and liked {hobby}.",
    ],
    &[
        "One day {he} found {a adjective} {object} under the {object2}.",
        "One {daytime} {his} {object} was gone[.| from the {room}.]",
        "Then {a animal} came into the {room} and took the {object}.",
        "[In {season}|Last {season}] {he} wanted to learn {hobby}.",
        "That day {he} needed {a object}, but the shop was closed.",
        "Nobody knew why the {object} in the {room} was so {adjective}.",
        "A letter came from {place2}, and it was for {given}.",
    ],
    &[
        "{given} was {feeling} and asked {given2} for help.",
        "\"Have you seen my {object}?\" {he} asked {given2}.",
        "{given2} said, \"We should look [in the {room}|near the {spot}].\"",
        "So {given} took the {vehicle} to {place2} and looked for {given2}.",
        "{He} waited until {time}, but nobody came.",
        "At first {he} did not know what to do.",
        "{given2} laughed and gave {him} some {food}.",
    ],
    &[
        "",
        "They walked past the {spot} and along the road to {place2}.",
        "It was {weather} by then, and the {spot} was [quiet|empty|full of people].",
        "On the way they met {a profession} with {a animal}.",
        "After {count} minutes they were [tired|hungry|lost].",
        "They looked [everywhere|for hours], even under the {object2}.",
    ],
    &[
        "In the end the {object} was in the {room} all along.",
        "At last {given2} found it behind the {spot}.",
        "The {animal} had carried it to the {spot}.",
        "The {object} cost {price}, and {given} paid at once.",
        "Then {given2} had a good idea and opened the {object2}.",
        "An old {profession} gave it back to {given}.",
    ],
    &[
        "{given} was {feeling2} and went home.",
        "From then on, {given} and {given2} were friends.",
        "They ate {food} and drank {drink} until late.",
        "{He} never forgot that {daytime}.",
        "\"Thank you,\" said {given}, and {given2} smiled.",
        "After that, {given} always kept the {object} in the {room}.",
    ],
];

const DIARY: Groups = &[
    &["{weekday}, {date}.", "{date}.", "Dear diary,", "Notes for {weekday}:"],
    &[
        "Today it was {weather} and I was {feeling}.",
        "I got up at {time} and made {drink}.",
        "This {daytime} I went to the {spot} with {given}.",
        "We took the {vehicle} at {time} to {place}.",
    ],
    &[
        "{given} showed me {his} new {object}.",
        "I bought {fruit} for {price}, and {given} bought {food}.",
        "In the {room} I found the {adjective} {object} that {given} had lost.",
        "At the {spot2} we saw {a animal} and two {adjective} birds.",
    ],
    &[
        "Then {given} told me about {hobby}, and I told {him} about {hobby2}.",
        "Later we cooked {food2} and listened to the radio.",
        "I wrote a letter to {person} in {place2}.",
        "",
    ],
    &[
        "Tomorrow I will [call|visit|write to] {given} again.",
        "I hope it will not be {weather2} tomorrow.",
        "I went to bed at {time2}, {feeling2} but glad.",
        "Next {weekday2} we will meet at the {spot2}.",
    ],
];

const HOW_TO: Groups = &[
    &[
        "How to make {food} with {fruit}.",
        "How to clean {a adjective} {object}.",
        "How to plant {plant} in {season}.",
        "How to paint {a object} {colour}.",
    ],
    &[
        "First, take {a adjective} {object2} and {weight} of {fruit}.",
        "You need {drink}, {material} and {a object2}.",
        "Start in the {daytime}, when it is not too {weather}.",
        "Begin with clean hands and a dry table.",
    ],
    &[
        "Then [mix|wash|cut|warm] everything for {count} minutes.",
        "Next, put it in {a object2} and wait for {count} minutes.",
        "After that, cover it with {material2} and leave it in the {room}.",
    ],
    &[
        "Be careful: it is [hot|heavy|sharp|wet].",
        "Do not use too much water.",
        "If it is too {adjective2}, wait a little longer.",
        "",
    ],
    &[
        "Last, [serve it with {food2}|let it dry in the sun|write down the date].",
        "When it is done, it is {adjective2} and {colour}.",
        "It will last for {count2} days.",
    ],
];

const PLACE: Groups = &[
    &[
        "{place} is {a adjective} town near {place2}.",
        "The town of {place} lies by a {adjective} river.",
        "{place} has {number} people and {a adjective} {spot}.",
        "Few people know the {spot} of {place}.",
    ],
    &[
        "Its {spot} was built in {year} by {person}.",
        "In {year} {person} opened a school there.",
        "The road to {place2} is {length} wide and often {weather}.",
        "In {season}, visitors come for the {fruit} and the {food}.",
    ],
    &[
        "The {vehicle} from {place2} stops at the {spot} at {time}.",
        "On {weekday} there is a market with {fruit}, {food} and {plant}.",
        "Many people there work as {profession}s or {profession2}s.",
        "",
    ],
    &[
        "{person} still lives in {place} today.",
        "The oldest house in {place} is made of {material}.",
        "If you visit {place}, bring {a object}.",
        "It is best known for its {colour} {building}.",
    ],
];

const ANIMAL: Groups = &[
    &[
        "{given} has {a animal} called {given2}.",
        "A {adjective} {animal} lives near the {spot}.",
        "The {animal} of {person} is {colour} and {adjective}.",
    ],
    &[
        "It eats {food}, {fruit} and sometimes {plant}.",
        "It weighs {weight} and is {length} long.",
        "Every {daytime} it sleeps in {a adjective} {object}.",
        "It is afraid of the {vehicle} and of {weather} days.",
    ],
    &[
        "In {season} it likes to sit in the {room}.",
        "Last {weekday} it ran to the {spot2} and came back with {a object2}.",
        "When it is {feeling}, it hides behind the {object2}.",
    ],
    &[
        "Everyone in {place} knows it.",
        "{person2}, the {profession}, brings it {food2}.",
        "It was born on {date}.",
        "The {animal} and the {animal2} are good friends.",
    ],
];

const PERSON: Groups = &[
    &[
        "{person} was born in {place} in {year}.",
        "{person} is {a profession} from {place}.",
        "{person} and {person2} work at {company}.",
        "{person} has been the {role} of the {spot} since {year}.",
    ],
    &[
        "{He} studied {lesson} and {lesson2} in {place2}.",
        "As a child {he} liked {hobby} and {hobby2}.",
        "Before that, {he} was {a profession2} in {place2}.",
        "{His} first book was called {title}.",
    ],
    &[
        "In {year2}, {person} moved to {place3} and opened {a building}.",
        "Then {he} met {person2}, {a profession3}, at the {spot2}.",
        "For {count} years {he} worked for {company}.",
        "",
    ],
    &[
        "{He} has {a animal}, {a adjective} garden and {count2} {plant}.",
        "Today {person} lives at {address} in {place2}.",
        "On {weekday} {he} teaches {lesson2} to children.",
        "{His} number is {phone}.",
    ],
];

const NOTICE: Groups = &[
    &[
        "The {spot} is open from {time} to {time2}.",
        "Notice: the {room} will be closed on {weekday}.",
        "To all members of the {hobby} club:",
        "The {event} will take place on {date}.",
    ],
    &[
        "Tickets cost {price}, and {price2} for groups.",
        "Please bring {a object} and {food}.",
        "We meet at {time} in the {room} of the {spot}.",
        "Please use the {adjective} door next to the {spot2}.",
    ],
    &[
        "Children may not bring {a animal}.",
        "The {vehicle} to {place} leaves at {time3}.",
        "Lost things, such as {a object2} or {a object3}, are kept in the {room2}.",
        "",
    ],
    &[
        "Questions? Call {person}, {phone}.",
        "Your {role}, {person}.",
        "Thank you, {person} and {person2}.",
        "For more, ask {person} at {company}.",
    ],
];

const DIALOGUE: Groups = &[
    &[
        "{given}: Good {daytime}, {given2}!\n",
        "{given}: Hello {given2}, how are you?\n",
        "{given}: Is that you, {given2}?\n",
    ],
    &[
        "{given2}: Hello {given}, I am {feeling} today.\n",
        "{given2}: Good to see you, {given}.\n",
        "{given2}: Yes, and I brought the {object}.\n",
    ],
    &[
        "{given}: Did you buy the {fruit}?\n{given2}: Yes, they cost {price}.\n",
        "{given}: When does the {vehicle} leave?\n{given2}: It leaves at {time} from platform {platform}.\n",
        "{given}: Who is the {profession} over there?\n{given2}: That is {person} from {place}.\n",
        "{given}: What is your number?\n{given2}: It is {phone}.\n{given}: {phone}, thank you.\n",
    ],
    &[
        "{given}: Then let us meet at the {spot}.\n{given2}: At the {spot}, good.",
        "{given}: I will bring {food} and {drink}.\n{given2}: I like {food}.",
        "{given}: See you on {weekday}, {given2}.\n{given2}: See you on {weekday}!",
    ],
];

const CATALOGUE: Groups = &[
    &[
        "{company} makes {adjective} things of {material}.",
        "The {product} by {company} is {a adjective} {object}.",
        "New at {company}: the {product}.",
        "A new {device} is here, and its name is {product}.",
    ],
    &[
        "It is {length} high and weighs {weight}.",
        "It comes in {colour}, {colour2} and {colour3}.",
        "It is made of {material} and {material2} in {place}.",
        "It was invented by {person} in {year}.",
    ],
    &[
        "The {product} costs {price}.",
        "People in {place} like it because it is {adjective2}.",
        "With the {product} you can [cook|clean|read|work] in the {room}.",
        "The code on the box is {code}.",
    ],
    &[
        "Call {company} at {phone}.",
        "You find the {product} in the shop at {address}.",
        "{given} has had {a object} by {company} since {year2}.",
        "",
    ],
];

const WEATHER: Groups = &[
    &[
        "The weather for {weekday}:",
        "In {place} it will be {weather} on {weekday}.",
        "{Weather} weather in {place}.",
    ],
    &[
        "The {daytime} begins {weather}, later it will be {weather2}.",
        "Near the {spot} it will be {weather2} until {time}.",
        "Rain falls on {percent} of the days in {month}.",
    ],
    &[
        "Take {a object} with you, said {person}.",
        "On {weekday2} it will be {weather3} again.",
        "It has not been so {weather2} since {year}.",
        "Drivers on the road from {place} to {place2} should be careful.",
    ],
];

const KINDS: &[(usize, Groups)] = &[
    (30, STORY),
    (8, DIARY),
    (8, HOW_TO),
    (8, PLACE),
    (8, ANIMAL),
    (12, PERSON),
    (8, NOTICE),
    (10, DIALOGUE),
    (10, CATALOGUE),
    (4, WEATHER),
];

/// One text of a kind drawn by weight; in one text of four another paragraph of that kind follows.
pub(super) fn document(scene: &mut Scene) -> String {
    let groups = *scene.rng().weighted(KINDS);
    let first = paragraph(scene, groups);
    if scene.rng().chance(25) {
        let second = paragraph(&mut scene.another(), groups);
        format!("{first}\n\n{second}")
    } else {
        first
    }
}

fn paragraph(scene: &mut Scene, groups: Groups) -> String {
    let mut text = String::new();
    for group in groups {
        let sentence = scene.pick(group);
        if !text.is_empty() && !text.ends_with('\n') && !sentence.is_empty() {
            text.push(' ');
        }
        text.push_str(&sentence);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::names::Realm;
    use crate::generate::rng::Rng;

    #[test]
    fn every_sentence_can_be_filled_in() {
        for (_, groups) in KINDS {
            for sentence in groups.iter().copied().flatten() {
                let text = Scene::new(Rng::new(1), Realm::General).render(sentence);
                assert!(!text.contains(['{', '}', '[', ']', '|']), "{text}");
                assert!(!text.contains("  "), "{text}");
            }
        }
    }
}
