//! Habits that make English hard to read, counted in all comments and in all Markdown. Many readers
//! of this project read English as a second language.
//!
//! A match is a candidate and may be a false one, so some limits are above zero. They only go down.
//! `cargo test --test project prose -- --nocapture` lists every candidate.

use std::fs;
use std::path::Path;

use super::{files_below, markdown, top};

/// A habit, how many candidates there may be, and how to find them in a text.
type Habit = (&'static str, usize, fn(&Words) -> Vec<usize>);

const HABITS: [Habit; 9] = [
    ("'where' in place of 'if'", 4, where_for_if),
    ("nobody, somebody, anybody, everybody, whoever", 0, pronouns_for_actors),
    ("bears a name", 0, bears),
    ("'so many' in place of a number", 0, so_many),
    ("', for' in place of 'because'", 4, for_for_because),
    ("is told, are told", 1, is_told),
    ("anew, meanwhile", 0, anew),
    ("'a thread a client' in place of 'per client'", 2, bare_a),
    ("a doc comment that is only a pronoun", 0, only_a_pronoun),
];

/// A text as words, each with what stands between it and the next one.
struct Words {
    words: Vec<String>,
    gaps: Vec<String>,
    /// Whether the text is a comment in code.
    is_comment: bool,
}

impl Words {
    fn of(text: &str, is_comment: bool) -> Words {
        let (mut words, mut gaps): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut was_word = false;
        for c in text.chars() {
            let is_word = c.is_alphanumeric() || c == '_';
            match (is_word, was_word) {
                (true, true) => words.last_mut().unwrap().push(c),
                (true, false) => {
                    words.push(c.to_string());
                    gaps.push(String::new());
                }
                (false, _) => gaps.last_mut().map_or((), |gap| gap.push(c)),
            }
            was_word = is_word;
        }
        Words { words, gaps, is_comment }
    }

    /// The word at `at` in lower case, if only a space stands between it and the one before.
    fn next(&self, at: usize) -> String {
        let follows = at > 0 && self.gaps.get(at - 1).is_some_and(|gap| gap == " ");
        if follows { self.lower(at) } else { String::new() }
    }

    fn lower(&self, at: usize) -> String {
        self.words.get(at).map_or(String::new(), |word| word.to_lowercase())
    }

    fn places(&self, is_found: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.words.len()).filter(|at| is_found(*at)).collect()
    }

    /// What stands around a place.
    fn around(&self, at: usize) -> String {
        let range = at.saturating_sub(4)..(at + 7).min(self.words.len());
        range.map(|at| format!("{}{}", self.words[at], self.gaps[at])).collect()
    }
}

fn is_in(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

fn where_for_if(text: &Words) -> Vec<usize> {
    const NEXT: &str = "it they there that this these those no nothing nobody none one many a an \
                        its what he she we so";
    text.places(|at| {
        let (next, second) = (text.next(at + 1), text.next(at + 2));
        let is_actor = next == "the" && (second == "owner" || second == "client");
        text.lower(at) == "where" && (is_in(NEXT, &next) || is_actor)
    })
}

fn pronouns_for_actors(text: &Words) -> Vec<usize> {
    text.places(|at| is_in("nobody somebody anybody whoever everybody", &text.lower(at)))
}

fn bears(text: &Words) -> Vec<usize> {
    text.places(|at| is_in("bear bears bearing", &text.lower(at)))
}

fn so_many(text: &Words) -> Vec<usize> {
    text.places(|at| {
        let is_number = is_in("many much long often few little", &text.next(at + 1));
        text.lower(at) == "so" && is_number && text.next(at + 2) != "that"
    })
}

fn for_for_because(text: &Words) -> Vec<usize> {
    const NEXT: &str = "it they the a an that this these what who there in of its their no nobody \
                        all some his one otherwise each both";
    const NOT_AFTER: &str = "first last second sake moment time example purpose benefit";
    text.places(|at| {
        let is_after_comma = at > 0 && text.gaps[at - 1] == ", ";
        text.lower(at) == "for"
            && is_after_comma
            && is_in(NEXT, &text.next(at + 1))
            && !is_in(NOT_AFTER, &text.next(at + 2))
    })
}

fn is_told(text: &Words) -> Vec<usize> {
    text.places(|at| {
        is_in("is are was were be been", &text.lower(at)) && text.next(at + 1) == "told"
    })
}

fn anew(text: &Words) -> Vec<usize> {
    text.places(|at| is_in("anew meanwhile", &text.lower(at)))
}

fn bare_a(text: &Words) -> Vec<usize> {
    const NOUNS: &str = "line thread handle writer lock listener byte file session entry stat \
                         reply place folder page name test row rename buffer second minute \
                         connection word";
    let is_noun = |word: &str| is_in(NOUNS, word.strip_suffix('s').unwrap_or(word));
    text.places(|at| {
        let first = text.lower(at);
        let is_count = is_in("a an one two", &first) || first.bytes().all(|b| b.is_ascii_digit());
        let after = |noun: usize| {
            let last = text.next(noun + 2);
            let is_few = ["few", "lot", "little"].iter().any(|few| last.starts_with(few));
            is_noun(&text.next(noun))
                && is_in("a an", &text.next(noun + 1))
                && !last.is_empty()
                && !is_few
        };
        is_count && (after(at + 1) || (!text.next(at + 1).is_empty() && after(at + 2)))
    })
}

fn only_a_pronoun(text: &Words) -> Vec<usize> {
    const PRONOUNS: &str = "It Its They That This Them Theirs His";
    let Some(first) = text.words.first() else { return Vec::new() };
    let second = text.words.get(1).map(String::as_str);
    let is_pronoun = is_in(PRONOUNS, first) || (first == "The" && second == Some("same"));
    let is_two = matches!((first.as_str(), second), ("The", Some("same")) | ("It", Some("is")));
    let most = if is_two { 6 } else { 5 };
    if text.is_comment && is_pronoun && text.words.len() <= most { vec![0] } else { Vec::new() }
}

/// A line with each piece of code in it as one word.
fn without_code(line: &str) -> String {
    let mut pieces = line.split('`');
    let mut text = pieces.next().unwrap_or_default().to_string();
    while let Some(code) = pieces.next() {
        match pieces.next() {
            Some(after) => text += &format!("X{after}"),
            None => text += &format!("`{code}"),
        }
    }
    text
}

/// What a line of a Rust file says in a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.strip_prefix(['/', '!']).unwrap_or(text).trim())
}

