//! The report templates of the three sets. No sentence is shared between two sets.
//!
//! Sentences are apart by ` // `. Besides the five entities a report may hold figures of the year before, the
//! figures of a competitor, and the names of an analyst, a finance chief or a chair: none of them is an answer.

/// The templates of one set.
#[derive(Debug)]
pub(super) struct Templates {
    /// The reports.
    pub(super) reports: &'static [&'static str],
    /// Sentences that answer nothing; one of them may stand anywhere after the first sentence.
    pub(super) distractors: &'static [&'static str],
}

pub(super) const TRAIN: Templates = Templates {
    reports: &[
        "{company} reported revenue of {revenue} for {the_period}. // Profit was {profit}. // Chief executive {ceo} called it a good result.",
        "In {the_period}, {company} earned {profit} on revenue of {revenue}. // \"We are on track\", said chief executive {ceo}.",
        "{company} made a profit of {profit} in {the_period}, up from {old_profit}. // Revenue was {revenue}, according to chief executive {ceo}.",
        "Chief executive {ceo} presented the figures of {company} for {the_period}: // revenue of {revenue} and a profit of {profit}.",
        "Revenue at {company} rose to {revenue} in {the_period} from {old_revenue} a year earlier. // Profit reached {profit}, said {ceo}, the chief executive.",
        "Revenue at {company} fell from {high_revenue} to {revenue} in {the_period}. // Chief executive {ceo} still reported a profit of {profit}.",
        "{ceo}, chief executive of {company}, announced a profit of {profit} for {the_period}. // Revenue stood at {revenue}.",
        "The {sector} maker {company} took in {revenue} in {the_period}. // It kept {profit} as profit. // {ceo} is its chief executive.",
        "{company} closed {the_period} with {revenue} in revenue and {profit} in profit. // {ceo} runs the company.",
        "For {the_period}, {company} shows {profit} of profit. // Revenue grew by {percent} to {revenue}, chief executive {ceo} wrote.",
        "Led by {ceo}, {company} reached revenue of {revenue} in {the_period}. // A year before it was {old_revenue}. // The profit was {profit}.",
        "Profit at {company} went up to {profit} in {the_period}. // Chief executive {ceo} pointed to revenue of {revenue}.",
        "{company} has published its numbers for {the_period}. // Revenue: {revenue}. // Profit: {profit}. // Chief executive: {ceo}.",
        "The report of {company} for {the_period} names revenue of {revenue}, after {high_revenue}. // {ceo}, who heads the firm, expects more than the {profit} of profit made now.",
        "With {revenue}, revenue of {company} was {percent} higher in {the_period}. // Of this, {profit} was profit. // Chief executive {ceo} thanked the staff.",
        "{company} of {place} earned {profit} in {the_period}. // Its revenue was {revenue}. // Chief executive {ceo} plans a new plant.",
        "A strong {the_bare_period} brought {company} revenue of {revenue}. // Profit, at {profit}, beat the {old_profit} of last year. // {ceo} remains chief executive.",
        "\"It was a hard time\", said {ceo}, chief executive of {company}. // Revenue in {the_period} was {revenue}, and profit {profit}.",
        "At {company}, profit for {the_period} came to {profit}, while revenue came to {revenue}. // Chief executive {ceo} was pleased.",
        "{company} sold more {sector} in {the_period}: // revenue rose by {percent} to {revenue}. // Under chief executive {ceo} it made {profit} of profit.",
        "Thanks to {sector}, {company} posted revenue of {revenue} and a profit of {profit} for {the_period}. // {ceo} has led the company since {year}.",
        "New figures from {company}: // {profit} in profit for {the_period}, on {revenue} in revenue. // Chief executive {ceo} spoke in {place}.",
        "During {the_period} revenue of {company} came to {revenue}. // Profit fell to {profit} from {high_profit}, chief executive {ceo} said.",
        "Chief executive {ceo} said that {company} had revenue of {revenue} in {the_period}. // Profit after tax was {profit}.",
        "{company} ended {the_period} with a profit of {profit}. // Chief executive {ceo} had hoped for more than {revenue} in revenue.",
        "Under {ceo}, its chief executive since {year}, {company} lifted revenue to {revenue} in {the_period}. // Its profit is {profit}.",
        "{company} beat all hopes in {the_period}. // Revenue was {revenue} instead of {old_revenue}. // Profit was {profit}, said chief executive {ceo}.",
        "From {old_revenue} to {revenue}: // revenue of {company} changed quickly in {the_period}. // {ceo}, chief executive, reported {profit} of profit.",
        "The {sector} group {company} turned revenue of {revenue} into a profit of {profit} in {the_period}. // Its chief executive is {ceo}.",
        "{company} told its owners about {the_period}. // It earned {profit}, and revenue was {revenue}. // The letter was signed by chief executive {ceo}.",
        "Profit {profit}, revenue {revenue}: // that is {the_period} for {company}. // Chief executive {ceo} wants to open a shop in {place}.",
        "{ceo} has good news for {company}. // In {the_period} the revenue was {revenue}, {percent} more than before, and the profit {profit}.",
        "After {old_profit} a year ago, {company} now reports a profit of {profit} for {the_period}. // Revenue was {revenue}. // {ceo} is chief executive.",
        "Chief executive {ceo} of {company} showed a chart in {place}: // revenue in {the_period} {revenue}, profit {profit}.",
        "Slow trade in {place} cost {company} money in {the_period}. // Revenue was {revenue}, not {high_revenue}. // Profit was {profit}. // {ceo} heads the firm.",
        "In {the_period} the {sector} firm {company} had {employees} workers, revenue of {revenue} and a profit of {profit}. // Chief executive {ceo} will hire more.",
    ],
    distractors: &[
        "Analyst {analyst} of {bank} had expected {expected}.",
        "Its rival {rival} took in {rival_revenue}.",
        "Finance chief {cfo} will leave in {month}.",
        "The chair, {chair}, thanked {employees} workers.",
        "Five years earlier the figure was {old_revenue}.",
        "{rival}, led by {other}, did less well.",
        "The company employs {employees} people in {place}.",
        "It will spend {spending} on a new plant.",
        "Shares rose by {percent} that day.",
        "In a bad year, {old_profit} had been left.",
    ],
};

