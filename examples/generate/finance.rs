//! The finance world: short reports and the five entities to be found in them.

mod templates;

use std::collections::BTreeMap;

use serde_json::Value;

use self::templates::{TEST, TRAIN, Templates, VALIDATION};
use super::names::{self, Realm};
use super::numbers::{self, CURRENCIES};
use super::rng::Rng;
use super::scene::Scene;
use super::{chat_row, json_object};

/// The keys of the answer, in their order.
pub const FINANCE_KEYS: [&str; 5] = ["company", "period", "revenue", "profit", "chief_executive"];

/// What the user asks of a report; the report follows on the next line.
pub const FINANCE_INSTRUCTION: &str = "Read the report and answer in JSON with the keys \
    \"company\",\"period\",\"revenue\",\"profit\",\"chief_executive\".";

/// The three sets of the finance task. They share neither templates nor names of companies and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// 36 templates.
    Train,
    /// 8 other templates.
    Validation,
    /// 14 templates that occur in neither of the others.
    Test,
}

impl Split {
    fn stream(self) -> &'static str {
        match self {
            Self::Train => "finance train",
            Self::Validation => "finance validation",
            Self::Test => "finance test",
        }
    }

    fn realm(self) -> Realm {
        match self {
            Self::Train => Realm::Train,
            Self::Validation => Realm::Validation,
            Self::Test => Realm::Test,
        }
    }

    fn templates(self) -> &'static Templates {
        match self {
            Self::Train => &TRAIN,
            Self::Validation => &VALIDATION,
            Self::Test => &TEST,
        }
    }
}

/// A short financial report with its entities. Every entity stands in the report as written here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinanceExample {
    /// Two to five sentences.
    pub report: String,
    /// The company that reports.
    pub company: String,
    /// The time reported on: `Q3 2024`, `third quarter of 2024`, `first half of 2023`, `H1 2023`, `fiscal 2022`.
    pub period: String,
    /// The revenue of that time with its currency: `$41.2 million`, `EUR 7.9 million`, `1.3 billion dollars`.
    pub revenue: String,
    /// The profit of that time, in the same currency.
    pub profit: String,
    /// Who leads the company.
    pub chief_executive: String,
    /// The number of the report's template within its set.
    pub template: usize,
}

