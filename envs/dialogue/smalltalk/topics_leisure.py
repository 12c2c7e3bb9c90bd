"""Topics of free time: music, films, books, games, hobbies, sport."""

from __future__ import annotations

from parley.envs.dialogue.smalltalk.moves import Claim, Question, Story, Topic, YesNo

MUSIC = Topic(
    "music",
    (
        Question(
            "genre",
            (
                "what [kind of|] music do you like?",
                "what are you listening to?",
                "which music makes you happy?",
            ),
            (
                "{genre}[, mostly|, always|].",
                "[i love|only|usually] {genre}, [because of|with] the {instrument}.",
                "at the moment {genre}. {band} are great.",
            ),
            (
                "{you.genre} is [too loud for me|nice for dancing|in my blood].",
                "i play the {instrument}, but not {you.genre}.",
                "who is your favourite {you.genre} singer?",
                "then you know {band}, i guess.",
            ),
        ),
        YesNo(
            ("do you play an instrument?", "can you sing?", "are you musical?"),
            (
                "yes, i play the {instrument}[ in a band|].",
                "yes, the {instrument}, for {some} years now.",
                "a little. my {relative} taught me the {instrument}.",
            ),
            (
                "no, [i only listen|i have no rhythm|my ears hurt].",
                "not at all, but i like {genre}.",
            ),
            (
                "the {you.instrument}? [is that difficult|play something for me].",
                "we should start a band.",
            ),
            ("it is never too late. try the {instrument}.", "listening is an art too."),
        ),
        Story(
            (
                "i saw {band} [on {day}|last week|in {trip}].",
                "i bought a ticket for {band}.",
                "{relativename} plays the {instrument} at night.",
            ),
            ("how was the concert?", "are they good?", "was it [loud|expensive]?"),
            (
                "[fantastic|too loud|a bit boring], and the {instrument} was out of tune.",
                "they played for {few} hours. my ears still ring.",
                "the ticket was {price} euros, [a good price|too much].",
            ),
        ),
        Claim(
            (
                "{genre} is better than {instrument} music.",
                "nobody plays {genre} any more.",
                "[old|live] music is better than [new|recorded] music.",
            ),
            ("[true|i agree|exactly], {band} proves it.", "yes, i feel the same."),
            ("[no|not at all], listen to {band}.", "i disagree, {genre} is fine."),
        ),
    ),
    {
        "band": ("i will listen to {you.band}[ tonight|].",),
        "genre": ("enjoy your {you.genre}.", "do they play {you.genre} in {home}?"),
    },
)

FILMS = Topic(
    "films",
    (
        Question(
            "film",
            (
                "have you seen a good film lately?",
                "which film did you see last?",
                "what is your favourite film?",
            ),
            (
                "{film}[, for the second time|, in the cinema|].",
                "yes, {film}. [i cried|i laughed|i fell asleep] at the end.",
                "i [liked|loved|hated] {film}. it was from {year}.",
            ),
            (
                "{you.film}? [never heard of it|my {relative} likes it too|is it sad].",
                "i saw {you.film} with {friendname}.",
                "i will watch {you.film} on {day}.",
            ),
        ),
        Question(
            "filmkind",
            (
                "what kind of films do you like?",
                "comedies or thrillers?",
                "what do you watch at night?",
            ),
            (
                "{filmkind}[, no doubt|, i think|].",
                "[mostly|i prefer|i love] {filmkind}, such as {film}.",
            ),
            (
                "{you.filmkind}? not with {dish} in my hand.",
                "then {film} is for you.",
                "i get [bored|scared|tired] by {you.filmkind}.",
            ),
        ),
        YesNo(
            ("do you often go to the cinema?", "shall we watch {film} [tonight|on {day}]?"),
            ("yes, [every {day}|gladly|i would love to].", "yes, at {hour}, with popcorn."),
            ("no, [it is too expensive|i watch at home].", "sorry, i [have to work|must study]."),
            ("great, i will buy the tickets.", "who chooses the film, you or me?"),
            ("what a pity. [maybe later|another day].", "at home it is warm, you are right."),
        ),
        Claim(
            (
                "the book is always better than the film.",
                "{film} is the best film of {year}.",
                "{filmkind} are a waste of time.",
            ),
            ("[i think so too|true|indeed].", "yes, everybody in {homeland} says so."),
            ("[no|i disagree], think of {film}.", "{film} is much better."),
        ),
    ),
    {"film": ("tell me when you see {you.film} again.", "i will look for {you.film}.")},
)

