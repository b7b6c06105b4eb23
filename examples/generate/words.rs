//! English words and the table that turns a slot's name into a value.

use super::names::{self, Realm};
use super::numbers::{self, MONTHS, WEEKDAYS};
use super::rng::Rng;

const ADJECTIVES: &[&str] = &[
    "small", "old", "bright", "quiet", "heavy", "clean", "warm", "cold", "broken", "round", "soft", "long",
    "narrow", "simple", "strong", "dark", "plain", "new", "empty", "careful", "early", "gentle", "rough",
    "wide", "dry", "busy", "calm", "strange", "useful", "famous", "pretty", "open", "cheap", "rare", "wet",
    "light", "tall", "short",
];
const OBJECTS: &[&str] = &[
    "lamp", "chair", "table", "box", "key", "cup", "basket", "clock", "ladder", "bicycle", "bag", "book",
    "letter", "coat", "hat", "rope", "bell", "bottle", "mirror", "blanket", "spoon", "bucket", "map",
    "camera", "radio", "kettle", "wallet", "umbrella", "violin", "notebook", "ring", "scarf", "drum",
    "candle", "hammer", "stamp", "phone", "tent",
];
const ANIMALS: &[&str] = &[
    "dog", "cat", "horse", "goat", "fox", "owl", "rabbit", "duck", "crow", "hen", "sheep", "bear", "mouse",
    "frog", "pony", "swan", "turtle", "parrot",
];
const FOODS: &[&str] = &[
    "bread", "soup", "cheese", "rice", "cake", "honey", "pasta", "salad", "butter", "jam", "fish", "beans",
    "pie", "porridge", "noodles", "pancakes",
];
const FRUITS: &[&str] = &[
    "apples", "pears", "plums", "cherries", "lemons", "oranges", "grapes", "melons", "figs", "berries",
    "peaches", "bananas",
];
const DRINKS: &[&str] = &["tea", "coffee", "milk", "water", "juice", "cocoa", "lemonade", "cider"];
const COLOURS: &[&str] = &[
    "red", "blue", "green", "yellow", "black", "white", "grey", "brown", "orange", "purple", "pink",
    "silver", "golden", "beige",
];
const MATERIALS: &[&str] = &[
    "wood", "glass", "steel", "wool", "cotton", "leather", "paper", "clay", "copper", "plastic", "stone",
    "linen", "bamboo", "felt",
];
const ROOMS: &[&str] =
    &["kitchen", "garden", "cellar", "attic", "hall", "office", "workshop", "library", "garage", "bathroom"];
const SPOTS: &[&str] = &[
    "market",
    "river",
    "station",
    "harbour",
    "bridge",
    "school",
    "museum",
    "park",
    "beach",
    "mill",
    "farm",
    "church",
    "forest",
    "square",
    "lake",
    "theatre",
    "post office",
    "bakery",
    "castle",
    "hill",
];
const WEATHERS: &[&str] =
    &["rainy", "sunny", "windy", "foggy", "snowy", "cloudy", "stormy", "mild", "frosty", "humid"];
const FEELINGS: &[&str] = &[
    "happy",
    "tired",
    "proud",
    "nervous",
    "curious",
    "angry",
    "sad",
    "glad",
    "surprised",
    "bored",
    "hopeful",
    "grateful",
];
const PROFESSIONS: &[&str] = &[
    "baker",
    "teacher",
    "nurse",
    "carpenter",
    "pilot",
    "farmer",
    "painter",
    "driver",
    "doctor",
    "gardener",
    "singer",
    "engineer",
    "sailor",
    "librarian",
    "cook",
    "tailor",
    "plumber",
    "writer",
    "dentist",
    "architect",
];
const HOBBIES: &[&str] = &[
    "painting", "swimming", "chess", "fishing", "cycling", "dancing", "knitting", "sailing", "running",
    "cooking", "pottery", "climbing",
];
const VEHICLES: &[&str] = &["bus", "train", "ferry", "tram", "van", "boat", "taxi", "truck"];
const PLANTS: &[&str] =
    &["roses", "tomatoes", "tulips", "carrots", "herbs", "oaks", "beans", "potatoes", "ferns", "lilies"];
