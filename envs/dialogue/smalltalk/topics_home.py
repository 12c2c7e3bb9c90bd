"""Topics around the house: how one feels, who one is, food, pets, family, garden."""

from __future__ import annotations

from parley.envs.dialogue.smalltalk.moves import Claim, Question, Story, Topic, YesNo

FEELING = Topic(
    "feeling",
    (
        Question(
            "feeling",
            (
                "how are you[ today| doing|]?",
                "how is it going?",
                "[are you okay|everything fine]?",
                "how was your [day|morning|week]?",
            ),
            (
                "i am {feeling}, {because}.",
                "{feeling}[, thanks|, thank you]. {because}.",
                "[a little|rather|quite] {feeling}, i would say.",
                "i feel {feeling} because {because}.",
            ),
            (
                "{you.feeling}? [i know that|that happens|i can hear it].",
                "[glad to hear|i understand|oh well]. [take it easy|make the best of it].",
                "good that you tell me.",
            ),
        ),
        YesNo(
            ("did you sleep [well|enough]?", "was it a good night?"),
            ("yes, {some} hours.", "like a [stone|baby]."),
            (
                "no, the neighbours were [loud|dancing].",
                "not really, only {few} hours.",
                "no, i read until {hour}.",
            ),
            ("[lucky you|i am jealous]. i slept {few} hours.", "sleep is the best medicine."),
            (
                "[poor you|that is bad]. try [warm milk|a walk|a boring book].",
                "oh no. go to bed early.",
            ),
        ),
        Story(
            (
                "i [woke up|got up] at {hour} today.",
                "i lost my [keys|phone|glasses|wallet] this morning.",
                "i fell asleep on the {vehicle}.",
                "i forgot my umbrella at the {place}.",
            ),
            (
                "why[ did that happen|]?",
                "and what did you do[ then|]?",
                "how [terrible|funny]. and then?",
            ),
            (
                "i called my {friend}, who [laughed|came at once|did not answer].",
                "i took a deep breath and [went on|had a {drink}].",
                "well, after {minutes} minutes everything was fine.",
                "i [still do not know|blame the moon].",
            ),
        ),
    ),
    {
        "feeling": (
            "i hope you [will be less {you.feeling}|stay {you.feeling}].",
            "are you still {you.feeling}?",
        )
    },
)

PEOPLE = Topic(
    "people",
    (
        Question(
            "name",
            ("what is your name?", "who are you?", "may i ask your name?"),
            (
                "i am {name}.",
                "my name is {name}.",
                "{name}. [my friends call me that too|nice to meet you].",
            ),
            (
                "nice to meet you, {you.name}.",
                "{you.name} is a [nice|beautiful|rare] name.",
                "my {relative} is called {you.name} too.",
            ),
        ),
        Question(
            "home",
            (
                "where do you [live|come from]?",
                "which city are you from?",
                "are you from [here|around here]?",
            ),
            (
                "i [live in|am from|come from] {home}[, in {homeland}|].",
                "from {home}. it is [often|mostly] {homesky} there.",
                "{home}. do you know {homesight}?",
            ),
            (
                "{you.home}? i would love to see {you.homesight}.",
                "oh, {you.homeland} is [beautiful|far away].",
                "is it always {you.homesky} in {you.home}?",
                "my {relative} [lives|works|studies] in {you.home}.",
            ),
        ),
        Question(
            "age",
            ("how old are you?", "may i ask your age?"),
            (
                "i am {age}[ years old|].",
                "{age}, but i feel [older|younger].",
                "i turned {age} in {month}.",
            ),
            ("{you.age} is a [good|wonderful] age.", "then i am [older|younger]: i am {age}."),
        ),
        Story(
            (
                "i met an old {friend} at the {place}.",
                "my neighbour {friendname} [sings|paints|cooks] at night.",
                "{friendname} told me a secret [yesterday|on {day}].",
            ),
            ("[really|oh]? what [happened|was it about]?", "who is {you.friendname}?"),
            (
                "a [friend|colleague] of {relativename}. we went to school together.",
                "it was about a {gift} for {relativename}.",
                "we talked for {few} hours about [nothing|everything|{home}].",
            ),
        ),
    ),
    {
        "name": ("so, {you.name}, [what else is new|what are your plans]?",),
        "home": ("so what is the weather like in {you.home}?", "do you ever miss {you.home}?"),
    },
)

