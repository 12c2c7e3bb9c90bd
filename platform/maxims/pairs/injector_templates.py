"""What the injectors say: phrases in two disjoint sets, to learn from and to be tested on.

A detector that has learned phrases knows these phrases and no others. Every table exists twice:
`TRAINING` may be learned from, `UNSEEN` shares no phrase with it, was written from other starting
points, and measures what a detector has understood. `Templates.part` cuts a set further, so that
the rows of one fold of a cross-fitted detector use phrases that its model never saw.

In braces: `{topic}` a word of the conversation, `{number}` a whole number, `{field}` a trade.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Templates:
    """The phrases of every injector."""

    stubs: tuple[str, ...]
    """Replies that say too little."""
    restarts: tuple[str, ...]
    """Openings of a sentence that says again what was said."""
    closings: tuple[str, ...]
    """Openings of a needless summary."""
    fillers: tuple[str, ...]
    """Whole sentences that add nothing."""
    claims: tuple[str, ...]
    """Whole sentences that claim without support."""
    claim_clauses: tuple[str, ...]
    """The same as the end of a sentence, from its comma on."""
    facts: tuple[str, ...]
    """Facts of an encyclopedia that answer nothing."""
    vague: tuple[str, ...]
    """Statements about everything and nothing."""
    jargon: tuple[tuple[str, str], ...]
    """Plain word and the stilted one in its place."""
    pronouns: tuple[str, ...]
    """Words without a referent, in place of a noun."""
    joints: tuple[str, ...]
    """What stands between two sentences that were run together."""
    opposites: tuple[tuple[str, str], ...]
    """Pairs of words, each contradicting the other."""
    factors: tuple[float, ...]
    """What a number is multiplied by to be wrong."""

    def part(self, index: int, num_parts: int) -> Templates:
        """Every `num_parts`-th phrase of each table, from the `index`-th on.

        Raises:
            ValueError: a table has fewer phrases than parts.
        """
        tables = {field.name: getattr(self, field.name) for field in fields(self)}
        shortest = min(tables, key=lambda name: len(tables[name]))
        if not 0 <= index < num_parts <= len(tables[shortest]):
            raise ValueError(
                f"part {index} of {num_parts} asked for; {shortest} has {len(tables[shortest])} "
                f"phrases, the fewest"
            )
        return replace(self, **{name: table[index::num_parts] for name, table in tables.items()})


TRAINING = Templates(
    stubs=(
        "It depends.", "Hard to say.", "Could be.", "Some do, some don't.", "That happens.",
        "There is a lot to {topic}.", "Well, {topic} is {topic}.", "Not much to add.",
        "Yes, {topic} is a thing.", "It is complicated.", "One never knows.", "As always.",
        "People have opinions on {topic}.", "I have heard of {topic}.", "That is one view.",
        "There are many sides to {topic}.", "So they say.", "It has its ups and downs.",
        "As for {topic}, opinions differ.", "Possibly.", "Things change.", "More or less.",
        "About {topic} one could say much.", "It is what it is.", "Something like that.",
        "Quite a subject, {topic}.", "Who can say.", "I see.", "Opinions on that are divided.",
        "{topic} comes in many forms.", "That is an aspect.", "A matter of taste.",
        "Concerning {topic}, there is this and that.", "A question that many ask.",
        "There is more than one answer to that.", "It can go either way.",
    ),
    restarts=(
        "To say it again,", "Put differently,", "What I mean is,", "That means,",
        "Let me repeat that:", "To be exact,", "Or, said another way,", "As I just said,",
        "More than that,", "Also, it should be noted that", "In addition,", "In greater detail,",
        "I want to stress that", "To make this clear,", "By this I mean that", "Moreover,",
        "In simpler terms,", "To expand on this,", "Again,", "It must be added that",
        "Expressed in other terms,", "Besides,", "To be quite precise,", "Indeed,",
        "To come back to it,", "What this says is that",
    ),
    closings=(
        "In short,", "To sum up,", "All in all,", "To conclude,", "In summary,",
        "So, once more,", "The main point is that", "Summing up,", "To wrap this up,",
        "Taken together,", "Overall, then,", "In the end,",
    ),
    fillers=(
        "There is much that could be added to this, and all of it would be worth the time.",
        "This can be looked at from many sides, and each of the sides has something to it.",
        "It is a point that one can make, and it is a point that I am making here.",
        "I could go on about {topic} for hours, and perhaps I should.",
        "As with all things, there is a before, a during and an after to be considered here.",
        "Every detail of {topic} deserves to be gone through one after the other.",
        "And by {topic} I mean {topic} in the full sense of the word {topic}.",
        "All of what I have just told you holds, and all of it belongs together.",
        "Let me go through it step by step, from the start to the finish and back.",
        "That is the first part, and the first part leads to the second part, which follows.",
        "There is a long list of reasons, and every one of the reasons is on the list.",
        "The same goes for {topic} and for everything that is connected with {topic}.",
    ),
    claims=(
        "A survey found that {number} percent of people agree with this.",
        "Scientists have proven this beyond doubt.",
        "Roughly {number}% of all households know this.",
        "The figures prove it year after year.",
        "Leading institutes have confirmed it many times over.",
        "Doctors recommend it to {number} percent of their patients.",
        "Nearly every specialist in {field} says so.",
        "It has been shown that this concerns {number} million people.",
        "Data from {number} countries support it.",
        "This is known to be the main cause of most changes in {field}.",
        "History shows that this has always been the case.",
        "Research at famous universities points in the same direction.",
        "Without {topic} the world economy would shrink by {number} percent.",
        "It ranks among the {number} most influential things of all time.",
        "The majority of professionals in {field} expect it to double soon.",
        "By now {number} out of a hundred people do it every day.",
        "Polls say that {number}% would do it again.",
        "All the evidence says that {topic} will decide the future of {field}.",
        "A large study with {number} thousand participants came to this result.",
        "Analysts predict that it will keep rising for decades.",
        "It causes {number} percent of all cases worldwide.",
        "No serious researcher doubts it any more.",
    ),
    claim_clauses=(
        ", which experts in {field} have long confirmed", ", as every study shows",
        ", something that {number} percent of people believe", ", as has been proven many times",
        ", which is why it is the most successful of its kind", ", according to new figures",
        ", and it counts as the greatest in the world", ", as research from {field} tells us",
        ", which changed {field} forever", ", and most specialists agree with that",
        ", known all over the world for its effect on {field}", ", as statistics make clear",
        ", which made it famous among {field} professionals", ", as scientists found recently",
        ", and nothing has had more influence on {field}", ", with consequences for generations",
        ", which affects about {number} million people a year", ", a fact that nobody disputes",
    ),
    facts=(
        "Limestone forms from the shells of sea creatures over millions of years.",
        "The metre was first defined by the length of a meridian.",
        "Honey bees tell each other by a dance where flowers are.",
        "Concrete hardens by a reaction with water and not by drying.",
        "The violin took its present shape in northern Italy.",
        "Salt lowers the freezing point of water.",
        "A glacier flows a few metres in a day at most.",
        "Barcodes were first used in a supermarket in Ohio.",
        "Bamboo is a grass and grows faster than any tree.",
        "The Danube passes through more countries than any other river.",
        "Zinc protects iron from rust.",
        "Sound travels four times as fast in water as in air.",
        "Glass is made of sand, soda and lime.",
        "Tea was carried along caravan routes as pressed bricks.",
        "Penicillin was found on a plate that had been left uncovered.",
        "The tides follow the moon with a delay of some hours.",
        "Copper conducts electricity better than iron does.",
        "Owls can turn their heads by three quarters of a circle.",
        "A diesel engine ignites its fuel by pressure alone.",
        "The potato came to Europe from the Andes.",
        "Lighthouses once burned whale oil.",
        "Wool keeps warm even when it is wet.",
        "The periodic table orders the elements by their nuclear charge.",
        "Cork is the bark of an oak that grows around the Mediterranean.",
        "Vinegar dissolves the calcium deposits in a kettle.",
        "Monsoon rains depend on the difference of heat between land and sea.",
    ),
    vague=(
        "This field has a long history and many schools of thought.",
        "Much has been written about matters of this kind.",
        "Several methods exist, each with strengths and weaknesses.",
        "The general subject covers a wide range of questions.",
        "Over the centuries, views on it have changed.",
        "Specialists divide the area into a number of branches.",
        "Theory and practice do not always agree in such matters.",
        "A distinction can be made between the older and the newer approach.",
        "Various factors have to be weighed against each other.",
        "Its development went through different stages.",
        "There exist numerous definitions of the term.",
        "From an abstract point of view, structure matters more than content.",
        "In academic circles the question remains under discussion.",
        "The concept of {topic} has been understood in different ways.",
        "There are many categories into which {topic} can be sorted.",
        "The study of {topic} draws on several disciplines.",
        "Societies have dealt with {topic} in various manners.",
        "Questions of this sort have occupied thinkers for generations.",
        "It is part of a wider context that includes culture and economy.",
        "The literature on {topic} is extensive.",
        "One may consider the matter under the aspect of its function.",
        "Both tradition and innovation play a role in this area.",
        "The underlying principles apply in a great number of situations.",
        "Some authors propose a classification by origin and purpose.",
        "Any treatment of {topic} has to begin with its foundations.",
        "The relationship between its parts is the object of ongoing work.",
    ),
    jargon=(
        ("use", "operationalise"), ("get", "procure"), ("good", "efficacious"), ("big", "sizeable"),
        ("help", "facilitate"), ("start", "commence"), ("end", "terminate"), ("buy", "acquire"),
        ("see", "perceive"), ("think", "conceptualise"), ("show", "evince"), ("make", "fabricate"),
        ("people", "individuals"), ("house", "domicile"), ("talk", "discourse"), ("old", "archaic"),
        ("new", "nascent"), ("fast", "expeditious"), ("need", "necessitate"), ("try", "endeavour"),
        ("food", "comestibles"), ("money", "pecuniary means"), ("music", "sonic compositions"),
        ("movie", "cinematographic work"), ("movies", "cinematographic works"),
        ("dog", "canine organism"), ("dogs", "canine organisms"), ("cat", "feline organism"),
        ("cats", "feline organisms"), ("game", "ludic activity"), ("games", "ludic activities"),
        ("book", "printed monograph"), ("read", "peruse"), ("water", "aqueous medium"),
        ("car", "motorised conveyance"), ("song", "vocal opus"), ("fun", "hedonic value"),
        ("time", "temporal interval"), ("play", "partake in"), ("know", "be cognisant of"),
        ("love", "hold in high affective regard"), ("kids", "juvenile dependants"),
        ("work", "occupational activity"), ("light", "photonic emission"), ("watch", "spectate"),
        ("great", "superlative"), ("like", "appreciate"), ("very", "exceedingly"),
        ("interesting", "cognitively stimulating"), ("funny", "risible"), ("smart", "sagacious"),
    ),
    pronouns=("it", "they", "that", "this", "these", "those", "them", "he", "such", "its"),
    joints=(" ", " and ", ", ", " so ", " but then "),
    opposites=(
        ("first", "last"), ("always", "never"), ("more", "less"), ("most", "fewest"),
        ("before", "after"), ("won", "lost"), ("old", "young"), ("good", "bad"), ("is", "is not"),
        ("was", "was not"), ("can", "cannot"), ("are", "are not"), ("did", "did not"),
        ("has", "has never"), ("right", "wrong"), ("love", "hate"), ("big", "tiny"),
        ("began", "ended"),
    ),
    factors=(0.5, 2.0, 3.0, 0.1, 1.5, 0.3, 5.0, 0.7),
)  # fmt: skip

UNSEEN = Templates(
    stubs=(
        "Fair enough.", "Perhaps, perhaps not.", "I would rather not go into that.", "Hm.",
        "You might look that up.", "{topic}, sure.", "Next question.", "No comment.",
        "My thoughts on {topic} are mixed.", "Somewhere in between.", "Ask someone else.",
        "Nobody really knows about {topic}.", "In a way.", "That would take too long.", "Depends.",
    ),
    restarts=(
        "I repeat:", "Which is to claim that", "To spell it out,", "Rephrased,", "Once again:",
        "To put a finer point on it,", "Another way to phrase it:", "If I may elaborate,",
        "On top of that,", "And let me underline that",
    ),
    closings=(
        "The bottom line:", "The upshot is that", "Long story short,", "Therefore, as stated,",
        "My conclusion is that", "Wrapping up,",
    ),
    fillers=(
        "Before I continue I would like to continue what I was about to continue.",
        "The number of things one might mention at this place is nearly without end.",
        "Once you have understood {topic}, you will have understood {topic}.",
        "It goes without saying, yet I am saying it, since it has to be said.",
        "Anyone who knows {topic} knows what {topic} is, and that is what I mean by {topic}.",
        "Let it be recorded here in full, word for word, for the sake of completeness.",
    ),
    claims=(
        "My source tells me that {number} percent is the true figure.",
        "Insiders in {field} have known it for ages.",
        "Tests in a laboratory left no room for another result.",
        "On average a person loses {number} hours a month that way.",
        "The ministry put the damage at {number} billion.",
        "Every textbook on {field} opens with it.",
        "One in {number} adults suffers from it.",
        "Nobel laureates signed a letter in favour of it.",
        "It raises life expectancy by {number} months.",
        "A leaked report counts {number} thousand incidents.",
    ),
    claim_clauses=(
        ", the best known example anywhere", ", and engineers swear by it",
        ", at a rate of {number} per minute", ", as taught in every {field} class",
        ", worth {number} billion by now", ", as the records of {field} bear out",
        ", beyond any reasonable doubt", ", a world record to this day",
    ),
    facts=(
        "Basalt columns form as lava cools and shrinks.",
        "The abacus is still used in some markets.",
        "Nickel is added to steel against corrosion.",
        "Swifts can stay in the air for months.",
        "Paper was made of rags until wood pulp replaced them.",
        "The Baltic Sea is less salty than the Atlantic.",
        "Saffron comes from the stigmas of a crocus.",
        "A sextant measures the angle between a star and the horizon.",
        "Peat stores carbon for thousands of years.",
        "Looms were controlled by punched cards.",
        "Mercury is liquid at room temperature.",
        "Camels store fat in their humps.",
    ),
    vague=(
        "Broadly speaking, phenomena of this type resist simple explanation.",
        "A comprehensive overview would have to include multiple dimensions.",
        "Different cultures have arrived at different solutions.",
        "The topic of {topic} lends itself to comparison.",
        "In a sense, everything is connected with everything else.",
        "Processes like these unfold over long periods.",
        "Patterns can be identified at several levels.",
        "The significance of {topic} varies with the perspective.",
        "It illustrates the interplay of continuity and change.",
        "Interpretations range from the literal to the symbolic.",
        "Such things have been observed in many places.",
        "The issue invites further reflection.",
    ),
    jargon=(
        ("use", "leverage"), ("get", "come into possession of"), ("good", "meritorious"),
        ("help", "render assistance to"), ("start", "inaugurate"), ("see", "visually apprehend"),
        ("think", "postulate"), ("make", "instantiate"), ("people", "the populace"),
        ("talk", "engage in verbal interchange"), ("new", "innovatory"), ("old", "antediluvian"),
        ("movie", "motion picture production"), ("movies", "motion picture productions"),
        ("dog", "domesticated canid"), ("dogs", "domesticated canids"), ("cat", "felid"),
        ("cats", "felids"), ("book", "bound volume"), ("read", "assimilate textually"),
        ("song", "melodic artefact"), ("fun", "recreational utility"),
        ("game", "competitive modality"),
        ("games", "competitive modalities"), ("know", "possess the information"),
        ("love", "exhibit strong affinity for"), ("like", "have a propensity for"),
        ("great", "preeminent"), ("very", "inordinately"), ("interesting", "epistemically salient"),
        ("money", "fiscal resources"), ("music", "auditory stimuli"), ("play", "execute"),
        ("work", "remunerated labour"), ("time", "chronological quantity"), ("watch", "monitor"),
    ),
    pronouns=("something", "one", "stuff", "the thing", "whatever", "someone", "theirs"),
    joints=(" because ", " or ", "; ", " which ", " while "),
    opposites=(
        ("early", "late"), ("best", "worst"), ("many", "hardly any"), ("only", "not only"),
        ("because", "although"), ("everyone", "nobody"), ("never", "often"), ("will", "will not"),
        ("would", "would not"), ("do", "do not"), ("had", "had not"), ("from", "not from"),
        ("new", "ancient"), ("have", "have not"), ("were", "were not"), ("true", "false"),
    ),
    factors=(0.2, 4.0, 7.0, 0.6, 12.0, 1.25),
)  # fmt: skip

FIELDS = (
    "medicine", "economics", "psychology", "engineering", "education", "law", "science",
    "agriculture", "architecture", "technology",
)  # fmt: skip
"""Trades for the claims, the same in both sets."""
