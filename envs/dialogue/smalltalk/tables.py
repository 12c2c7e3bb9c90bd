"""What people can talk about: tables of facts, one row a fact.

Rows that stand first are drawn most often, see `cards`.
"""

from __future__ import annotations

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
    """sister, brother, mother, father, cousin, grandmother, aunt, uncle, daughter, son, niece
nephew"""
)
FRIENDS = words("friend, neighbour, colleague, boss, flatmate, teacher, old friend, cousin, doctor")
DAYS = words("Saturday, Sunday, Friday, Monday, Thursday, Wednesday, Tuesday")
MONTHS = words(
    """July, May, December, August, June, October, March, September, April, January, November
February"""
)
SHOPS = words(
    """supermarket, bakery, bookshop, flower shop, second-hand shop, bike shop, record shop
toy shop, hardware store, cheese shop, shoe shop, market stall"""
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
