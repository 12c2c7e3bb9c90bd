"""What can be counted in a response and its context without having learned anything."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from parley.platform.maxims.detector.features.parsed_response import Passage
from parley.platform.maxims.text.sentences import FUNCTION_WORDS, find_words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PRONOUNS = _words("it its they them their that this these those he she him her such")
REFERRING = _words("it they that this these those them he she")
ARTICLES = _words("a an the")
SELF_AND_YOU = _words("i i'm i've i'd i'll me my you you're your we us our")
REACTIONS = _words(
    "yes yeah yea yep no nope oh wow haha ha lol hi hello hey true right exactly agreed sure cool "
    "really thanks well same absolutely definitely ok okay that's thats nice interesting"
)
FAREWELLS = _words("bye goodbye chatting chat talking")
CONNECTIVES = _words("but and so because also or anyway besides then however plus still")
CONJUNCTIONS = _words("and but or so because which while then")
AUTHORITY = _words(
    "study studies research researchers scientist scientists expert experts specialists analysts "
    "statistics data survey report reports evidence percent proven shown according majority cases "
    "million billion annually worldwide globally history most significant important approximately "
    "average institute university textbook records"
)
"""What claims lean on."""

_MARKS = re.compile(r"[.!?,;:]+")
_DOUBLED = re.compile(r"[!?,;]\s?[.,;]|\.,|,\.")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_PERCENT = re.compile(r"\d\s?(?:%|percent)")


def measure_counts(passage: Passage) -> dict[str, float]:
    """The features of one passage, name -> value; NaN where one does not apply."""
    return {
        **_lengths(passage),
        **_punctuation(passage),
        **_word_kinds(passage),
        **_numbers(passage),
        **_repetition(passage),
        **_order(passage),
        **_overlap(passage),
    }


def _lengths(passage: Passage) -> dict[str, float]:
    num_words = len(passage.words)
    sizes = [len(find_words(sentence)) for sentence in passage.sentences] or [0]
    turns = [len(turn.split()) for turn in passage.turns]
    mean_turn = sum(turns) / len(turns) if turns else math.nan
    return {
        "words": num_words,
        "sentences": len(passage.sentences),
        "longest_sentence": max(sizes),
        "shortest_sentence": min(sizes),
        "first_sentence": sizes[0],
        "last_sentence": sizes[-1],
        "words_to_mean_turn": num_words / mean_turn if turns else math.nan,
        "words_to_last_turn": num_words / max(turns[-1], 1) if turns else math.nan,
        "turns": len(turns),
    }


def _punctuation(passage: Passage) -> dict[str, float]:
    response = passage.response
    num_words = max(len(passage.words), 1)
    marks = _MARKS.findall(response)
    num_ends = sum(mark[0] in ".!?" for mark in marks)
    ends = bool(response) and response.rstrip("\"')")[-1:] in tuple(".!?")
    inner_capitals, late_lower = _case_breaks(passage)
    return {
        "marks_per_word": len(marks) / num_words,
        "commas_per_word": sum(mark[0] == "," for mark in marks) / num_words,
        "words_per_end": num_words / max(num_ends + (not ends), 1),
        "inner_ends": num_ends - ends,
        "ends_with_mark": float(ends),
        "doubled_marks": len(_DOUBLED.findall(response)),
        "colons": response.count(":") + response.count(";"),
        "inner_capitals": inner_capitals,
        "late_lower": late_lower,
        "starts_with_capital": float(response[:1].isupper()),
        "conjunctions_per_word": sum(w.lower() in CONJUNCTIONS for w in passage.words) / num_words,
    }


def _case_breaks(passage: Passage) -> tuple[float, float]:
    """Capitalised function words inside sentences, and small letters after an end mark."""
    inner = 0
    for sentence in passage.sentences:
        for word in find_words(sentence)[1:]:
            is_plain = word[0].isupper() and word[1:].islower() and word.lower() in FUNCTION_WORDS
            inner += is_plain and not word.startswith("I'")
    starts = [sentence[0] for sentence in passage.sentences[1:] if sentence]
    lower = sum(letter.islower() for letter in starts)
    return float(inner), lower / len(starts) if starts else 0.0


def _word_kinds(passage: Passage) -> dict[str, float]:
    lowered = [word.lower() for word in passage.words]
    num_words = max(len(lowered), 1)
    pairs = list(pairwise(lowered))
    openings = [text.split()[0] for text in passage.sentences if text.split()]
    return {
        "pronouns_per_word": sum(word in PRONOUNS for word in lowered) / num_words,
        "pronoun_after_article": sum(a in ARTICLES and b in PRONOUNS for a, b in pairs),
        "pronoun_pairs": sum(a in REFERRING and b in REFERRING for a, b in pairs),
        "pronoun_beside_name": _count_beside_names(passage),
        "lower_pronoun_starts": sum(word in REFERRING for word in openings),
        "self_and_you_per_word": sum(word in SELF_AND_YOU for word in lowered) / num_words,
        "authority_per_word": sum(word in AUTHORITY for word in lowered) / num_words,
        "authority": sum(word in AUTHORITY for word in lowered),
        "letters_per_word": sum(map(len, lowered)) / num_words,
        "long_words": sum(len(word) >= 10 for word in lowered) / num_words,
        "longest_word": max(map(len, lowered), default=0),
        "content_share": len(passage.topic) / num_words,
        "questions": passage.response.count("?"),
    }


def _count_beside_names(passage: Passage) -> int:
    """Small pronouns right before or after a capitalised word inside a sentence: `George this`."""
    count = 0
    for sentence in passage.sentences:
        for before, after in pairwise(find_words(sentence)[1:]):
            names = [word[0].isupper() and not word.startswith("I") for word in (before, after)]
            count += names[0] and after in REFERRING and before.lower() not in FUNCTION_WORDS
            count += names[1] and before in REFERRING and after.lower() not in FUNCTION_WORDS
    return count


def _numbers(passage: Passage) -> dict[str, float]:
    numbers = [_value(text) for text in _NUMBER.findall(passage.response)]
    known = {_value(text) for text in _NUMBER.findall(" ".join(passage.turns))}
    return {
        "numbers": len(numbers),
        "percents": len(_PERCENT.findall(passage.response)),
        "new_numbers": sum(number not in known for number in numbers),
        "odd_years": sum(map(_is_odd_year, numbers)),
        "least_number": min(numbers, default=math.nan),
        "largest_number": max(numbers, default=math.nan),
    }


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def _is_odd_year(number: float) -> bool:
    """A number of three or four digits that is none of the years people speak of."""
    return 100 <= number < 10_000 and number == int(number) and not 1450 <= number <= 2035


def _repetition(passage: Passage) -> dict[str, float]:
    sentences = [[word.lower() for word in find_words(text)] for text in passage.sentences]
    lowered = [word.lower() for word in passage.words]
    trigrams = list(zip(lowered, lowered[1:], lowered[2:], strict=False))
    likeness = [
        len(set(a) & set(b)) / max(min(len(set(a)), len(set(b))), 1)
        for index, a in enumerate(sentences)
        for b in sentences[index + 1 :]
        if min(len(a), len(b)) >= 2
    ]
    return {
        "repeated_trigrams": 1.0 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0,
        "sentence_likeness": max(likeness, default=0.0),
        "different_words": len(set(lowered)) / max(len(lowered), 1),
        "repeated_topic": 1.0 - len(set(passage.topic)) / max(len(passage.topic), 1),
        "longest_repeat": float(_longest_repeat(lowered)),
    }


def _longest_repeat(words: list[str]) -> int:
    """Words of the longest run that occurs twice without overlap, up to 8."""
    for size in range(8, 1, -1):
        first_at: dict[tuple[str, ...], int] = {}
        for start in range(len(words) - size + 1):
            run = tuple(words[start : start + size])
            if start >= first_at.setdefault(run, start) + size:
                return size
    return 0


def _order(passage: Passage) -> dict[str, float]:
    """Where reactions, questions, farewells and connectives stand among the sentences."""
    openings = [(find_words(text)[:1] or [""])[0].lower() for text in passage.sentences]
    num = len(openings)
    reactions = [index for index, word in enumerate(openings) if word in REACTIONS]
    questions = [index for index, text in enumerate(passage.sentences) if text.endswith("?")]
    farewells = [
        index
        for index, text in enumerate(passage.sentences)
        if FAREWELLS.intersection(text.lower().rstrip(".!").split())
    ]
    late = max(reactions, default=0)
    return {
        "latest_reaction": late / (num - 1) if num > 1 else 0.0,
        "reaction_first": float(bool(openings) and openings[0] in REACTIONS),
        "reactions": len(reactions),
        "first_question_from_end": num - 1 - questions[0] if questions else -1.0,
        "farewell_from_end": num - 1 - farewells[0] if farewells else -1.0,
        "connective_first": float(bool(openings) and openings[0] in CONNECTIVES),
        "pronoun_first": float(bool(openings) and openings[0] in REFERRING),
    }


def _overlap(passage: Passage) -> dict[str, float]:
    topic, context = set(passage.topic), set(passage.context_topic)
    last = set(passage.last_topic)
    first = {word.lower() for word in find_words(passage.sentences[0])} if passage.sentences else ()
    return {
        "topic_words": len(topic),
        "shared_with_context": len(topic & context) / len(topic) if topic else math.nan,
        "shared_with_last": len(topic & last) / len(topic) if topic else math.nan,
        "num_shared": len(topic & context),
        "first_shares_last": float(bool(last.intersection(first))),
    }
