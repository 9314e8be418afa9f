// pull, push.
#include <cstdio>
#include <optional>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace nacelle::cli {

Result<int> run_pull(Session& session, const Arguments& arguments) {
  bool quiet = false;
  std::string platform;
  Options options("image pull [OPTIONS] NAME[:TAG|@DIGEST]", "Downloads an image from a registry.");
  options.flag("quiet", 'q', quiet, "Print the image's name only")
      .value("platform", 0, platform, "OS/ARCH", "Pull what runs there, not here")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;

  const oci::Reference name = TRY(oci::parse_reference(parsed.operands[0]));
  const oci::Platform wanted =
      platform.empty() ? oci::host_platform() : TRY(oci::parse_platform(platform));
  image::Images* images = TRY(session.images());
  ProgressDisplay display(quiet ? ProgressDisplay::Style::Quiet
                                : ProgressDisplay::style_for_output());
  // The tag was added by us unless it was typed.
  if (name.tag == "latest" && !parsed.operands[0].ends_with(":latest")) {
    display.say("Using default tag: latest");
  }
  display.say(cat(name.tag.empty() ? name.digest : name.tag, ": Pulling from ", name.repository));
  const image::PullOutcome outcome = TRY(session.loop().run(images->pull(name, wanted, display)));
  display.say(cat("Digest: ", outcome.digest.text()));
  display.say(cat(outcome.was_there ? "Status: Image is up to date for "
                                    : "Status: Downloaded newer image for ",
                  name.familiar()));
  display.finish();
  std::printf("%s\n", name.text().c_str());
  return 0;
}

Result<int> run_push(Session& session, const Arguments& arguments) {
  bool quiet = false;
  Options options("image push [OPTIONS] NAME[:TAG]", "Uploads an image to a registry.");
  options.flag("quiet", 'q', quiet, "Print the image's name only").operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;

  const oci::Reference name = TRY(oci::parse_reference(parsed.operands[0]));
  if (!name.digest.empty()) {
    return fail(Kind::Invalid, cat("cannot push '", parsed.operands[0], "': a digest is no name"));
  }
  image::Images* images = TRY(session.images());
  ProgressDisplay display(quiet ? ProgressDisplay::Style::Quiet
                                : ProgressDisplay::style_for_output());
  display.say(cat("The push refers to repository [", name.name(), "]"));
  const oci::Descriptor pushed = TRY(session.loop().run(images->push(name, display)));
  display.say(cat(name.tag, ": digest: ", pushed.digest.text(), " size: ", pushed.size));
  if (quiet) std::printf("%s\n", name.text().c_str());
  return 0;
}

}  // namespace nacelle::cli