const SEASONS: &[&str] = &["spring", "summer", "autumn", "winter"];
const DAYTIMES: &[&str] = &["morning", "afternoon", "evening", "night"];
const BUILDINGS: &[&str] = &[
    "bridge",
    "school",
    "library",
    "hospital",
    "museum",
    "tunnel",
    "stadium",
    "station",
    "swimming pool",
    "theatre",
    "concert hall",
    "sports hall",
    "market hall",
    "lighthouse",
];
const EVENTS: &[&str] = &[
    "concert",
    "workshop",
    "lecture",
    "exhibition",
    "race",
    "festival",
    "book fair",
    "chess evening",
    "garden party",
    "film night",
    "dance class",
    "reading",
];
const TOPICS: &[&str] = &[
    "Garden tools",
    "Lunch plans",
    "New keys",
    "Team meeting",
    "Travel dates",
    "Broken lamp",
    "Music lessons",
    "Summer party",
    "Parking space",
    "Library books",
    "Room change",
    "Holiday photos",
    "Printer problem",
    "Training day",
    "Visitor list",
    "Winter coats",
    "Menu ideas",
    "Old computers",
    "Moving day",
    "Window repair",
];
const TITLES: &[&str] = &["The", "A", "My", "Last", "First", "One"];
const TITLE_ENDS: &[&str] = &[
    "House", "Winter", "River", "Garden", "Journey", "Stranger", "Island", "Letter", "Summer", "Mountain",
    "Secret", "Window", "Forest", "Road", "Night",
];
const SUBJECTS: &[&str] = &[
    "music",
    "history",
    "biology",
    "geography",
    "physics",
    "drawing",
    "sport",
    "chemistry",
    "poetry",
    "maths",
];
const ROLES: &[&str] = &[
    "director",
    "manager",
    "mayor",
    "head",
    "leader",
    "owner",
    "coach",
    "founder",
    "captain",
    "editor",
    "principal",
    "curator",
];
const FAULTS: &[&str] = &[
    "does not start",
    "leaks",
    "makes a loud noise",
    "stays dark",
    "is too slow",
    "smells of smoke",
    "lost a screw",
    "cannot be closed",
    "gets too hot",
    "shows no picture",
];
const DEVICES: &[&str] = &[
    "washing machine",
    "heater",
    "printer",
    "dishwasher",
    "oven",
    "fridge",
    "projector",
    "coffee machine",
    "lift",
    "boiler",
    "monitor",
    "doorbell",
];
const STREETS: &[&str] = &[
    "Mill", "Church", "Garden", "Station", "River", "Castle", "Market", "Park", "School", "Forest", "Hill",
    "Lake",
];
const STREET_KINDS: &[&str] = &["Street", "Road", "Lane", "Square", "Avenue"];
const TEAMS: &[&str] =
    &["Rovers", "United", "Tigers", "Rangers", "Wanderers", "Lions", "Comets", "Athletic", "Sharks", "City"];

/// The word list of this name.
fn list(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "adjective" => ADJECTIVES,
        "object" => OBJECTS,
        "animal" => ANIMALS,
        "food" => FOODS,
        "fruit" => FRUITS,
        "drink" => DRINKS,
        "colour" => COLOURS,
        "material" => MATERIALS,
        "room" => ROOMS,
        "spot" => SPOTS,
        "weather" => WEATHERS,
        "feeling" => FEELINGS,
        "profession" => PROFESSIONS,
        "hobby" => HOBBIES,
        "vehicle" => VEHICLES,
        "plant" => PLANTS,
        "season" => SEASONS,
        "daytime" => DAYTIMES,
        "building" => BUILDINGS,
        "event" => EVENTS,
        "topic" => TOPICS,
        "lesson" => SUBJECTS,
        "role" => ROLES,
        "fault" => FAULTS,
        "device" => DEVICES,
        "month" => MONTHS,
        "weekday" => WEEKDAYS,
        _ => return None,
    })
}

/// A value for a slot of this name, or `None` if the name is unknown.
pub(crate) fn draw(kind: &str, rng: &mut Rng, realm: Realm) -> Option<String> {
    if let Some(words) = list(kind) {
        return Some((*rng.choose(words)).to_owned());
    }
    Some(match kind {
        "person" => names::person(rng, realm),
        "given" => names::given(rng, realm),
        "company" => names::company(rng, realm),
        "place" => names::place(rng),
        "product" => names::product(rng),
        "nonsense" => names::nonsense(rng),
        "team" => format!("{} {}", names::place(rng), rng.choose(TEAMS)),
        "address" => format!("{} {} {}", rng.between(1, 140), rng.choose(STREETS), rng.choose(STREET_KINDS)),
        "title" => match rng.below(3) {
            0 => format!("{} {}", rng.choose(TITLES), rng.choose(TITLE_ENDS)),
            1 => format!("{} of {}", rng.choose(TITLE_ENDS), names::place(rng)),
            _ => format!("{} and {}", names::given(rng, realm), names::given(rng, realm)),
        },
        "platform" => rng.between(1, 14).to_string(),
        "roomnumber" => rng.between(101, 640).to_string(),
        "year" => numbers::year(rng),
        "date" => numbers::date(rng),
        "time" => numbers::time(rng),
        "price" => numbers::price(rng),
        "amount" => numbers::amount(rng),
        "number" => numbers::number(rng),
        "count" => numbers::count(rng),
        "code" => numbers::code(rng),
        "phone" => numbers::phone(rng),
        "weight" => numbers::weight(rng),
        "length" => numbers::length(rng),
        "percent" => numbers::percent(rng),
        "score" => numbers::score(rng),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_no_word_twice() {
        let kinds = [
            "adjective",
            "object",
            "animal",
            "food",
            "fruit",
            "drink",
            "colour",
            "material",
            "room",
            "spot",
            "weather",
            "feeling",
            "profession",
            "hobby",
            "vehicle",
            "plant",
            "season",
            "daytime",
            "building",
            "event",
            "topic",
            "lesson",
            "role",
            "fault",
            "device",
            "month",
            "weekday",
        ];
        for kind in kinds {
            let words = list(kind).unwrap_or_else(|| panic!("{kind} is a list"));
            let distinct: std::collections::BTreeSet<_> = words.iter().collect();
            assert_eq!(distinct.len(), words.len(), "{kind}");
        }
    }

    #[test]
    fn unknown_kinds_are_none() {
        assert_eq!(draw("nothing", &mut Rng::new(0), Realm::General), None);
    }
}
