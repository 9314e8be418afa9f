// What every verb of `nacelle` is given: the options before the verb, the engine for those that ask
// it, and the image room opened for those that work on a store without one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/nacelle/api.h"
#include "cli/nacelle/options.h"
#include "image/images.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "oci/reference.h"

namespace nacelle::cli {

struct SessionOptions {
  image::ImagesOptions images;
  // Image verbs work on the store, whatever engine there is: --data-root was given.
  bool direct = false;
  std::string host;  // empty: the default, where an engine is started when none runs
};

inline constexpr const char* default_host = "unix:///run/nacelle/nacelle.sock";

class Session {
 public:
  explicit Session(SessionOptions options) : options_(std::move(options)) {}

  // Opens the loop and the store under the data root, once.
  Result<image::Images*> images();
  ring::Loop& loop() { return *loop_; }  // after images()

  // The engine. At the default place one is started where none answers.
  Result<Api*> api();
  bool direct() const { return options_.direct; }
  // Whether one answers now; none is started.
  bool engine_answers();

  // Where to: then verbs describe their options and do nothing.
  Description* describe_into = nullptr;

 private:
  SessionOptions options_;
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<image::Images> images_;
  std::unique_ptr<Api> api_;
};

using Arguments = std::vector<std::string>;

// A name that something is to have: one with a digest is refused, which nobody can promise.
Result<oci::Reference> parse_new_name(std::string_view text);

// A verb: the value is the exit code. A group has a table of verbs instead.
struct Verb {
  std::string_view name;
  Result<int> (*run)(Session&, const Arguments&);
  std::string_view summary;  // empty: another spelling, not listed
};
struct Group {
  std::string_view name, summary;
  const Verb* begin;
  const Verb* end;
};

// The tables of everything there is (verbs.cc).
struct AllVerbs {
  const Verb* begin;
  const Verb* end;
  const Group* groups_begin;
  const Group* groups_end;
};
const AllVerbs& all_verbs();
// Finds the verb and runs it: `words` begins with its name.
Result<int> run_words(Session& session, const Arguments& words);
// What `nacelle --help` lists.
std::string verbs_help();

// Starts `nacelled` beside our program and waits until `host` answers (start_engine.cc).
Result<> start_engine(const std::string& host);

// Verbs on the store itself.
Result<int> run_pull(Session& session, const Arguments& arguments);
Result<int> run_push(Session& session, const Arguments& arguments);
Result<int> run_image_list(Session& session, const Arguments& arguments);
Result<int> run_image_inspect(Session& session, const Arguments& arguments);
Result<int> run_history(Session& session, const Arguments& arguments);
Result<int> run_tag(Session& session, const Arguments& arguments);
Result<int> run_image_remove(Session& session, const Arguments& arguments);
Result<int> run_image_prune(Session& session, const Arguments& arguments);
Result<int> run_image_verify(Session& session, const Arguments& arguments);
Result<int> run_save(Session& session, const Arguments& arguments);
Result<int> run_load(Session& session, const Arguments& arguments);
Result<int> run_import(Session& session, const Arguments& arguments);
Result<int> run_image_export(Session& session, const Arguments& arguments);
Result<int> run_image_commit(Session& session, const Arguments& arguments);
Result<int> run_image_mount(Session& session, const Arguments& arguments);
Result<int> run_image_unmount(Session& session, const Arguments& arguments);

}  // namespace nacelle::cli