BOOKS = Topic(
    "books",
    (
        Question(
            "book",
            (
                "what are you reading[ at the moment|]?",
                "can you recommend a book?",
                "which book changed you?",
            ),
            (
                "{book} by {author}.",
                "i am reading {book}[, page {many}|].",
                "{book}, it is about a {job} in {dream}.",
                "[try|take] {book}. {author} wrote it in {year}.",
            ),
            (
                "who wrote {you.book}?",
                "is {you.book} long? i am a slow reader.",
                "my {friend} gave me {you.book}.",
                "i could not finish {you.book}.",
            ),
        ),
        Question(
            "bookkind",
            ("what do you like to read?", "which books are your favourites?"),
            ("{bookkind}[, mostly|, and nothing else|].", "i read {bookkind} in the {vehicle}."),
            (
                "i prefer {bookkind}.",
                "{you.bookkind} [make me sleepy|are fun].",
                "there are many {you.bookkind} in the {shop}.",
            ),
        ),
        YesNo(
            ("do you read [a lot|in bed|before you sleep]?", "do you like libraries?"),
            ("yes, {many} pages [a day|every night].", "yes, {some} books a year."),
            ("no, [i have no time|i fall asleep at once].", "no, i listen to {genre} instead."),
            ("[impressive|wow]. where do you find the time?", "which one was the best?"),
            ("try {bookkind}, they are short.", "a book is a friend, my {relative} says."),
        ),
        Story(
            (
                "i lent {book} to {friendname}.",
                "i wrote a letter to {author}.",
                "i found {price} euros in a book.",
            ),
            ("and then?", "did you get [it back|an answer]?", "[lucky you|how strange]. and now?"),
            (
                "not yet, after {few} [months|years].",
                "yes, with a [coffee spot|kind note] on page {many}.",
                "i bought {book} in the {shop}.",
            ),
        ),
    ),
    {"book": ("i will read {you.book}.", "how does {you.book} end?")},
)

GAMES = Topic(
    "games",
    (
        Question(
            "game",
            ("what do you like to play?", "which game is your favourite?", "what shall we play?"),
            (
                "{game}[, my favourite {gamekind}|].",
                "i play {game} with my {relative}.",
                "[always|mostly|lately] {game}. i have won {few} times.",
            ),
            (
                "{you.game}? i always lose.",
                "i prefer {game}.",
                "how many people play {you.game}?",
                "is {you.game} a {you.gamekind}?",
            ),
        ),
        YesNo(
            ("do you play {game}?", "are you a bad loser?", "do you want to play {game} with me?"),
            ("yes, [gladly|of course|with pleasure].", "yes, but only for {minutes} minutes."),
            ("no, [i always lose|i do not know the rules].", "no, i find it boring."),
            ("good, you [start|deal the cards|take white].", "i warn you, i am good."),
            ("the rules are simple, i can explain them.", "then let us play {game}."),
        ),
        Claim(
            (
                "games are [good for the brain|a waste of time].",
                "{game} is the best game in the world.",
            ),
            ("[yes|true], i play every {day}.", "i agree, [completely|mostly]."),
            ("no, {game} is [better|more fun].", "that depends on the people."),
        ),
    ),
    {"game": ("next time we play {you.game}.", "good luck with {you.game}.")},
)

