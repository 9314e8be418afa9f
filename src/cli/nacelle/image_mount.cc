// mount, umount, and commit of what was written in between.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/session.h"
#include "image/mounts.h"
#include "oci/reference.h"

namespace nacelle::cli {

Result<int> run_image_mount(Session& session, const Arguments& arguments) {
  bool writable = false;
  Options options("image mount [OPTIONS] IMAGE DIRECTORY", "Mounts an image's root file system.");
  options
      .flag("writable", 'w', writable,
            "Writes go to a layer of their own, which `image commit` makes an image of")
      .operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  TRY(session.loop().run(
      image::mount_at(session.loop(), *images, parsed.operands[0], parsed.operands[1], writable)));
  return 0;
}

Result<int> run_image_unmount(Session& session, const Arguments& arguments) {
  Options options("image umount DIRECTORY", "Undoes `image mount`, with what was written.");
  options.operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  TRY(session.loop().run(image::unmount_at(session.loop(), images->store(), parsed.operands[0])));
  return 0;
}

Result<int> run_image_commit(Session& session, const Arguments& arguments) {
  image::CommitOptions commit;
  Options options("image commit [OPTIONS] DIRECTORY [NAME[:TAG]]",
                  "Makes an image of what was written to a mounted one.");
  options.value("author", 'a', commit.author, "TEXT", "Who made it")
      .list("change", 'c', commit.changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .value("message", 'm', commit.message, "TEXT", "Say what was done")
      .operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.operands.size() == 2) commit.name = TRY(parse_new_name(parsed.operands[1]));
  image::Images* images = TRY(session.images());
  const image::MountedImage mounted = TRY(image::find_mounted(images->store(), parsed.operands[0]));
  if (!mounted.upper) {
    return fail(Kind::Conflict,
                cat(parsed.operands[0], ": mounted read-only (image mount --writable)"));
  }
  commit.base = mounted.manifest;
  const image::Image image =
      TRY(session.loop().run(images->commit(mounted.upper, std::move(commit))));
  const image::Details details = TRY(session.loop().run(images->inspect(image.manifest.digest)));
  std::printf("%s\n", details.id().text().c_str());
  return 0;
}

}  // namespace nacelle::cli