pub(super) const VALIDATION: Templates = Templates {
    reports: &[
        "{company} announced on {weekday} that revenue in {the_period} was {revenue}. // It made {profit} of profit. // Chief executive {ceo} praised the team.",
        "Chief executive {ceo} reported for {company}: // profit of {profit} and revenue of {revenue} in {the_period}.",
        "The revenue of {company} for {the_period} amounts to {revenue}, against {old_revenue} before. // Profit amounts to {profit}. // {ceo} is in charge there.",
        "A profit of {profit} was made by {company} in {the_period}. // {ceo}, the chief executive, also named the revenue: {revenue}.",
        "{company}, a {sector} company from {place}, earned {profit} in {the_period} with revenue of {revenue}. // Its head is {ceo}.",
        "Revenue of {revenue} was not enough for {ceo}, chief executive of {company}. // The profit in {the_period} was only {profit}.",
        "The books of {company} for {the_period} are closed. // They show {revenue} in revenue and {profit} in profit. // They were signed by chief executive {ceo}.",
        "\"We sold more {sector}\", said {ceo} of {company}. // Revenue for {the_period}: {revenue}. // Profit: {profit}, after {old_profit}.",
    ],
    distractors: &[
        "{analyst}, an analyst at {bank}, was surprised.",
        "The competitor {rival} reported {rival_revenue}.",
        "{chair} stays chair of the board.",
        "Four years before it was {old_revenue}.",
    ],
};

pub(super) const TEST: Templates = Templates {
    reports: &[
        "{company} said its revenue came in at {revenue} for {the_period}. // The company, whose chief executive is {ceo}, booked a profit of {profit}.",
        "Good numbers at {company}: // in {the_period} it brought home a profit of {profit}. // Revenue hit {revenue}, chief executive {ceo} told reporters.",
        "{ceo} can be glad. // As chief executive of {company} {ceo} announced revenue of {revenue} and profit of {profit} for {the_period}.",
        "Between {old_revenue} and {revenue} lies one year: // so much did revenue grow at {company} up to {the_period}. // The bottom line shows a profit of {profit}. // Chief executive {ceo} sees more to come.",
        "The profit of {company} for {the_period} is {profit}, as chief executive {ceo} made known in {place}. // Revenue is given as {revenue}.",
        "{the_period_first}: {company} had revenue of {revenue}. // Chief executive {ceo} named a profit of {profit}.",
        "Customers bought {sector} from {company} for {revenue} in {the_period}. // This revenue left {profit} of profit, said chief executive {ceo}.",
        "{company} grew again. // Its profit climbed from {old_profit} to {profit} and its revenue to {revenue} in {the_period}. // Its chief executive is called {ceo}.",
        "Speaking for {company}, chief executive {ceo} put revenue for {the_period} at {revenue}. // At {profit}, profit was {percent} above plan.",
        "Only {profit} of profit remained at {company} in {the_period}, although revenue was {revenue}. // {ceo}, chief executive, wants to save.",
        "Revenue, profit, outlook: // {company} gave all three for {the_period}. // They are {revenue}, {profit} and \"bright\", in the words of chief executive {ceo}.",
        "The owners of {company} heard from chief executive {ceo} that {the_period} brought {revenue} of revenue. // There was {profit} of profit, less than the {high_profit} hoped for.",
        "When {ceo} became chief executive, {company} was small. // In {the_period} it had revenue of {revenue} and made a profit of {profit}.",
        "{company} keeps its promise for {the_period}: // a profit of {profit}. // The revenue behind it, {revenue}, was up {percent}, {ceo} said as chief executive.",
    ],
    distractors: &[
        "{analyst}, who follows the company for {bank}, had guessed {expected}.",
        "Revenue at {rival}, the nearest competitor, was {rival_revenue}.",
        "{cfo} looks after the money there.",
        "{chair} leads the board, as before.",
        "Three years ago it had been {old_revenue}.",
        "About {employees} people work there.",
    ],
};
