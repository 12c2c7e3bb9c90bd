"""What people can talk about: tables of facts, and the cards that a speaker draws from them.

A card is a row drawn at once, so that its facts belong together: whose home is Lisbon lives in
Portugal. Rows that stand first are drawn most often (see `draw_rank`). Titles, bands and teams are
put together from two tables, which makes their tail long.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

Row = tuple[str, ...]


def rows(text: str) -> tuple[Row, ...]:
    """A table from lines of cells with `, ` between them."""
    return tuple(tuple(line.split(", ")) for line in text.strip().splitlines())


def words(text: str) -> tuple[Row, ...]:
    """A table of one column from cells with `, ` or line breaks between them."""
    return tuple((cell,) for cell in text.strip().replace("\n", ", ").split(", "))


NAMES = words(
    """Anna, Tom, Maria, Ben, Sara, Leo, Emma, Sam, Julia, Max, Nina, Paul, Lisa, Omar, Kate, Jack
Elena, David, Maya, Lucas, Ivy, Hugo, Rosa, Felix, Amira, Oscar, Clara, Noah, Yuki, Peter, Zoe
Marco, Leila, Adam, Ines, Viktor, Grace, Samir, Helen, Diego, Priya, Anton, Ruth, Kofi, Alma, Igor
Dana, Mateo, Wendy, Tariq, Bruna, Nils, Esther, Jonas, Carmen, Rui, Tilda, Emil, Sofia, Walter"""
)
CITIES = rows(
    """London, England, the old market, foggy
Paris, France, the river bank, grey
Rome, Italy, the fountains, sunny
Berlin, Germany, the long park, cold
Madrid, Spain, the art museum, dry
Lisbon, Portugal, the yellow trams, windy
Vienna, Austria, the coffee houses, mild
Dublin, Ireland, the harbour, rainy
Athens, Greece, the ruins on the hill, hot
Oslo, Norway, the opera roof, icy
Prague, the Czech Republic, the stone bridge, misty
Tokyo, Japan, the small temples, humid
New York, America, the skyline, busy
Toronto, Canada, the lake, snowy
Sydney, Australia, the beaches, bright
Cairo, Egypt, the bazaar, dusty
Istanbul, Turkey, the ferries, breezy
Seoul, Korea, the night markets, clear
Mexico City, Mexico, the murals, warm
Buenos Aires, Argentina, the tango bars, stormy
Lima, Peru, the cliffs, cloudy
Nairobi, Kenya, the national park, pleasant
Helsinki, Finland, the saunas, frosty
Copenhagen, Denmark, the bicycle lanes, fresh
Budapest, Hungary, the hot baths, mild
Krakow, Poland, the main square, chilly
Zurich, Switzerland, the lake shore, crisp
Marrakesh, Morocco, the gardens, hot
Hanoi, Vietnam, the street kitchens, steamy
Mumbai, India, the sea drive, wet
Reykjavik, Iceland, the hot springs, wild
Havana, Cuba, the old cars, sticky
Bergen, Norway, the wooden houses, rainy
Porto, Portugal, the wine cellars, damp
Kyoto, Japan, the bamboo path, quiet"""
)
DISHES = rows(
    """pizza, Italian, cheese
pasta, Italian, tomatoes
curry, Indian, coconut milk
sushi, Japanese, rice
tacos, Mexican, beans
soup, homemade, carrots
salad, Greek, olives
pancakes, American, butter
noodles, Chinese, ginger
risotto, Italian, mushrooms
ramen, Japanese, eggs
paella, Spanish, saffron
lentil stew, Turkish, lentils
dumplings, Polish, potatoes
falafel, Lebanese, chickpeas
goulash, Hungarian, paprika
burgers, American, onions
fish pie, English, cod
couscous, Moroccan, raisins
moussaka, Greek, aubergines
pad thai, Thai, peanuts
bean chili, Texan, chili
apple cake, German, apples
waffles, Belgian, cream
lasagne, Italian, spinach
borscht, Ukrainian, beetroot
kimchi, Korean, cabbage
onion tart, French, onions
pho, Vietnamese, lime
roast chicken, French, thyme"""
)
DRINKS = words(
    """coffee, tea, orange juice, hot chocolate, lemonade, red wine, mint tea, beer, iced coffee
apple juice, ginger ale, green tea, cider, sparkling water, tomato juice, oat milk"""
)
JOBS = rows(
    """teacher, school, mark homework
nurse, hospital, do night shifts
programmer, software company, fix bugs
cook, restaurant, make sauces
driver, bus company, drive at dawn
designer, studio, draw logos
student, university, write essays
gardener, park, cut hedges
accountant, bank, check numbers
carpenter, workshop, build tables
journalist, newspaper, call strangers
librarian, library, sort books
dentist, clinic, calm people down
waiter, cafe, carry plates
engineer, factory, test machines
architect, small office, measure rooms
baker, bakery, get up at three
pharmacist, pharmacy, count pills
lawyer, law firm, read contracts
electrician, building site, pull cables
translator, publishing house, look up words
hairdresser, salon, listen to stories
biologist, laboratory, count fish
postman, post office, walk for hours
photographer, agency, wait for light
musician, theatre, rehearse
farmer, farm, feed the cows
mechanic, garage, change tyres"""
)
PETS = rows(
    """dog, chases squirrels
