// Variables in words, as the Dockerfile reference describes them. Method: a table of words and what
// becomes of them; failures are the other table.
#include "build/expand.h"

#include "tests/unit/build/parse.h"

namespace nacelle::build {
namespace {

using Words = std::vector<std::string>;

const Environment environment = {
    {"A", "alpha"},   {"EMPTY", ""},  {"PATH_", "/usr/local/lib:/usr/lib"},
    {"_x1", "under"}, {"F", "a.b.c"}, {"SP", " one  two "},
    {"U", "äöü"},     {"Q", "it's"},  {"1", "first"},
    {"STAR", "a*b"},
};

std::string expanded(std::string_view word, const ExpandOptions& options = {}) {
  const auto text = expand(word, environment, options);
  return text ? *text : cat("error: ", text.error().message());
}

TEST(Expand, replaces) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"$A", "alpha"},
      {"${A}", "alpha"},
      {"x${A}y$A.z", "xalphayalpha.z"},
      {"$Ab", ""},
      {"${A}b", "alphab"},
      {"$_x1-", "under-"},
      {"$NONE", ""},
      {"a$", "a$"},
      {"a$ b", "a$ b"},
      {"$.", "$."},
      {"$1x", "firstx"},
      {"$@", ""},
      {"${A:-w}", "alpha"},
      {"${NONE:-w}", "w"},
      {"${EMPTY:-w}", "w"},
      {"${EMPTY-w}", ""},
      {"${NONE-w}", "w"},
      {"${NONE:-}", ""},
      {"${A:+w}", "w"},
      {"${NONE:+w}", ""},
      {"${EMPTY:+w}", ""},
      {"${EMPTY+w}", "w"},
      {"${NONE+w}", ""},
      {"${A:?no}", "alpha"},
      {"${EMPTY?no}", ""},
      {"${NONE:-${A}}", "alpha"},
      {"${NONE:-${NONE2:-$A x}}", "alpha x"},
      {"${NONE:-a b}", "a b"},
      {"${NONE:-'}'}", "}"},
      {"${NONE:-\\}}", "}"},
      {"${NONE:-a:b-c}", "a:b-c"},
      {"\\$A", "$A"},
      {"\\\\$A", "\\alpha"},
      {"\\a", "a"},
      {"a\\", "a"},
      {"'$A'", "$A"},
      {"'a\\'b", "a\\b"},
      {"\"$A\"", "alpha"},
      {"\"a'b\"", "a'b"},
      {"'a\"b'", "a\"b"},
      {"\"\\$A \\\" \\\\ \\a\"", "$A \" \\ \\a"},
      {"\"${NONE:-\"q\"}\"", "q"},
      {"a'b'\"c\"d", "abcd"},
      {"$U", "äöü"},
      {"ä$Aö", "äalphaö"},
  };
  for (const auto& [word, text] : cases) EXPECT_EQ(expanded(word), text) << word;
}

TEST(Expand, trims_and_replaces_by_pattern) {
  const std::pair<const char*, const char*> cases[] = {
      {"${F#*.}", "b.c"},
      {"${F##*.}", "c"},
      {"${F%.*}", "a.b"},
      {"${F%%.*}", "a"},
      {"${F#x}", "a.b.c"},
      {"${F%c}", "a.b."},
      {"${F#?}", ".b.c"},
      {"${F#\\?}", "a.b.c"},
      {"${F##*}", ""},
      {"${F#*}", "a.b.c"},
      {"${F%*}", "a.b.c"},
      {"${U#?}", "öü"},
      {"${U%?}", "äö"},
      {"${PATH_##*/}", "lib"},
      {"${PATH_%%:*}", "/usr/local/lib"},
      {"${STAR#a\\*}", "b"},
      {"${NONE#a}", ""},
      {"${A#$A}", ""},
      {"${F/./-}", "a-b.c"},
      {"${F//./-}", "a-b-c"},
      {"${F/.*/}", "a"},
      {"${F//?/x}", "xxxxx"},
      {"${F/z/y}", "a.b.c"},
      {"${PATH_//\\/usr/X}", "X/local/lib:X/lib"},
      {"${F//./$A}", "aalphabalphac"},
      {"${F//b*/}", "a."},
      {"${U//ö/o}", "äoü"},
      {"${NONE/a/b}", ""},
      {"${A//a/}", "lph"},
  };
  for (const auto& [word, text] : cases) EXPECT_EQ(expanded(word), text) << word;
}

