// What every verb of `nacelle` is given: the options before the verb, and the image room opened for
// whoever needs it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "image/images.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "oci/reference.h"

namespace nacelle::cli {

class Session {
 public:
  explicit Session(image::ImagesOptions options) : options_(std::move(options)) {}

  // Opens the loop and the store under the data root, once.
  Result<image::Images*> images();
  ring::Loop& loop() { return *loop_; }  // after images()

 private:
  image::ImagesOptions options_;
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<image::Images> images_;
};

using Arguments = std::vector<std::string>;

// A name that something is to have: one with a digest is refused, which nobody can promise.
Result<oci::Reference> parse_new_name(std::string_view text);

// A verb: the value is the exit code.
struct Verb {
  std::string_view name;
  Result<int> (*run)(Session&, const Arguments&);
  std::string_view summary;
};

Result<int> run_image(Session& session, const Arguments& arguments);  // the group

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