FOOD = Topic(
    "food",
    (
        Question(
            "dish",
            (
                "what is your favourite [food|dish|meal]?",
                "what do you like to eat?",
                "what did you have for [lunch|dinner]?",
                "what are you cooking[ tonight|]?",
            ),
            (
                "{dish}[, of course|, always|].",
                "[i love|mostly|usually] {dish}, with [a lot of|some|extra] {ingredient}.",
                "{cuisine} {dish}. my {relative} [taught me|makes the best].",
                "it was {dish}, and it was [delicious|too salty|quite good].",
            ),
            (
                "{you.dish}? [i am hungry now|sounds delicious|my favourite too].",
                "i like {you.cuisine} food [too|a lot], but not {you.ingredient}.",
                "do you put {you.ingredient} in it?",
                "i would rather have {dish}.",
            ),
        ),
        Question(
            "drink",
            (
                "what would you like to drink?",
                "tea or coffee?",
                "what do you drink in the morning?",
            ),
            ("{drink}[, please|].", "[always|only|just] {drink}.", "a [big|small] cup of {drink}."),
            (
                "{you.drink} is [good for you|a good choice].",
                "no {you.drink} for me, i prefer {drink}.",
            ),
        ),
        YesNo(
            (
                "do you [cook|cook often|like cooking]?",
                "can you [cook|bake] well?",
                "do you cook {dish} at home?",
            ),
            (
                "yes, [every day|on {day}s|for my {relative}].",
                "yes, my {supper} is famous.",
                "i do, {minutes} minutes and it is ready.",
            ),
            (
                "no, i [burn everything|order {supper}|have no time].",
                "never, my {relative} cooks.",
                "no, i can only make {supper}.",
            ),
            ("[could you teach me|you must invite me]?", "then cook for me on {day}."),
            ("it is easy: start with {dish}.", "i could show you how to make {dish}."),
        ),
        Claim(
            (
                "i think {dish} [is better than|beats] {supper}.",
                "[nothing|hardly anything] is better than {dish} with {ingredient}.",
                "{cuisine} food is the best.",
            ),
            (
                "[i agree|true|absolutely], i could eat it every day.",
                "yes, especially in {season}.",
                "so true. with a glass of {drink}.",
            ),
            (
                "[i disagree|no way|not for me], i prefer {dish}.",
                "hm, [too much|i cannot stand] {you.ingredient}.",
                "i do not think so. {cuisine} food is better.",
            ),
        ),
        Story(
            (
                "i tried a new [recipe|restaurant] on {day}.",
                "we ate {dish} at the {place}.",
                "i baked a cake for {relativename}, my {relative}.",
            ),
            ("how was it?", "was it expensive?", "and, did you like it?"),
            (
                "[wonderful|terrible|not bad], but it took {few} hours.",
                "it cost {price} euros, with {drink}.",
                "too much {ingredient}, but everybody [smiled|ate it].",
            ),
        ),
    ),
    {
        "dish": (
            "now i want {you.dish}.",
            "next time we [eat|cook] {you.dish} together.",
            "enjoy your {you.dish}.",
        ),
        "drink": ("let us have {you.drink} together.",),
    },
)