/// The comments or paragraphs of a file, each with the number of its first line. Lines that follow
/// each other are one text, because a habit may go over the end of a line.
fn texts(file: &Path) -> Vec<(usize, String)> {
    let is_code = file.extension().is_some_and(|end| end == "rs");
    let content = fs::read_to_string(file).unwrap();
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut is_open, mut is_fenced) = (false, false);
    for (number, line) in content.lines().enumerate() {
        let words = if is_code {
            let behind =
                line.split_once("; // ").or(line.split_once("{ // ")).map(|(_, text)| text);
            found.extend(behind.map(|text| (number + 1, text.to_string())));
            comment(line)
        } else if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            None
        } else {
            Some(line.trim()).filter(|_| !is_fenced)
        };
        let words = words.map(without_code).filter(|words| !words.is_empty());
        match (words, is_open) {
            (Some(words), true) => {
                let (_, text) = found.last_mut().unwrap();
                *text = format!("{text} {words}");
                is_open = true;
            }
            (Some(words), false) => {
                found.push((number + 1, words));
                is_open = true;
            }
            (None, _) => is_open = false,
        }
    }
    found
}

#[test]
fn no_habit_that_makes_english_hard_to_read_grows() {
    let mut files = markdown();
    for folder in ["src", "tests", "bench", "probe"] {
        files_below(&top().join(folder), &mut files);
    }
    files.retain(|file| {
        file.extension().is_some_and(|end| end == "rs" || end == "md")
            && file.strip_prefix(top()).unwrap().iter().all(|part| part != "target")
    });
    files.sort();
    files.dedup();
    let mut count = 0;
    let mut found = HABITS.map(|_| Vec::new());
    for file in &files {
        let is_comment = file.extension().is_some_and(|end| end == "rs");
        for (line, text) in texts(file) {
            let words = Words::of(&text, is_comment);
            count += words.words.len();
            for ((_, _, find), found) in HABITS.iter().zip(&mut found) {
                let place = file.strip_prefix(top()).unwrap().display();
                let places = find(&words);
                found.extend(
                    places.iter().map(|at| format!("{place}:{line}: {}", words.around(*at))),
                );
            }
        }
    }
    println!("{count} words of comments and prose");
    let mut over = Vec::new();
    for ((habit, limit, _), found) in HABITS.iter().zip(&found) {
        println!("{} of {limit}: {habit}", found.len());
        found.iter().for_each(|place| println!("    {place}"));
        if found.len() > *limit {
            over.push(format!("{habit}: {}, the limit is {limit}", found.len()));
        }
    }
    assert!(count > 20_000, "the prose was not found: {count} words");
    assert!(over.is_empty(), "{}", over.join("\n"));
}

#[test]
fn each_habit_is_found_and_plain_english_is_not() {
    let examples: [(&str, &str); 9] = [
        ("Fails where it is missing", "In the place where the file is"),
        ("Nobody's file", "No client's file"),
        ("a file that bears a name", "a file with a name"),
        ("at most so many bytes", "so many that it fails"),
        ("It waits, for the lock is held", "It waits, for the first time"),
        ("The client is told 450", "The client told it"),
        ("It begins anew", "A new file"),
        ("A thread a client, or one log line a session", "A file a few bytes long"),
        ("The same, with a 150.", "The same file, with a 150 reply of its own"),
    ];
    for ((habit, _, find), (bad, good)) in HABITS.iter().zip(examples) {
        assert!(!find(&Words::of(bad, true)).is_empty(), "{habit}: {bad}");
        assert!(find(&Words::of(good, true)).is_empty(), "{habit}: {good}");
    }
    assert_eq!(without_code("see `where it` and `b`"), "see X and X");
    assert_eq!(comment("    /// Like `a`."), Some("Like `a`."));
}
