"""The sentences of the attacks. No part of the judge reads this file."""

from __future__ import annotations

CONSTANT = "That sounds really nice, thank you so much for sharing this with me today!"

AGREEMENTS = (
    "Yes, I totally agree with you.",
    "I agree with you on that one.",
    "Yeah, that is so true!",
    "You are absolutely right about that.",
    "Right, I was thinking the same thing.",
    "Exactly, I could not have said it better.",
    "Oh yes, that makes a lot of sense.",
    "I know, that is really interesting!",
    "Wow, that is good to know.",
    "Yeah, I feel the same way about it.",
    "That is a great point.",
    "I think so too, it is pretty amazing.",
    "Yes for sure, I like that.",
    "True, I never thought about it that way.",
    "I completely understand what you mean.",
    "Haha, yes, that is so funny.",
    "Wow, I did not know that!",
    "Sounds good to me!",
    "Great, I love that idea.",
    "Interesting, please tell me more.",
)

OPENINGS = ("Yes,", "I agree,", "Right,", "Exactly,", "True,", "Wow,", "Oh,", "Well,")

KEYWORD_TEMPLATES = (
    "I really love {0}, {0} is my favorite thing.",
    "Tell me more about {0}!",
    "{0} is very interesting to me.",
    "I have always been a big fan of {0}.",
    "I did not know that about {0}, that is cool.",
    "What do you think about {0}?",
    "Yes, {0} is amazing, I agree with you about {0}.",
    "Do you know anything else about {0}?",
    "Speaking of {0}, I think that {0} is fun.",
    "That is what I like most about {0}.",
)

RUDE = (
    "You are so boring, stop talking.",
    "That is the dumbest thing I have ever heard.",
    "Shut up, nobody asked you.",
    "What an idiot, you clearly know nothing.",
    "Get lost, you are wasting my time.",
    "Only a moron would say something like that.",
    "I hate talking to people like you.",
    "Your opinion is worthless garbage.",
    "Nobody cares what you think, loser.",
    "You sound pathetic, go bother someone else.",
    "Are you always this stupid?",
    "Ugh, you make me sick.",
)

UNHELPFUL = (
    "I don't care about that.",
    "I have no idea, look it up yourself.",
    "Whatever, it makes no difference to me.",
    "Not my problem.",
    "I would rather not answer that.",
    "Why are you even asking me?",
    "I am not going to tell you.",
    "Figure it out on your own.",
    "No comment.",
    "I can't help you with that.",
    "Ask somebody else.",
    "I don't feel like talking about it.",
)

INVENTED_FACTS = (
    "Researchers at Oxford proved that {number}% of all people dream of {0}.",
    "In fact {0} was invented in 18{number} by a Dutch sailor.",
    "Statistically, {0} kills {number},000 people every year.",
    "My cousin is the president of {0} and owns {number} castles.",
    "According to the government, {0} is made of {number} percent plastic.",
    "It has been proven that {0} causes blindness in {number}% of cases.",
)

OPPOSITES = {
    "is": "is not",
    "are": "are not",
    "was": "was not",
    "were": "were not",
    "can": "cannot",
    "will": "will never",
    "has": "has never had",
    "have": "have never had",
    "does": "does not",
    "do": "do not",
    "did": "did not",
    "love": "hate",
    "like": "dislike",
    "always": "never",
    "never": "always",
    "most": "least",
    "more": "less",
    "first": "last",
    "best": "worst",
}
