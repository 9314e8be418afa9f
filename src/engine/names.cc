#include "engine/names.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::engine {

namespace {

constexpr int plain_attempts_max = 8;

constexpr std::string_view adjectives[] = {
    "able",   "agile",    "airy",    "alert",    "amber",   "ample",  "ardent", "arctic",
    "astute", "azure",    "balmy",   "bold",     "brave",   "breezy", "bright", "brisk",
    "calm",   "candid",   "careful", "cheerful", "civil",   "clear",  "clever", "cosmic",
    "cosy",   "crisp",    "curious", "daring",   "dapper",  "deft",   "dewy",   "direct",
    "dreamy", "eager",    "earnest", "easy",     "elegant", "even",   "exact",  "fair",
    "fancy",  "fearless", "festive", "fine",     "fleet",   "fluent", "fond",   "frank",
    "fresh",  "friendly", "frosty",  "gentle",   "gifted",  "glad",   "golden", "graceful",
    "grand",  "hale",     "handy",   "happy",    "hardy",   "hearty", "honest", "hopeful",
    "humble", "ideal",    "jaunty",  "jolly",    "jovial",  "keen",   "kind",   "lively",
    "loyal",  "lucid",    "lucky",   "lunar",    "mellow",  "merry",  "mild",   "modest",
    "neat",   "nimble",   "noble",   "novel",    "patient", "placid", "polite", "prime",
    "proud",  "prudent",  "quick",   "quiet",    "radiant", "rapid",  "ready",  "robust",
    "rosy",   "serene",   "sharp",   "silver",   "sincere", "sleek",  "smart",  "snug",
    "solar",  "solid",    "spry",    "steady",   "stellar", "sturdy", "subtle", "sunny",
    "supple", "swift",    "tidy",    "tranquil", "trusty",  "upbeat", "vivid",  "warm",
    "wise",   "witty",    "zealous", "zesty"};

// People to whom flying, computing and measuring owe something.
constexpr std::string_view surnames[] = {
    "abel",       "agnesi",     "aiken",        "aitken",      "alhazen",    "ampere",
    "anning",     "arago",      "babbage",      "bacon",       "baird",      "banneker",
    "barkhausen", "becquerel",  "bernoulli",    "bessel",      "bleriot",    "bode",
    "boole",      "borlaug",    "brahe",        "brouwer",     "cannon",     "cantor",
    "carnot",     "cauchy",     "cayley",       "celsius",     "coleman",    "copernicus",
    "coulomb",    "cray",       "curie",        "dalton",      "davy",       "dijkstra",
    "dirac",      "doppler",    "earhart",      "eckert",      "eddington",  "erdos",
    "euler",      "faraday",    "fermat",       "feynman",     "fibonacci",  "foucault",
    "fourier",    "franklin",   "fresnel",      "galileo",     "galois",     "gauss",
    "germain",    "giffard",    "goddard",      "goedel",      "hadamard",   "halley",
    "hamilton",   "hamming",    "heaviside",    "henry",       "herschel",   "hertz",
    "hilbert",    "hooke",      "hopper",       "hubble",      "huygens",    "hypatia",
    "jacobi",     "jacquard",   "johnson",      "joule",       "kelvin",     "kepler",
    "kirchhoff",  "knuth",      "kovalevskaya", "lagrange",    "langley",    "laplace",
    "leavitt",    "leibniz",    "lilienthal",   "linnaeus",    "lorentz",    "lovelace",
    "mach",       "markov",     "maxwell",      "mccarthy",    "meitner",    "mendel",
    "mendeleev",  "michelson",  "mitchell",     "montgolfier", "morse",      "napier",
    "nansen",     "naur",       "newcomb",      "newton",      "nobel",      "noether",
    "oersted",    "ohm",        "pascal",       "pasteur",     "payne",      "penaud",
    "planck",     "poincare",   "poisson",      "prandtl",     "ramanujan",  "ride",
    "riemann",    "rontgen",    "rubin",        "rutherford",  "scheele",    "shannon",
    "sikorsky",   "snell",      "somerville",   "stokes",      "tereshkova", "tesla",
    "thales",     "torricelli", "turing",       "volta",       "watt",       "weierstrass",
    "wheatstone", "wirth",      "wright",       "wren",        "yalow",      "young",
    "zeppelin",   "zuse"};

void fill_random(void* into, size_t size) {
  // Below 256 bytes the kernel neither waits (after boot) nor gives less.
  CHECK(::getrandom(into, size, 0) == static_cast<ssize_t>(size));
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool is_container_name(std::string_view name) {
  if (name.size() < 2 || !is_word(name[0])) return false;
  return std::ranges::all_of(name.substr(1),
                             [](char c) { return is_word(c) || c == '_' || c == '.' || c == '-'; });
}

Result<> check_container_name(std::string_view name) {
  if (is_container_name(name)) return {};
  return fail(Kind::Invalid, cat("Invalid container name (", name,
                                 "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
}

std::string make_up_name(const std::function<bool(const std::string&)>& taken) {
  for (unsigned attempt = 0;; ++attempt) {
    uint32_t random[3];
    fill_random(random, sizeof random);
    std::string name = cat(adjectives[random[0] % std::size(adjectives)], '_',
                           surnames[random[1] % std::size(surnames)]);
    // The more names are taken, the more digits: it comes to an end whatever is there.
    uint32_t digits = random[2];
    for (unsigned more = attempt; more >= plain_attempts_max; more -= plain_attempts_max) {
      append_to(name, digits % 10);
      digits /= 10;
    }
    if (!taken(name)) return name;
  }
}

std::string random_id() {
  constexpr char digits[] = "0123456789abcdef";
  std::string id(64, '0');
  do {
    uint8_t random[32];
    fill_random(random, sizeof random);
    for (size_t at = 0; at < sizeof random; ++at) {
      id[2 * at] = digits[random[at] >> 4];
      id[2 * at + 1] = digits[random[at] & 15];
    }
  } while (id.find_first_not_of("0123456789") >= 12);
  return id;
}

bool is_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace nacelle::engine
