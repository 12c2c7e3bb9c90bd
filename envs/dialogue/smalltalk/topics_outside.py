"""Topics of the world outside: weather, travel, work, the city, plans, shopping."""

from __future__ import annotations

from parley.envs.dialogue.smalltalk.moves import Claim, Question, Story, Topic, YesNo

WEATHER = Topic(
    "weather",
    (
        Question(
            "sky",
            (
                "how is the weather[ today| over there|]?",
                "is it raining[ outside|]?",
                "do i need an umbrella?",
            ),
            (
                "it is {sky}[ and {few} degrees|].",
                "{sky}, [as always|since {day}|all day].",
                "[quite|very|a bit] {sky}, take [a coat|a hat|an umbrella].",
            ),
            (
                "{you.sky}? here it is {sky}.",
                "then i stay at home with {drink}.",
                "[good|perfect] for {hobby}.",
                "it will be {sky} on {day}.",
            ),
        ),
        Question(
            "season",
            (
                "which season do you like[ most|]?",
                "summer or winter?",
                "when is it nicest in {home}?",
            ),
            (
                "{season}, then i {seasondo}.",
                "{season}[, because it is {seasonsky}|, definitely|].",
                "in {season}, around {month}.",
            ),
            (
                "in {you.season} i [sleep badly|am happy|get ill].",
                "i prefer {season}.",
                "yes, {you.season} is {you.seasonsky}.",
            ),
        ),
        Claim(
            (
                "the weather is too {sky} for {month}.",
                "it was [warmer|colder] when i was young.",
                "i love {sky} days.",
            ),
            ("[yes|true], [terrible|strange], is it not?", "i agree, my {plant} suffer."),
            ("i like it like that.", "no, it is normal for {month}."),
        ),
        Story(
            (
                "the storm broke my [window|umbrella|fence].",
                "i got wet on the way to the {place}.",
                "it snowed {many} centimetres in {home}.",
            ),
            ("oh dear. is everything okay?", "when was that?", "and what did you do?"),
            (
                "on {day}, at {hour} in the morning.",
                "[yes|more or less], {friendname} helped me.",
                "i had a hot {drink} and waited {minutes} minutes.",
            ),
        ),
    ),
    {"sky": ("enjoy the {you.sky} weather.", "i hope it will not be {you.sky} tomorrow.")},
)

TRAVEL = Topic(
    "travel",
    (
        Question(
            "trip",
            (
                "where [did you go|were you] last [summer|year|{month}]?",
                "what was your best trip?",
                "have you been abroad?",
            ),
            (
                "i [was in|went to|flew to] {trip}[, in {tripland}|].",
                "to {trip}. {tripsight} looked [wonderful|crowded|old].",
                "{trip}, for {few} weeks. it was {tripsky}.",
            ),
            (
                "did you see {you.tripsight}?",
                "i have never been to {you.tripland}.",
                "how was the food in {you.trip}?",
                "was it {you.tripsky} in {you.trip}?",
            ),
        ),
        Question(
            "dream",
            (
                "where would you like to go?",
                "which country would you like to see?",
                "what is your dream holiday?",
            ),
            (
                "to {dream}, i want to see {dreamsight}.",
                "{dreamland}[, one day|, for sure|].",
                "{dream}, with my {relative}, in {month}.",
            ),
            (
                "{you.dreamland} is [far|expensive|beautiful].",
                "{you.dream} is often {you.dreamsky}.",
                "take me with you.",
                "i have been to {you.dream}. go and see {you.dreamsight}.",
            ),
        ),
        Question(
            "vehicle",
            ("how do you get there?", "how do you travel[ most|]?", "how do you get to work?"),
            (
                "by {vehicle}[, it takes {minutes} minutes|].",
                "i take the {vehicle}. the {stop} is near.",
                "[always|usually] by {vehicle}.",
            ),
            (
                "the {you.vehicle} is [slow|cheap|always late].",
                "i prefer the {vehicle}.",
                "is the {you.stop} far away?",
            ),
        ),
        YesNo(
            ("are you afraid of flying?", "do you travel alone?", "do you like {trip}?"),
            ("yes, [very much|a little|always].", "yes, since i was {age}."),
            ("no, [not at all|never].", "no, i go with {relativename}."),
            ("[me too|i understand that].", "take the {vehicle} instead."),
            ("[good|brave]. then come to {trip} with me.", "lucky you."),
        ),
        Story(
            (
                "i missed my {vehicle} in {trip}.",
                "we walked {many} kilometres to see {tripsight}.",
                "i left my {gift} in a hotel in {trip}.",
            ),
            ("what happened then?", "how did you get home?", "[oh no|really]? and then?"),
            (
                "a {job} from {home} helped me.",
                "i slept at the {stop}, it was {tripsky}.",
                "i took the next one, {few} hours later.",
                "it cost me {many} euros and a night.",
            ),
        ),
    ),
    {
        "trip": ("bring me something from {you.trip}.", "would you go to {you.trip} again?"),
        "dream": ("send me a card from {you.dream}.",),
    },
)

