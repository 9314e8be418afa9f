// save, load, import, export of the store itself.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/output_file.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace nacelle::cli {

Result<int> run_save(Session& session, const Arguments& arguments) {
  std::string path;
  Options options("image save [OPTIONS] IMAGE [IMAGE...]", "Saves images to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  OutputFile output = TRY(OutputFile::open(path));
  TRY(session.loop().run(images->save(parsed.operands, output.file())));
  TRY(output.finish());
  return 0;
}

Result<int> run_load(Session& session, const Arguments& arguments) {
  std::string path;
  bool quiet = false;
  Options options("image load [OPTIONS]", "Loads images from a tar archive, compressed or not.");
  options.value("input", 'i', path, "FILE", "Read a file, not standard input")
      .flag("quiet", 'q', quiet, "Show no progress")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const Fd input = TRY(open_input(path));
  image::Images* images = TRY(session.images());
  // What was loaded is said in any case; how it went on is for terminals.
  const bool bars = !quiet && ProgressDisplay::style_for_output() == ProgressDisplay::Style::Bars;
  ProgressDisplay display(bars ? ProgressDisplay::Style::Bars : ProgressDisplay::Style::Says);
  TRY(session.loop().run(images->load(input, display)));
  return 0;
}

Result<int> run_import(Session& session, const Arguments& arguments) {
  image::ImportOptions import;
  std::string platform;
  Options options("image import [OPTIONS] FILE|- [NAME[:TAG]]",
                  "Makes an image of a root file system in a tar archive.");
  options.list("change", 'c', import.changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .value("message", 'm', import.message, "TEXT", "Say where it comes from")
      .value("platform", 0, platform, "OS/ARCH", "What the files are for")
      .operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.operands.size() == 2) import.name = TRY(parse_new_name(parsed.operands[1]));
  if (!platform.empty()) import.platform = TRY(oci::parse_platform(platform));
  const Fd input = TRY(open_input(parsed.operands[0]));
  image::Images* images = TRY(session.images());
  const image::Image image = TRY(session.loop().run(images->import(input, std::move(import))));
  const image::Details details = TRY(session.loop().run(images->inspect(image.manifest.digest)));
  std::printf("%s\n", details.id().text().c_str());
  return 0;
}

Result<int> run_image_export(Session& session, const Arguments& arguments) {
  std::string path;
  Options options("image export [OPTIONS] IMAGE",
                  "Writes an image's root file system to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  OutputFile output = TRY(OutputFile::open(path));
  TRY(session.loop().run(images->export_tree(parsed.operands[0], output.file())));
  TRY(output.finish());
  return 0;
}

}  // namespace nacelle::cli
