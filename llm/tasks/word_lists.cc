#include "llm/tasks/word_lists.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace kvp {
namespace {

// clang-format off
constexpr absl::string_view kAdjectives =
    "able amber ample ancient angry arctic ashen autumn awkward azure balmy bare bashful "
    "basic bent bitter blank bleak blind blond blunt bold bony brave brief bright brisk "
    "brittle broad broken bronze brown bumpy busy calm candid careful cheap cheerful chilly "
    "civil clean clear clever clumsy coarse cold common cosy crafty crisp crooked crude "
    "curious curly damp dapper daring dark dear deep dense dim distant dizzy double drab dry "
    "dull dusty eager early earthy easy empty equal exact faded faint fair false famous "
    "fancy fast fatal feeble fertile festive fierce fine firm flat fluffy fond formal frail "
    "frank free fresh frosty frozen frugal full funny fuzzy gentle giant giddy glad gloomy "
    "glossy golden good grand grassy gray greedy green grim gritty gruff handsome handy "
    "happy hardy harsh hasty heavy hidden hoarse hollow holy honest hot huge humble humid "
    "hungry icy ideal idle inner jagged jaunty jolly jovial keen kind large late lazy leafy "
    "lean level light limp little lively lone long loose loud lovely low loyal lucky lush "
    "mad magic major marble meek mellow mighty mild minor misty modern modest moist mossy "
    "muddy mute narrow nasty native neat nervous new nimble noble noisy numb odd open oval "
    "pale patient perky petty plain playful pleasant plump polite poor prickly prime proud "
    "prudent pure quaint quick quiet rapid rare raw ready real rich rigid ripe robust rocky "
    "rosy rotten rough round royal rude rural rustic rusty sacred safe salty sandy scarce "
    "secret serene shabby shady shaggy shallow sharp shiny short shy silent silky silly "
    "silver simple sleepy slender slick slim slow sly small smart smoky smooth snowy snug "
    "soft solar solemn solid sour spare spicy spiky spotted square stale stark starry steady "
    "steep sticky stiff still stormy stout strange strict strong stubborn sturdy subtle "
    "sudden sullen sunny supple swift tall tame tangy tart tender tense thick thin thirsty "
    "thorny tidy timid tiny tired tough tricky true upper urban useful vacant vague valid "
    "vast velvet violet vivid warm wary watery weak wealthy weary wet white whole wicked "
    "wide wild windy wintry wise witty wooden worn woven yellow young zesty ";

constexpr absl::string_view kNouns =
    "acorn actor airport album alley almond anchor angle ankle ant anvil apple apron arch "
    "arm armor arrow artist attic aunt author axe badge bag baker balcony ball balloon "
    "bamboo banana bank banner barber bark barley barn barrel basin basket bath battery "
    "beach bead beak beam bean bear beard beaver bed beetle bell belt bench berry bicycle "
    "bird biscuit blade blanket block blossom boat bolt bone bonnet book boot border bottle "
    "boulder bowl box boy bracelet branch brass bread breeze brick bridge broom brother "
    "brush bubble bucket buckle bud buffalo bugle builder bullet bundle butcher butter "
    "button cabbage cabin cable cage cake camel camera camp canal candle cannon canoe canvas "
    "cap captain card carpet carriage carrot cart castle cat cattle cave cedar ceiling "
    "cellar chain chair chalk channel chapel cheese cherry chest chicken chimney chin church "
    "cider circle city clam claw clay clerk cliff cloak clock cloth cloud clover coach coal "
    "coast coat cobbler coin collar comb comet compass cook copper coral corn corner cottage "
    "cotton cousin cow cradle crane crayon cream creek cricket crow crown crumb crystal cup "
    "curtain cushion dagger dairy daisy dance daughter dawn deer desert desk diamond dinner "
    "dish ditch doctor dog doll dolphin donkey door dove dragon drawer dress drum duck dune "
    "eagle ear easel echo eel egg elbow elephant elm engine eye falcon family farm farmer "
    "feast feather fence fern ferry fiddle field fig finger fire fish flag flame flask flock "
    "floor flour flower flute fly fog forest fork fossil fountain fox frame friend frog "
    "fruit furnace galaxy gallery garden garlic gate gem ghost ginger giraffe girl glacier "
    "glass globe glove goat goblet goose grain grape grass gravel guitar hail hair hall "
    "hammer hammock hand harbor harp hat hawk hay hazel head heart hedge helmet hen herb "
    "heron hill hinge hive honey hood hook horn horse hotel house hut ice inn iron island "
    "ivory ivy jacket jam jar jewel juice jungle kettle key king kitchen kite knee knife "
    "knight knot lace ladder ladle lake lamb lamp lantern lark laurel lawn leaf leather "
    "ledge lemon lentil letter lettuce library lily lime linen lion lip lizard lock log loom "
    "lute map maple market mask mast meadow medal melon metal mill mint mirror mole monk "
    "moon moose moss moth mother motor mountain mouse mouth mud mule museum mushroom music "
    "napkin neck needle nephew nest net nettle night noodle nose notebook nun nut oak oar "
    "oasis oat ocean office olive onion orange orchard orchid otter oven owl ox oyster "
    "paddle page painter palace palm pan panther paper parcel park parrot pasta path peach "
    "peacock peak pear pearl pebble pedal pen pencil penguin pepper piano picture pie pigeon "
    "pillar pillow pilot pin pine pipe planet plank plate plow plum pocket poem pond pony "
    "poppy porch port potato pottery prairie prince pumpkin puppet purse quail quarry queen "
    "quill quilt rabbit radio radish raft rail rain raisin rake ram raven reed reef ribbon "
    "rice ring river road robe robin rocket roof room root rope rose ruby rudder rug sack "
    "saddle sail salad salmon salt sand sandal sauce saucer school scissors sea seal seed "
    "shadow shark sheep shelf shell shepherd ship shirt shoe shore shovel shrimp shrub "
    "sister skate sled sleeve smoke snail snake snow soap soil soldier song soup spade "
    "sparrow spear spider spinach spoon spring squirrel stable stair stamp star station "
    "statue steam steel stem stone stool storm stove straw stream street string sugar sun "
    "swan sword table tailor tea teacher temple tent thread throne thumb thunder tiger tile "
    "timber toad toast tomato tongue tool torch towel tower town toy train tray treasure "
    "tree trout trumpet trunk tulip tunnel turkey turnip turtle uncle valley vase village "
    "vine violin voice wagon wall walnut walrus wasp watch water wave wax weasel well whale "
    "wheat wheel whistle willow window wine wing wolf woman wood wool worm wreath writer "
    "yard yarn zebra ";
// clang-format on

std::vector<std::string> BuildPlainWords() {
  std::vector<std::string> words = Adjectives();
  words.insert(words.end(), Nouns().begin(), Nouns().end());
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

std::vector<std::string> BuildSyllableWords() {
  constexpr absl::string_view kConsonants = "bcdfghjklmnprstvwz";
  constexpr absl::string_view kVowels = "aeiou";
  constexpr absl::string_view kLast = "dklmnprstx";
  std::vector<std::string> words;
  words.reserve(kConsonants.size() * kVowels.size() * kConsonants.size() * kVowels.size() *
                kLast.size());
  for (const char c1 : kConsonants) {
    for (const char v1 : kVowels) {
      for (const char c2 : kConsonants) {
        for (const char v2 : kVowels) {
          for (const char c3 : kLast) words.push_back({c1, v1, c2, v2, c3});
        }
      }
    }
  }
  return words;
}

}  // namespace

const std::vector<std::string>& Adjectives() {
  static const auto& words =
      *new std::vector<std::string>(absl::StrSplit(kAdjectives, ' ', absl::SkipEmpty()));
  return words;
}

const std::vector<std::string>& Nouns() {
  static const auto& words =
      *new std::vector<std::string>(absl::StrSplit(kNouns, ' ', absl::SkipEmpty()));
  return words;
}

const std::vector<std::string>& PlainWords() {
  static const auto& words = *new std::vector<std::string>(BuildPlainWords());
  return words;
}

const std::vector<std::string>& SyllableWords() {
  static const auto& words = *new std::vector<std::string>(BuildSyllableWords());
  return words;
}

}  // namespace kvp