impl FinanceExample {
    /// The entities by their keys, in the order of [`FINANCE_KEYS`].
    pub fn entities(&self) -> [(&'static str, &str); 5] {
        let values = [&self.company, &self.period, &self.revenue, &self.profit, &self.chief_executive];
        std::array::from_fn(|index| (FINANCE_KEYS[index], values[index].as_str()))
    }

    /// The answer: the entities as one line of JSON.
    pub fn answer_json(&self) -> String {
        json_object(&self.entities())
    }

    /// What the user says: [`FINANCE_INSTRUCTION`] and the report.
    pub fn user(&self) -> String {
        format!("{FINANCE_INSTRUCTION}\n{}", self.report)
    }

    /// The example as a row of the `messages` shape.
    pub fn to_messages(&self) -> Value {
        chat_row(&self.user(), &self.answer_json())
    }
}

/// The first `count` examples of this seed and set.
pub fn finance_examples(seed: u64, count: usize, split: Split) -> Vec<FinanceExample> {
    (0..count).map(|record| example(Rng::keyed(seed, split.stream(), record), split)).collect()
}

fn example(rng: Rng, split: Split) -> FinanceExample {
    let realm = split.realm();
    let templates = split.templates();
    let mut scene = Scene::new(rng, realm);
    let template = scene.rng().below(templates.reports.len());
    set_names(&mut scene, realm);
    let period = set_period(&mut scene);
    set_amounts(&mut scene);

    let mut sentences: Vec<String> =
        templates.reports[template].split(" // ").map(|part| scene.render(part)).collect();
    if scene.rng().chance(60) {
        let distractor = scene.pick(templates.distractors);
        let places: Vec<usize> =
            (1..=sentences.len()).filter(|&place| may_be_parted(&sentences, place)).collect();
        let place = *scene.rng().choose(&places);
        sentences.insert(place, distractor);
    }
    FinanceExample {
        report: sentences.join(" "),
        company: scene.value("company"),
        period,
        revenue: scene.value("revenue"),
        profit: scene.value("profit"),
        chief_executive: scene.value("ceo"),
        template,
    }
}

/// True if another sentence may stand before sentence `place`: not behind a colon, and not before a word that
/// points back. The end is always free.
fn may_be_parted(sentences: &[String], place: usize) -> bool {
    let points_back = ["It ", "Its ", "They ", "There ", "This ", "Of this", "As "];
    sentences.get(place).is_none_or(|next| {
        !sentences[place - 1].ends_with(':') && !points_back.iter().any(|word| next.starts_with(word))
    })
}

/// Gives the company, its chief executive and the bystanders different names.
fn set_names(scene: &mut Scene, realm: Realm) {
    let mut taken: Vec<String> = Vec::new();
    let mut different = |scene: &mut Scene, draw: fn(&mut Rng, Realm) -> String| loop {
        let name = draw(scene.rng(), realm);
        if taken.iter().all(|other| !other.contains(&name) && !name.contains(other.as_str())) {
            taken.push(name.clone());
            return name;
        }
    };
    for slot in ["company", "rival", "bank"] {
        let name = different(scene, names::company);
        scene.set(slot, name);
    }
    for slot in ["ceo", "analyst", "cfo", "chair", "other"] {
        let name = different(scene, names::person);
        scene.set(slot, name);
    }
    let sector = *scene.rng().choose(&[
        "bread",
        "paper",
        "furniture",
        "shoes",
        "toys",
        "garden tools",
        "bicycles",
        "glass",
        "software",
        "tea",
        "medicine",
        "coats",
        "machines",
        "batteries",
        "cameras",
        "paint",
    ]);
    scene.set("sector", sector);
    let employees = scene.rng().between(12, 990) * 10;
    scene.set("employees", employees.to_string());
}

/// The time reported on, as it stands in the answer. Templates take it with its article.
fn set_period(scene: &mut Scene) -> String {
    let rng = scene.rng();
    let year = rng.between(2012, 2027);
    let ordinal = *rng.choose(&["first", "second", "third", "fourth"]);
    let (period, article) = match rng.below(20) {
        0..=8 => (format!("Q{} {year}", rng.between(1, 4)), ""),
        9..=13 => (format!("{ordinal} quarter of {year}"), "the "),
        14 | 15 => (format!("{} half of {year}", rng.choose(&["first", "second"])), "the "),
        16 | 17 => (format!("H{} {year}", rng.between(1, 2)), ""),
        _ => (format!("fiscal {year}"), ""),
    };
    scene.set("the_period", format!("{article}{period}"));
    scene.set("the_bare_period", period.clone());
    // At the start of a text the period is kept apart, since a capital letter would change the answer.
    scene.set("the_period_first", format!("Report for {article}{period}"));
    period
}

/// The amounts of one report: one currency, all different, the profit well below the revenue.
fn set_amounts(scene: &mut Scene) {
    let rng = scene.rng();
    let style = rng.below(CURRENCIES);
    let rounded = rng.chance(20);
    // In units of 100,000: 12.0 to 98.9 million, 100.0 to 989.9 million, or 1.2 to 9.8 billion.
    let revenue = match rng.below(10) {
        0..=4 => rng.between(120, 989),
        5..=8 => rng.between(1000, 9899),
        _ => rng.between(12, 98) * 1000,
    };
    let profit = (revenue * rng.between(40, 240) / 1000).max(10);

    let mut amounts: BTreeMap<&str, String> = BTreeMap::new();
    let ranges = [
        ("revenue", revenue, 100, 100),
        ("profit", profit, 100, 100),
        ("old_revenue", revenue, 70, 95),
        ("old_profit", profit, 50, 95),
        ("high_revenue", revenue, 105, 140),
        ("high_profit", profit, 105, 150),
        ("rival_revenue", revenue, 30, 180),
        ("expected", revenue, 70, 130),
        ("spending", profit, 30, 180),
    ];
    for (slot, base, low, high) in ranges {
        let mut spread = 0;
        let text = loop {
            // The range widens until the amount differs from the others as it is written.
            let amount = (base * rng.between(low, high + spread) / 100).max(5);
            let text = numbers::in_currency(style, &in_words(amount, rounded));
            if amounts.values().all(|other| *other != text) {
                break text;
            }
            spread += 5;
        };
        amounts.insert(slot, text);
    }
    for (slot, text) in amounts {
        scene.set(slot, text);
    }
}

/// An amount in units of 100,000: `41.2 million`, rounded `41 million`, from 1,000 million on `1.3 billion`.
fn in_words(amount: usize, rounded: bool) -> String {
    if amount >= 10_000 {
        format!("{}.{} billion", amount / 10_000, amount / 1000 % 10)
    } else if rounded && amount >= 100 {
        format!("{} million", amount / 10)
    } else {
        format!("{}.{} million", amount / 10, amount % 10)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::scene::slots;
    use super::*;

    const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    fn some(split: Split) -> Vec<FinanceExample> {
        finance_examples(42, 400, split)
    }

    #[test]
    fn a_seed_gives_the_same_examples() {
        for split in SPLITS {
            assert_eq!(finance_examples(7, 30, split), finance_examples(7, 60, split)[..30]);
            assert_ne!(finance_examples(7, 30, split), finance_examples(8, 30, split));
        }
    }

    #[test]
    fn entities_stand_in_the_report_and_in_the_answer() {
        for example in SPLITS.into_iter().flat_map(some) {
            let answer: Value = serde_json::from_str(&example.answer_json()).expect("valid JSON");
            for (key, value) in example.entities() {
                assert!(example.report.contains(value), "{key} {value:?} is not in {}", example.report);
                assert_eq!(answer[key], value);
                assert!(FINANCE_INSTRUCTION.contains(key));
            }
            assert_ne!(example.revenue, example.profit);
            assert!(!example.report.contains(['{', '}', '[', ']', '|']), "{}", example.report);
            assert!(!example.report.contains("//") && !example.report.contains("  "), "{}", example.report);
            assert!(example.to_messages()["messages"][0]["content"].as_str().is_some_and(|text| {
                text.ends_with(&example.report) && text.starts_with(FINANCE_INSTRUCTION)
            }));
        }
    }

    #[test]
    fn reports_are_short() {
        for split in SPLITS {
            let examples = some(split);
            let mean = examples.iter().map(|example| example.report.len()).sum::<usize>() / examples.len();
            assert!((120..=240).contains(&mean), "{split:?}: {mean}");
            assert!(examples.iter().all(|example| example.report.len() <= 420));
        }
    }

    #[test]
    fn templates_are_enough_and_disjoint() {
        assert!(TRAIN.reports.len() >= 30 && TEST.reports.len() >= 10 && VALIDATION.reports.len() >= 8);
        let sentences = |templates: &Templates| -> BTreeSet<&'static str> {
            let all = templates.reports.iter().chain(templates.distractors);
            all.flat_map(|text| text.split(" // ")).collect()
        };
        let sets = [sentences(&TRAIN), sentences(&VALIDATION), sentences(&TEST)];
        for (one, two) in [(0, 1), (0, 2), (1, 2)] {
            assert_eq!(sets[one].intersection(&sets[two]).collect::<Vec<_>>(), Vec::<&&str>::new());
        }
        for templates in [&TRAIN, &VALIDATION, &TEST] {
            for report in templates.reports {
                let present = slots(report);
                for slot in ["company", "revenue", "profit", "ceo"] {
                    assert!(present.iter().any(|name| name == slot), "{slot} is missing in {report:?}");
                }
                assert!(present.iter().any(|name| name.starts_with("the_")), "no period in {report:?}");
            }
        }
    }

    #[test]
    fn every_template_is_used() {
        for split in SPLITS {
            let used: BTreeSet<usize> = some(split).iter().map(|example| example.template).collect();
            assert_eq!(used.len(), split.templates().reports.len(), "{split:?}");
        }
    }

    #[test]
    fn sets_share_no_name() {
        let names = |split| -> BTreeSet<String> {
            some(split).into_iter().flat_map(|example| [example.company, example.chief_executive]).collect()
        };
        let sets: Vec<BTreeSet<String>> = SPLITS.into_iter().map(names).collect();
        assert!(
            sets[0].is_disjoint(&sets[1]) && sets[0].is_disjoint(&sets[2]) && sets[1].is_disjoint(&sets[2])
        );
    }

    #[test]
    fn amounts_are_written_in_words() {
        let cases = [
            (412, false, "41.2 million"),
            (412, true, "41 million"),
            (9, true, "0.9 million"),
            (13_456, false, "1.3 billion"),
            (98_000, true, "9.8 billion"),
        ];
        for (amount, rounded, text) in cases {
            assert_eq!(in_words(amount, rounded), text);
        }
    }
}