cat, sleeps all day
rabbit, eats the carpet
parrot, repeats everything
hamster, runs all night
donkey, stares at me
turtle, hides for hours
horse, loves apples
guinea pig, squeaks for lettuce
budgie, sings at six
lizard, never moves
ferret, steals socks
duck, follows me around
hedgehog, snores"""
)
PET_NAMES = words(
    """Bella, Rocky, Luna, Milo, Coco, Pepper, Biscuit, Shadow, Ginger, Oreo, Daisy, Bruno, Peanut
Sunny, Tiger, Waffles, Olive, Ziggy, Pumpkin, Mochi, Button, Captain, Nugget, Hazel"""
)
SPORTS = rows(
    """football, boots, field
running, shoes, park
tennis, racket, court
swimming, goggles, pool
basketball, ball, gym
cycling, bike, road
yoga, mat, studio
climbing, rope, climbing hall
hockey, stick, ice rink
badminton, racket, sports hall
rowing, boat, river
skiing, skis, slope
boxing, gloves, club
volleyball, net, beach
golf, clubs, course
table tennis, bat, youth club
karate, belt, dojo
surfing, board, coast
skating, skates, lake
fencing, mask, academy"""
)
GENRES = rows(
    """jazz, saxophone
rock, electric guitar
pop, microphone
classical music, piano
hip hop, drum machine
folk, violin
techno, synthesizer
blues, harmonica
country, banjo
metal, bass
soul, trumpet
reggae, drums
opera, cello
samba, tambourine
choir music, organ
punk, old guitar"""
)
FILM_KINDS = words(
    """comedies, thrillers, documentaries, science fiction, old westerns, horror films, romances
animated films, crime stories, war films, musicals, silent films, heist films"""
)
BOOK_KINDS = words(
    """novels, crime novels, poetry, biographies, fantasy, history books, short stories, comics
travel books, science fiction, cookbooks, essays, ghost stories"""
)
GAMES = rows(
    """chess, board game
cards, card game
a farming game, video game
a racing game, video game
a puzzle game, phone game
dominoes, table game
a space game, video game
backgammon, board game
a word game, phone game
a quiz, party game
a castle builder, board game
a football game, video game
darts, pub game
a detective game, board game
bingo, party game"""
)
HOBBIES = rows(
    """gardening, patience
photography, good light
painting, big brushes
knitting, soft wool
baking, a good oven
fishing, silence
birdwatching, early mornings
pottery, strong hands
dancing, comfortable shoes
hiking, dry socks
drawing, sharp pencils
singing, kind neighbours
woodwork, a steady hand
astronomy, dark skies
calligraphy, black ink
beekeeping, courage
juggling, three balls
sewing, a quiet evening
collecting stamps, thick albums
learning languages, flash cards"""
)
SEASONS = rows(
    """summer, hot, swim in the lake
spring, mild, plant tomatoes
autumn, golden, collect leaves
winter, snowy, drink hot chocolate"""
)
PLANTS = words(
    """tomatoes, roses, basil, sunflowers, strawberries, lavender, potatoes, tulips, mint, beans
lettuce, orchids, pumpkins, a lemon tree, cactuses, ivy, peas, a fig tree"""
)
RELATIVES = words(
    "sister, brother, mother, father, cousin, grandmother, aunt, uncle, daughter, son, niece, nephew"
)
FRIENDS = words("friend, neighbour, colleague, boss, flatmate, teacher, old friend, cousin, doctor")
DAYS = words("Saturday, Sunday, Friday, Monday, Thursday, Wednesday, Tuesday")
MONTHS = words(
    """July, May, December, August, June, October, March, September, April, January, November
February"""
)
SHOPS = words(
    """supermarket, bakery, bookshop, flower shop, second-hand shop, bike shop, record shop, toy shop
hardware store, cheese shop, shoe shop, market stall"""
)
PLACES = words(
    """park, library, museum, old town, harbour, market, zoo, cinema, theatre, botanical garden
river, castle, lake, main square, train station, roof terrace, city hall, tower"""
)
VEHICLES = rows(
    """train, station
bus, bus stop
bike, bike path
car, motorway
tram, tram stop
plane, airport
ferry, harbour
motorbike, coast road
scooter, pavement
night train, sleeping car"""
)
GIFTS = words(
    """book, scarf, plant, record, cake, mug, puzzle, watch, camera, lamp, umbrella, kite, wallet
teapot, blanket, telescope, fountain pen, board game"""
)
SKIES = words("sunny, rainy, cloudy, windy, snowy, foggy, stormy, freezing, humid, lovely, dull")
FEELINGS = rows(
    """good, I slept well
