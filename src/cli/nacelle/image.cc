// `nacelle image`: the table of its verbs.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/session.h"

namespace nacelle::cli {

namespace {

constexpr Verb verbs[] = {
    {"commit", run_image_commit, "Make an image of what was written to a mounted one"},
    {"export", run_image_export, "Write an image's root file system to a tar archive"},
    {"history", run_history, "Show what an image was made by"},
    {"import", run_import, "Make an image of a root file system in a tar archive"},
    {"inspect", run_image_inspect, "Show all that is known of images, as JSON"},
    {"load", run_load, "Load images from a tar archive"},
    {"ls", run_image_list, "List images"},
    {"list", run_image_list, ""},
    {"mount", run_image_mount, "Mount an image's root file system"},
    {"prune", run_image_prune, "Remove images nobody uses"},
    {"pull", run_pull, "Download an image from a registry"},
    {"push", run_push, "Upload an image to a registry"},
    {"rm", run_image_remove, "Remove images"},
    {"remove", run_image_remove, ""},
    {"save", run_save, "Save images to a tar archive"},
    {"tag", run_tag, "Give an image another name"},
    {"umount", run_image_unmount, "Undo `image mount`"},
    {"unmount", run_image_unmount, ""},
    {"verify", run_image_verify, "Check that the store holds what it says"},
};

}  // namespace

Result<int> run_image(Session& session, const Arguments& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    std::string text = "usage: nacelle image VERB ...\n\nManages images.\n\nverbs:\n";
    for (const Verb& verb : verbs) {
      // The other spellings of a verb are not listed.
      if (verb.summary.empty()) continue;
      text += cat("  ", verb.name, std::string(10 - verb.name.size(), ' '), verb.summary, '\n');
    }
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  for (const Verb& verb : verbs) {
    if (verb.name == arguments[0]) {
      return verb.run(session, Arguments(arguments.begin() + 1, arguments.end()));
    }
  }
  std::fprintf(stderr, "nacelle: unknown verb 'image %s'; see nacelle image --help\n",
               arguments[0].c_str());
  return exit_usage;
}

}  // namespace nacelle::cli