PETS = Topic(
    "pets",
    (
        YesNo(
            ("do you have [any pets|a pet|an animal]?", "are there animals in your house?"),
            (
                "yes, a {pet} called {petname}.",
                "yes, my {pet} {petname} [is {few} years old|{petdoes}].",
                "i have {few} {pet}s. {petname} is the oldest.",
            ),
            (
                "no, [i am allergic|my flat is too small|i travel too much].",
                "no, but i would like a {pet}.",
                "not any more. i had a {pet}.",
            ),
            (
                "[how sweet|nice]. what does {you.petname} eat?",
                "{you.petname} is a good name for a {you.pet}.",
                "i love {you.pet}s.",
            ),
            ("a {pet} is little work.", "maybe later. a {pet} would suit you."),
        ),
        Question(
            "pet",
            ("which animal do you like most?", "do you prefer cats or dogs?"),
            ("{pet}s[, definitely|]. a {pet} {petdoes}.", "i like {pet}s[ best| most|]."),
            (
                "a {you.pet}? mine would be a {pet}.",
                "{you.pet}s are [funny|clever|too loud for me].",
            ),
        ),
        Story(
            (
                "my {pet} {petname} [ate|hid|broke] my {gift}.",
                "{petname}, my {pet}, ran away [on {day}|yesterday].",
                "our {pet} [learned a trick|went to the doctor].",
            ),
            (
                "oh no. is {you.petname} okay?",
                "what did you do?",
                "[bad|poor] {you.petname}. and now?",
            ),
            (
                "yes, {petname} [sleeps|is fine|looks happy] now.",
                "we searched for {few} hours. {petname} was in the {place}.",
                "i bought {petname} a [toy|new bed] for {price} euros.",
            ),
        ),
        Claim(
            (
                "{pet}s are the best pets.",
                "every child should have a {pet}.",
                "cats are cleverer than dogs.",
            ),
            ("[i agree|that is true]. they never lie.", "yes, mine {petdoes}."),
            ("i do not think so. a {pet} is better.", "no, [too much hair|they are noisy]."),
        ),
    ),
    {
        "petname": (
            "say hello to {you.petname}.",
            "how old is {you.petname} now?",
            "is {you.petname} waiting for you?",
        )
    },
)

FAMILY = Topic(
    "family",
    (
        YesNo(
            (
                "do you have [brothers or sisters|a big family|children]?",
                "is your family [big|here too]?",
            ),
            (
                "yes, {few}[ of them|]. my {relative} {relativename} lives in {home}.",
                "yes, my {relative} is called {relativename}.",
            ),
            ("no, it is only my {relative} and me.", "no, a small one: just {few} of us."),
            ("what does {you.relativename} do?", "do you see {you.relativename} often?"),
            ("small families are [quiet|close].", "then you have more time for friends."),
        ),
        Story(
            (
                "my {relative} {relativename} [got married|had a birthday] [on {day}|in {month}].",
                "{relativename}, my {relative}, moved to {trip}.",
                "i visited my {relative} in {trip}.",
            ),
            (
                "[how nice|oh]. how was [it|the party]?",
                "did you give {you.relativename} something?",
            ),
            (
                "yes, a {gift} for {price} euros.",
                "there were {many} people and a lot of {dish}.",
                "we danced until {hour} and {relativename} cried.",
            ),
        ),
        Claim(
            (
                "family is [more important than|as important as] work.",
                "grandmothers know everything.",
            ),
            (
                "[that is true|i agree], i call my {relative} every {day}.",
                "yes, mine is from {home}.",
            ),
            ("sometimes friends are closer.", "hm, my {relative} would not agree."),
        ),
    ),
    {"relativename": ("greet {you.relativename} from me.", "and how is {you.relativename}?")},
)

GARDEN = Topic(
    "garden",
    (
        Question(
            "plant",
            (
                "what grows in your garden?",
                "which plants do you have?",
                "what would you plant on a balcony?",
            ),
            (
                "{plant}[ and nothing else|, mostly|].",
                "[lots of|some|only] {plant}, from {month} on.",
                "i planted {plant} in {month}.",
            ),
            (
                "{you.plant} need [a lot of|little] water.",
                "mine died. now i have {plant}.",
                "i love {you.plant}[ in {season}|].",
            ),
        ),
        Story(
            (
                "the snails ate my {plant}.",
                "i found {some} [bees|frogs|coins] in the garden.",
                "my {plant} [won a prize|are in bloom].",
            ),
            ("[really|all of them]? what now?", "how long did it take?"),
            (
                "i will plant {plant} again in {month}.",
                "{few} weeks, with much {sky} weather.",
                "{friendname} says it [brings luck|is normal].",
            ),
        ),
    ),
    {"plant": ("good luck with your {you.plant}.", "send me a picture of your {you.plant}.")},
)

HOME_TOPICS = (FEELING, FOOD, PEOPLE, PETS, FAMILY, GARDEN)