TEST(Expand, complains) {
  const std::pair<const char*, const char*> cases[] = {
      {"${", "syntax error: missing '}'"},
      {"${A", "syntax error: missing '}'"},
      {"${}", "syntax error: bad substitution"},
      {"${{A}}", "syntax error: bad substitution"},
      {"${:-a}", "syntax error: bad substitution"},
      {"${A:", "syntax error: missing '}'"},
      {"${A:-b", "syntax error: missing '}' in ${}"},
      {"${A:}", "unsupported modifier (':}') in substitution"},
      {"${A!b}", "unsupported modifier ('!') in substitution"},
      {"${A:#b}", "unsupported modifier (':#') in substitution"},
      {"${A^^}", "unsupported modifier ('^') in substitution"},
      {"${A/b}", "syntax error: missing '/' in ${}"},
      {"${A/b/c", "syntax error: missing '}' in ${}"},
      {"${NONE:?}", "NONE: is not allowed to be unset"},
      {"${EMPTY:?}", "EMPTY: is not allowed to be empty"},
      {"${NONE?give one}", "NONE: give one"},
      {"${EMPTY:?give one}", "EMPTY: give one"},
      {"'a", "unexpected end of statement while looking for matching single-quote"},
      {"\"a", "unexpected end of statement while looking for matching double-quote"},
      {"\"a\\\"", "unexpected end of statement while looking for matching double-quote"},
      {"${A#\\a}", "invalid escape in the pattern '\\\\a'"},
  };
  for (const auto& [word, complaint] : cases) {
    const auto text = expand(word, environment);
    ASSERT_FALSE(text) << word;
    EXPECT_EQ(text.error().kind(), Kind::Invalid);
    EXPECT_TRUE(text.error().message().ends_with(complaint)) << text.error().message();
    EXPECT_TRUE(text.error().message().starts_with("failed to process '"));
  }
}

TEST(Expand, has_options) {
  EXPECT_EQ(expanded("`$A\\$A", {.escape = '`'}), "$A\\alpha");
  EXPECT_EQ(expanded("'a' \"$A\"", {.keep_quotes = true}), "'a' \"alpha\"");
  EXPECT_EQ(expanded("\\$A", {.keep_escapes = true}), "\\$A");
  EXPECT_EQ(expanded("it's \"$A\"", {.ignore_quotes = true}), "it's \"alpha\"");
  EXPECT_EQ(expanded("$NONE ${NONE} ${NONE:-x} ${NONE/a/b} $A", {.keep_unset = true}),
            "$NONE ${NONE} ${NONE:-x} ${NONE/a/b} alpha");
}

TEST(Expand, cuts_words_where_nothing_protects_the_space) {
  const std::pair<const char*, Words> cases[] = {
      {"a b", {"a", "b"}},
      {"  ", {}},
      {"$SP", {"one", "two"}},
      {"\"$SP\"", {" one  two "}},
      {"a\\ b", {"a b"}},
      {"'a b'c d", {"a bc", "d"}},
      {"\"\"", {}},
      {"x$SP.", {"x", "one", "two", "."}},
  };
  for (const auto& [word, words] : cases)
    EXPECT_EQ(expand_all(word, environment)->words, words) << word;
}

TEST(Expand, tells_which_names_it_met) {
  const auto result = expand_all("$A ${NONE:-$F} '$Q'", environment);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->used, (std::set<std::string>{"A", "F"}));
  EXPECT_EQ(result->unset, (std::set<std::string>{"NONE"}));
}

TEST(Expand, is_bounded) {
  std::string deep;
  for (size_t i = 0; i < expand_depth_max; ++i) deep += "${NONE:-";
  EXPECT_EQ(expand(deep + "${NONE:-", environment).error().kind(), Kind::Exhausted);

  Environment big = {{"B", std::string(1 << 20, 'a')}};
  EXPECT_EQ(expand("$B$B$B$B$B", big).error().kind(), Kind::Exhausted);
  EXPECT_EQ(expand("${B//a/" + std::string(100, 'x') + "}", big).error().kind(), Kind::Exhausted);
  big["B"].resize(1 << 16);
  // A pattern that a backtracking matcher would never come to an end with.
  const auto slow = expand("${B#*a*a*a*a*a*a*a*a*b}", big);
  EXPECT_TRUE(slow && *slow == big["B"]);
  EXPECT_EQ(expand("${B//*ab/}", big).error().kind(), Kind::Exhausted);
}

Instruction one(std::string_view text) {
  return parsed(cat("FROM a\n", text, "\n")).stages.at(0).instructions.at(0);
}

