"""Phrases of every topic: greetings, asking back, agreeing, changing the subject, farewells."""

from __future__ import annotations

GREETINGS = (
    "hello[ there|].",
    "hi[ there|].",
    "hey.",
    "good [morning|evening|afternoon].",
    "hello, i am {name}.",
    "hi, my name is {name}.",
    "hello again.",
    "nice to [meet|see] you.",
)
GREETING_REPLIES = (
    "hi[ there|].",
    "hello[, i am {name}|].",
    "hey[, good to see you|].",
    "hello [you|there].",
    "nice to meet you[ too|].",
    "good [morning|evening|afternoon].",
)
NAMED_GREETING_REPLIES = (
    "hi {you.name}[, i am {name}|].",
    "hello {you.name}.",
    "nice to meet you, {you.name}.",
    "hey {you.name}, my name is {name}.",
)
ASK_BACKS = (
    "[and you|and yours|what about you|how about you]?",
    "[and you|what about you]?",
    "what is your answer?",
    "and what would you say?",
)
SAME = (
    "[same here|same for me|me too|just like me].",
    "what a [coincidence|surprise], [me too|same here].",
    "no way, [me too|same for me].",
)
OTHER = (
    "[for me|me]?",
    "[interesting|i see|okay|nice].",
    "[that is different for me|not quite the same here].",
    "well,",
)
ACKNOWLEDGEMENTS = (
    "[oh|ah|okay|nice|great|i see|interesting|really|cool|fair enough|good to know].",
    "[that makes sense|sounds good|that is nice|good for you].",
)
CHANGES = (
    "[by the way|anyway|so|tell me],",
    "[let us talk about something else|to change the subject].",
    "[oh, one more thing|another question].",
)
FAREWELLS = (
    "[well,|okay,|] i have to go[ now|].",
    "i must [go|run|leave], my {vehicle} [comes|leaves] [soon|in {few} minutes].",
    "it was [nice|lovely|great] [talking|chatting] to you.",
    "thanks for the [chat|talk].",
    "see you [tomorrow|soon|on {day}|next week].",
    "[bye|goodbye|take care].",
    "have a [good|nice|lovely] [day|evening|weekend].",
)
NAMED_FAREWELLS = (
    "it was nice to meet you, {you.name}.",
    "[bye|goodbye|take care|see you soon], {you.name}.",
)
FAREWELL_REPLIES = (
    "[bye|goodbye|see you|take care|see you soon].",
    "you too, [bye|goodbye].",
    "thanks, [see you|have a nice day].",
    "until [next time|{day}|tomorrow].",
)
