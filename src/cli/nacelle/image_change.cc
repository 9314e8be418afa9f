// tag, rm, prune, verify.
#include <unistd.h>

#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "image/gc.h"
#include "oci/reference.h"

namespace nacelle::cli {

namespace {

// Whether the person at the terminal says yes; anything else, the end of input too, is no.
bool confirmed(const char* warning) {
  std::fprintf(stderr, "%s\nAre you sure you want to continue? [y/N] ", warning);
  char answer[16] = {};
  if (std::fgets(answer, sizeof answer, stdin) == nullptr) return false;
  return answer[0] == 'y' || answer[0] == 'Y';
}

void explain(const image::Removed& removed) {
  if (removed.kept_all_because.empty()) return;
  std::fprintf(stderr, "nacelle: nothing was freed: %s\n", removed.kept_all_because.c_str());
}

}  // namespace

Result<oci::Reference> parse_new_name(std::string_view text) {
  oci::Reference name = TRY(oci::parse_reference(text));
  if (!name.digest.empty()) {
    return fail(Kind::Invalid,
                cat("'", text, "': refusing to create a tag with a digest reference"));
  }
  return name;
}

Result<int> run_tag(Session& session, const Arguments& arguments) {
  Options options("image tag IMAGE NAME[:TAG]", "Gives an image another name.");
  options.operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  oci::Reference as = TRY(parse_new_name(parsed.operands[1]));
  image::Images* images = TRY(session.images());
  TRY(session.loop().run(images->tag(parsed.operands[0], std::move(as))));
  return 0;
}

Result<int> run_image_remove(Session& session, const Arguments& arguments) {
  bool force = false;
  Options options("image rm [OPTIONS] IMAGE [IMAGE...]", "Removes images, or names of images.");
  options
      .flag("force", 'f', force, "Also an image that has several names; what is not there is fine")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  int code = 0;
  for (const std::string& name : parsed.operands) {
    const Result<image::Removed> removed = session.loop().run(images->remove(name, force));
    if (!removed) {
      std::fprintf(stderr, "nacelle: %s\n", removed.error().message().c_str());
      if (!force || removed.error().kind() != Kind::NotFound) code = 1;
      continue;
    }
    for (const std::string& each : removed->untagged) std::printf("Untagged: %s\n", each.c_str());
    for (const auto& each : removed->deleted) std::printf("Deleted: %s\n", each.text().c_str());
    explain(*removed);
  }
  return code;
}

Result<int> run_image_prune(Session& session, const Arguments& arguments) {
  bool all = false, force = false;
  Options options("image prune [OPTIONS]", "Removes images without a name.");
  options.flag("all", 'a', all, "Remove every image that nothing uses")
      .flag("force", 'f', force, "Do not ask")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const char* warning = all ? "WARNING! This will remove all images that nothing uses."
                            : "WARNING! This will remove all images without a name.";
  if (!force && !confirmed(warning)) return 0;
  image::Images* images = TRY(session.images());
  const image::Removed removed = TRY(session.loop().run(images->prune(all)));
  if (!removed.untagged.empty() || !removed.deleted.empty()) std::printf("Deleted Images:\n");
  for (const std::string& each : removed.untagged) std::printf("untagged: %s\n", each.c_str());
  for (const auto& each : removed.deleted) std::printf("deleted: %s\n", each.text().c_str());
  std::printf("%sTotal reclaimed space: %s\n", removed.deleted.empty() ? "" : "\n",
              human_size(removed.bytes).c_str());
  explain(removed);
  return 0;
}

Result<int> run_image_verify(Session& session, const Arguments& arguments) {
  bool repair = false;
  Options options("image verify [OPTIONS]",
                  "Checks every blob against its digest, and every unpacked layer.");
  options.flag("repair", 0, repair, "Remove what is damaged, so that a pull brings it again")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  const std::vector<image::Finding> findings =
      TRY(session.loop().run(image::verify(session.loop(), images->store(), repair)));
  bool all_repaired = true;
  for (const image::Finding& finding : findings) {
    std::printf("%s%s\n", finding.message.c_str(), finding.repaired ? " (removed)" : "");
    all_repaired = all_repaired && finding.repaired;
  }
  return findings.empty() || (repair && all_repaired) ? 0 : 1;
}

}  // namespace nacelle::cli