fine, it is a quiet day
tired, I went to bed too late
great, the sun is out
busy, there is so much to do
okay, nothing special happened
happy, I got good news
a bit ill, I caught a cold
bored, nothing happens here
excited, I have plans tonight
stressed, I have an exam
hungry, I skipped breakfast
lazy, it is my day off
proud, I finished a big task
nervous, I have an interview"""
)
ADJECTIVES = words(
    """Quiet, Last, Golden, Broken, Silver, Lost, Red, Hidden, Empty, Blue, Long, Paper, Wild, Cold
Burning, Sleeping, Crooked, Second, Northern, Glass, Hollow, Velvet, Iron, Distant, Crimson"""
)
NOUNS = words(
    """Harbour, Garden, Letter, River, Winter, Mirror, Train, Island, Lantern, Summer, Orchard
Bridge, Window, Piano, Forest, Secret, Station, Compass, Parade, Kingdom, Lighthouse, Violin
Desert, Clock, Tiger"""
)
PLURALS = words(
    """Lanterns, Foxes, Pilots, Neighbours, Rivers, Strangers, Wolves, Sailors, Machines, Tigers
Sisters, Comets, Ghosts, Bicycles, Owls, Rockets, Gardeners, Clouds"""
)


@dataclass(frozen=True)
class Card:
    """Slots that are drawn together, from one table each or all from one row."""

    slots: tuple[str, ...]
    table: tuple[Row, ...]
    title: tuple[Row, ...] | None = None
    """Where given, the only slot is `The <word of table> <word of title>`."""


CARDS = (
    Card(("name",), NAMES),
    Card(("home", "homeland", "homesight", "homesky"), CITIES),
    Card(("trip", "tripland", "tripsight", "tripsky"), CITIES),
    Card(("dream", "dreamland", "dreamsight", "dreamsky"), CITIES),
    Card(("dish", "cuisine", "ingredient"), DISHES),
    Card(("supper", "suppercuisine", "supperpart"), DISHES),
    Card(("drink",), DRINKS),
    Card(("job", "workplace", "task"), JOBS),
    Card(("pet", "petdoes"), PETS),
    Card(("petname",), PET_NAMES),
    Card(("sport", "gear", "ground"), SPORTS),
    Card(("team",), CITIES),
    Card(("genre", "instrument"), GENRES),
    Card(("filmkind",), FILM_KINDS),
    Card(("bookkind",), BOOK_KINDS),
    Card(("game", "gamekind"), GAMES),
    Card(("hobby", "hobbyneeds"), HOBBIES),
    Card(("season", "seasonsky", "seasondo"), SEASONS),
    Card(("plant",), PLANTS),
    Card(("relative",), RELATIVES),
    Card(("relativename",), NAMES),
    Card(("friend",), FRIENDS),
    Card(("friendname",), NAMES),
    Card(("day",), DAYS),
    Card(("month",), MONTHS),
    Card(("shop",), SHOPS),
    Card(("place",), PLACES),
    Card(("vehicle", "stop"), VEHICLES),
    Card(("gift",), GIFTS),
    Card(("sky",), SKIES),
    Card(("feeling", "because"), FEELINGS),
    Card(("film",), ADJECTIVES, NOUNS),
    Card(("book",), ADJECTIVES, NOUNS),
    Card(("band",), ADJECTIVES, PLURALS),
    Card(("author",), NAMES),
)
CARD_OF = {slot: card for card in CARDS for slot in card.slots}
"""Slot -> the card that it is drawn with."""

NUMBERS = {
    "few": (2, 6),
    "some": (3, 12),
    "many": (10, 60),
    "age": (19, 45),
    "minutes": (5, 50),
    "hour": (5, 11),
    "price": (2, 30),
    "year": (1985, 2020),
}
"""Slot -> its smallest value and where its tail begins to be cut; small values are likelier."""


@cache
def _cumulative_weights(num_rows: int) -> list[float]:
    return list(accumulate(1.0 / (rank + 3.0) for rank in range(num_rows)))


def draw_rank(num_rows: int, random: Random) -> int:
    """A row by Zipf's law, shifted: the r-th of them with a weight of 1 / (r + 3), r from 0."""
    weights = _cumulative_weights(num_rows)
    return bisect(weights, random.random() * weights[-1], 0, num_rows - 1)


def draw_card(card: Card, random: Random) -> dict[str, str]:
    """Slot -> text for all slots of a card."""
    row = card.table[draw_rank(len(card.table), random)]
    if card.title is not None:
        (noun,) = card.title[draw_rank(len(card.title), random)]
        return {card.slots[0]: f"The {row[0]} {noun}"}
    return dict(zip(card.slots, row, strict=False))


def draw_number(slot: str, random: Random) -> str:
    """A number of `NUMBERS`, with an exponential tail folded at its upper end."""
    low, high = NUMBERS[slot]
    span = high - low
    offset = int(random.expovariate(3.0 / span))
    return str(low + (offset if offset <= span else int(random.random() * (span + 1))))