template <class What>
What after(std::string_view text) {
  Instruction instruction = one(text);
  const auto done = expand_variables(instruction, environment, '\\');
  EXPECT_TRUE(done) << (done ? "" : done.error().message());
  return std::get<What>(instruction.what);
}

TEST(ExpandVariables, changes_what_docker_changes) {
  EXPECT_EQ(after<Env>("ENV A=x B=$A C=\"a b\" $A=1").variables,
            (std::vector<KeyValue>{{"A", "x"}, {"B", "alpha"}, {"C", "a b"}, {"alpha", "1"}}));
  EXPECT_EQ(after<Env>("ENV B say \"$A\"").variables[0].value, "say alpha");
  EXPECT_EQ(after<Label>("LABEL a.$A='$A'").labels[0], (KeyValue{"a.alpha", "$A"}));
  EXPECT_EQ(after<Copy>("COPY --chown=$A --chmod=$F --exclude=*.$A $A/x /$A/").chown, "alpha");
  EXPECT_EQ(after<Copy>("COPY $A/x /$A/").sources, Words{"alpha/x"});
  EXPECT_EQ(after<Copy>("COPY $A/x /$A/").destination, "/alpha/");
  EXPECT_EQ(after<Add>("ADD --checksum=$A a b").checksum, "alpha");
  EXPECT_EQ(after<User>("USER $A:${NONE:-staff}").user, "alpha:staff");
  EXPECT_EQ(after<Workdir>("WORKDIR /$A").path, "/alpha");
  EXPECT_EQ(after<Volume>("VOLUME /$A /b").paths, (Words{"/alpha", "/b"}));
  EXPECT_EQ(after<StopSignal>("STOPSIGNAL ${NONE:-9}").signal, "9");
  EXPECT_EQ(after<Arg>("ARG $A=$A").arguments[0], (Arg::Argument{"alpha", "$A"}));
}

TEST(ExpandVariables, leaves_commands_to_the_shell) {
  EXPECT_EQ(after<RunStep>("RUN echo $A").command.words, Words{"echo $A"});
  EXPECT_EQ(after<Cmd>("CMD [\"$A\"]").command.words, Words{"$A"});
  EXPECT_EQ(after<Entrypoint>("ENTRYPOINT $A").command.words, Words{"$A"});
  EXPECT_EQ(after<OnBuild>("ONBUILD RUN $A").trigger, "RUN $A");
}

TEST(ExpandVariables, completes_mounts) {
  const RunStep run = after<RunStep>(
      "RUN --mount=type=cache,target=/$A,uid=${NONE:-7} --mount=from=b,target='/x' a");
  EXPECT_EQ(run.mounts[0].target, "/alpha");
  EXPECT_EQ(run.mounts[0].uid, 7u);
  EXPECT_TRUE(run.mounts[0].complete);
  EXPECT_EQ(run.mounts[1].target, "/x");
}

TEST(ExpandVariables, goes_into_heredocs_without_quotes_around_their_name) {
  EXPECT_EQ(after<Copy>("COPY <<-X /x\n\t\"it's $A\" \\$A\nX").files[0].text(),
            "\"it's alpha\" $A\n");
  EXPECT_EQ(after<Copy>("COPY <<'X' /x\n\\$A $A\nX").files[0].text(), "\\$A $A\n");
}

TEST(ExpandVariables, makes_ports_of_words) {
  Instruction expose = one("EXPOSE $P 443/tcp ${P2:-8000-8010/udp}");
  ASSERT_TRUE(expand_variables(expose, {{"P", "80 81"}}, '\\'));
  EXPECT_EQ(std::get<Expose>(expose.what).ports, (Words{"80", "81", "443/tcp", "8000-8010/udp"}));
}

TEST(ExpandVariables, complains) {
  for (const char* text :
       {"EXPOSE x", "EXPOSE 70000", "EXPOSE 80/icmp", "EXPOSE 90-80", "EXPOSE 1-", "EXPOSE -1",
        "ENV A=${B:?}", "ENV $NONE=1", "LABEL \"\"=1", "ARG $NONE=1", "VOLUME $NONE", "COPY \"a b",
        "COPY 'a b' c", "USER ${A", "RUN --mount=type=$A,target=/x a",
        "RUN --mount=type=cache,sharing=$A a", "RUN --mount=type=cache,target=/x,uid=$A a"}) {
    Instruction instruction = one(text);
    EXPECT_FALSE(expand_variables(instruction, environment, '\\')) << text;
  }
}

}  // namespace
}  // namespace nacelle::build