WORK = Topic(
    "work",
    (
        Question(
            "job",
            ("what do you do[ for a living|]?", "what is your job?", "where do you work?"),
            (
                "i am a {job}[ in {home}|].",
                "i work in a {workplace}, i am a {job}.",
                "i am a {job}. i {task}[ all day|].",
            ),
            (
                "do you {you.task} every day?",
                "a {you.job}? that [must be hard|sounds interesting|is useful].",
                "my {relative} is a {you.job} too.",
                "is the {you.workplace} far?",
            ),
        ),
        YesNo(
            ("do you like your [job|work|boss]?", "do you work a lot?", "are you free on {day}?"),
            (
                "yes, [very much|most days].",
                "yes, i {task} and that is fun.",
                "yes, the people are nice.",
            ),
            (
                "no, [my boss is rude|it is boring|i earn too little].",
                "not really, i have to {task}.",
                "no, i work until {hour}.",
            ),
            ("that is [rare|good to hear].", "then we could meet at the {place}."),
            ("[look for|find] something else.", "you could become a {job}."),
        ),
        Story(
            (
                "my boss [shouted at me|gave me a {gift}|is ill].",
                "i [got|quit] my job as a {job}.",
                "we have a new {job} in the team, {friendname}.",
                "i had {some} meetings [today|on {day}].",
            ),
            ("[really|oh]? why[ is that|]?", "how do you feel about it?", "what is next?"),
            (
                "because i forgot to {task}.",
                "[relieved|worried|happy], i needed a change.",
                "first i take {few} weeks off and go to {trip}.",
                "{friendname} says it will be fine.",
            ),
        ),
        Claim(
            (
                "a {job} works harder than a boss.",
                "{few} hours of work a day are enough.",
                "mondays should be free.",
            ),
            ("[absolutely|true|i agree].", "yes, tell that to my boss."),
            ("i do not think so, i like to {task}.", "somebody has to work."),
        ),
    ),
    {
        "job": ("do not work too hard[, even as a {you.job}|].", "the {you.workplace} can wait."),
    },
)

CITY = Topic(
    "city",
    (
        Question(
            "place",
            (
                "where shall we meet?",
                "what is your favourite place in {home}?",
                "how do i get to the {place}?",
                "what is worth seeing here?",
            ),
            (
                "the {place}[, near the {shop}|].",
                "at the {place}, {minutes} minutes from here.",
                "go left at the {shop}, then you see the {place}.",
            ),
            (
                "the {you.place}? i [go there often|got lost there once].",
                "is it open on {day}s?",
                "i would rather go to the {place}.",
            ),
        ),
        Claim(
            (
                "the city is too [loud|expensive|big] for me.",
                "{home} is nicer than {trip}.",
                "there are too many cars.",
            ),
            ("[true|i agree], i go by {vehicle}.", "yes, and the rent went up by {many} euros."),
            ("i like it, there is always something to see.", "no, {home} is great."),
        ),
        Story(
            (
                "there is a new {shop} next to the {place}.",
                "they closed the {place} [on {day}|in {month}].",
                "i got lost near the {place}.",
            ),
            ("[really|oh]? since when?", "what is it like?", "and who helped you?"),
            (
                "since {month}. {friendname} works there.",
                "[small|cheap|crowded], but nice.",
                "a {job} with a {pet} showed me the way.",
            ),
        ),
    ),
    {"place": ("see you at the {you.place} at {hour}.",)},
)

PLANS = Topic(
    "plans",
    (
        Question(
            "day",
            ("when are you free?", "when shall we meet?", "which day suits you?"),
            (
                "on {day}[ at {hour}|, after {hour}|].",
                "{day}[ is good| evening| morning|].",
                "only on {day}.",
            ),
            (
                "{you.day} is [perfect|fine|difficult] for me.",
                "on {you.day} i have to {task}.",
                "what about {day}?",
            ),
        ),
        YesNo(
            (
                "shall we go to the {place} on {day}?",
                "would you like to come to my party on {day}?",
                "do you have plans for the weekend?",
            ),
            ("yes, [gladly|i will be there at {hour}|good idea].", "yes, i will bring {supper}."),
            ("no, [sorry|i am busy], i have to {task}.", "i cannot, i am in {trip}."),
            ("[great|wonderful]. bring your {friend} too.", "we start at {hour}."),
            ("[what a pity|next time then].", "then i will ask {friendname}."),
        ),
        Question(
            "gift",
            ("what can i give to {relativename}?", "what would you like for your birthday?"),
            (
                "a {gift}[, maybe|].",
                "[a new|a small|an old] {gift} would be nice.",
                "a {gift} from the {shop}.",
            ),
            (
                "a {you.gift} costs {price} euros.",
                "a {you.gift}? good idea.",
                "i gave a {you.gift} last year.",
            ),
        ),
        Story(
            (
                "i am moving to {dream} in {month}.",
                "i will learn {hobby} this year.",
                "we are planning a surprise for {friendname}.",
            ),
            ("[wow|oh]. why?", "when do you start?", "can i help?"),
            (
                "in {month}. there is so much to do.",
                "yes, bring a {gift} and {few} boxes.",
                "because of a {job} i met in {trip}.",
            ),
        ),
    ),
    {"day": ("see you on {you.day}.", "{you.day} it is.")},
)

SHOPPING = Topic(
    "shopping",
    (
        Question(
            "shop",
            ("where did you buy that?", "where are you going?", "do you know a good shop?"),
            (
                "in the {shop}[ near the {place}|].",
                "to the {shop}, i need a {gift}.",
                "the {shop} is cheap, i paid {price} euros.",
            ),
            (
                "the {you.shop} is [closed|expensive|my favourite].",
                "do they sell {plant} too?",
                "bring me a {gift} from the {you.shop}.",
            ),
        ),
        Story(
            (
                "i bought a {gift} for {price} euros.",
                "i returned the {gift} to the {shop}.",
                "the {shop} had no {dish} left.",
            ),
            ("is that [cheap|expensive]?", "for whom?", "why that?"),
            (
                "for my {relative}, it is a birthday present.",
                "it was [half price|a bargain|broken].",
                "i paid {many} euros last time.",
            ),
        ),
    ),
    {"shop": ("the {you.shop} closes at {hour}.",)},
)

OUTSIDE_TOPICS = (WEATHER, TRAVEL, WORK, PLANS, CITY, SHOPPING)