HOBBIES = Topic(
    "hobbies",
    (
        Question(
            "hobby",
            (
                "what are your hobbies?",
                "what do you do in your free time?",
                "do you have a hobby?",
                "what are you doing on {day}?",
            ),
            (
                "{hobby}[, for {some} years now|, mostly|].",
                "i like {hobby}. all you need is {hobbyneeds}.",
                "i started {hobby} in {month}.",
                "[mostly|only] {hobby}, with my {friend}.",
            ),
            (
                "{you.hobby}? for that you need {you.hobbyneeds}.",
                "is {you.hobby} expensive?",
                "i tried {you.hobby} once, [it was hard|it was fun|never again].",
                "my {relative} loves {you.hobby} too.",
            ),
        ),
        YesNo(
            (
                "would you like to try {hobby}?",
                "are you good with your hands?",
                "are you a patient person?",
            ),
            ("yes, [why not|i would love to|very much].", "i think so, i like {hobby}."),
            (
                "no, [i have two left hands|not really|i am too old].",
                "no, {hobby} is enough for me.",
            ),
            ("come with me on {day}.", "you only need {hobbyneeds}."),
            ("you could learn it in {few} weeks.", "nobody is perfect."),
        ),
        Story(
            (
                "i made a {gift} for {relativename}.",
                "i joined a club for {hobby}.",
                "i spent the whole {day} with {hobby}.",
            ),
            ("was it difficult?", "and do you like the people there?", "how long did it take?"),
            (
                "[not at all|very], you need {hobbyneeds}.",
                "{few} hours and {price} euros.",
                "there are {many} of us, and {friendname} is the funniest.",
            ),
        ),
    ),
    {"hobby": ("have fun with {you.hobby}.", "do you teach {you.hobby}?")},
)

SPORT = Topic(
    "sport",
    (
        Question(
            "sport",
            ("what sport do you do?", "which sport do you like?", "how do you stay fit?"),
            (
                "{sport}[, twice a week|, on {day}s|].",
                "i do {sport}. the {ground} is near my house.",
                "[only|mostly] {sport}. the {gear} is new.",
                "i watch {sport}, but i do not play.",
            ),
            (
                "{you.sport} is [too hard|too dangerous|great] for me.",
                "where is the {you.ground}?",
                "i prefer {sport}.",
                "do you have your own {you.gear}?",
            ),
        ),
        Question(
            "team",
            ("which team do you support?", "who will win the cup?", "did you see the match?"),
            (
                "{team}[, since {year}|, of course|].",
                "{team} won {few} to one.",
                "[i hope|i think] {team} will win.",
            ),
            (
                "{you.team} [played badly|are the best|were lucky].",
                "never. {team} will win.",
                "my {relative} is a {you.team} fan.",
            ),
        ),
        Story(
            (
                "i ran {some} kilometres [today|on {day}].",
                "i hurt my [knee|foot|hand|back] at the {ground}.",
                "we lost {some} to one [yesterday|on {day}].",
            ),
            ("does it hurt?", "how do you feel?", "[oh no|wow]. will you stop now?"),
            (
                "[a little|not any more], i need a break of {few} weeks.",
                "never, {sport} is my life.",
                "i am [proud|tired|fine], the {drink} helps.",
            ),
        ),
        Claim(
            ("{sport} is more fun than {hobby}.", "sport is healthy.", "{team} will win the cup."),
            ("[sure|true|no doubt].", "yes, i go to the {ground} every {day}."),
            ("[no|never], my {relative} broke a leg.", "i doubt it, {team} is stronger."),
        ),
    ),
    {
        "sport": ("see you at the {you.ground}.", "is your {you.gear} new?"),
        "team": ("good luck to {you.team}.",),
    },
)

LEISURE_TOPICS = (MUSIC, FILMS, HOBBIES, SPORT, BOOKS, GAMES)
