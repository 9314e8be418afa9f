// Completions, out of the tables of verbs and options: nothing here knows a verb.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/engine_verbs.h"

namespace nacelle::cli {

namespace {

// The shells ask the program itself, with the words so far, of which the last may be unfinished.
constexpr const char* bash_script = R"(# bash completion for nacelle
_nacelle() {
  # By blanks alone: bash itself also splits at the colons and equal signs of names.
  local line=${COMP_LINE:0:COMP_POINT} breaks=${COMP_WORDBREAKS//[^:=]/} words word
  read -ra words <<<"$line"
  [[ $line == *[[:blank:]] ]] && words+=("")
  word=${words[${#words[@]} - 1]}
  local IFS=$'\n'
  COMPREPLY=($(nacelle __complete "${words[@]:1}" 2>/dev/null | cut -f1))
  # What bash takes for a word of its own already stands there.
  [[ -z $breaks ]] || COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[$breaks]}"}"}")
}
complete -o default -F _nacelle nacelle
)";

constexpr const char* zsh_script = R"(#compdef nacelle
_nacelle() {
  local -a found
  local line
  for line in "${(@f)$(nacelle __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [ -n "$line" ] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  if (( ${#found} )); then
    _describe nacelle found
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_nacelle" ]; then
  _nacelle
else
  compdef _nacelle nacelle
fi
)";

constexpr const char* fish_script = R"(# fish completion for nacelle
function __nacelle_complete
  set -l words (commandline -opc) (commandline -ct)
  nacelle __complete $words[2..-1] 2>/dev/null
end
# Files where there is nothing to say.
complete -c nacelle -f -n '__nacelle_complete | string length -q' -a '(__nacelle_complete)'
)";

void offer(std::string_view word, std::string_view what, std::string_view begun) {
  if (!word.starts_with(begun)) return;
  std::printf("%.*s\t%.*s\n", static_cast<int>(word.size()), word.data(),
              static_cast<int>(what.size()), what.data());
}

// The verb that the words name, and where its own words begin.
const Verb* find_verb(const Arguments& words, size_t& next, const Group*& group) {
  const AllVerbs& all = all_verbs();
  next = 0;
  while (next < words.size() && words[next].starts_with('-')) {
    const bool has_value =
        words[next] == "-H" || words[next] == "--host" || words[next] == "--data-root";
    next += has_value ? 2 : 1;
  }
  if (next + 1 >= words.size()) return nullptr;
  for (const Group* each = all.groups_begin; each != all.groups_end; ++each) {
    if (each->name != words[next]) continue;
    group = each;
    if (++next + 1 >= words.size()) return nullptr;
    for (const Verb* verb = each->begin; verb != each->end; ++verb) {
      if (verb->name == words[next]) return ++next, verb;
      // One of two words.
      if (next + 2 < words.size() && verb->name == cat(words[next], ' ', words[next + 1])) {
        next += 2;
        return verb;
      }
    }
    return nullptr;
  }
  for (const Verb* verb = all.begin; verb != all.end; ++verb) {
    if (verb->name == words[next]) return ++next, verb;
  }
  return nullptr;
}

Result<Description> describe(Session& session, const Verb& verb) {
  Description description;
  session.describe_into = &description;
  const Result<int> described = verb.run(session, {});
  session.describe_into = nullptr;
  if (!described) return std::unexpected(described.error());
  return description;
}

// Names that the usage says can stand here: the engine's, if one runs.
void offer_names(Session& session, const Description& description, std::string_view begun) {
  if (!session.engine_answers()) return;
  const Result<Api*> api = session.api();
  if (!api) return;
  const auto list = [&](const Target& target, const char* inside, const char* key) {
    const Result<Datum> answer = (*api)->get(target);
    if (!answer) return;
    const Datum& things = *inside == 0 ? *answer : (*answer)[inside];
    for (const Datum& each : things.items()) {
      const Datum& names = each[key];
      for (const Datum& name : names.items()) {
        std::string_view text = name.text();
        if (text.starts_with('/')) text.remove_prefix(1);
        offer(text, "", begun);
      }
      if (names.items().empty()) offer(names.text(), "", begun);
    }
  };
  const std::string_view usage = description.usage;
  if (usage.contains("CONTAINER")) {
    Target target("/containers/json");
    list(target.flag("all", true), "", "Names");
  }
  if (usage.contains("IMAGE") || usage.contains("NAME[:TAG")) {
    list(Target("/images/json"), "", "RepoTags");
  }
  if (usage.contains("VOLUME")) list(Target("/volumes"), "Volumes", "Name");
  if (usage.contains("NETWORK")) list(Target("/networks"), "", "Name");
}

}  // namespace

Result<int> run_completion(Session& session, const Arguments& arguments) {
  Options options("completion bash|zsh|fish", "Prints a shell's completions, to be sourced.");
  options.operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const std::string& shell = parsed.operands[0];
  const char* script = shell == "bash"   ? bash_script
                       : shell == "zsh"  ? zsh_script
                       : shell == "fish" ? fish_script
                                         : nullptr;
  if (script == nullptr) return fail(Kind::Invalid, cat("no completions for '", shell, "'"));
  std::fputs(script, stdout);
  return 0;
}

Result<int> run_complete(Session& session, const Arguments& words) {
  if (session.describe_into != nullptr || words.empty()) return 0;
  const std::string& begun = words.back();
  size_t next = 0;
  const Group* group = nullptr;
  const Verb* verb = find_verb(words, next, group);
  if (verb == nullptr) {
    if (next + 1 != words.size()) return 0;
    const AllVerbs& all = all_verbs();
    const Verb* begin = group != nullptr ? group->begin : all.begin;
    const Verb* end = group != nullptr ? group->end : all.end;
    for (const Verb* each = begin; each != end; ++each) {
      if (!each->summary.empty()) offer(each->name, each->summary, begun);
    }
    if (group == nullptr) {
      for (const Group* each = all.groups_begin; each != all.groups_end; ++each) {
        offer(each->name, each->summary, begun);
      }
    }
    return 0;
  }
  const Description description = TRY(describe(session, *verb));
  if (!begun.starts_with('-')) {
    offer_names(session, description, begun);
    return 0;
  }
  for (const Description::Item& option : description.options) {
    offer(cat("--", option.name), option.help, begun);
  }
  offer("--help", "Print help", begun);
  return 0;
}

}  // namespace nacelle::cli
