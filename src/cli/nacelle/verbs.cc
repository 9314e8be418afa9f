// The tables of all verbs, and how a command line finds its own.
#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/session.h"

namespace nacelle::cli {

namespace {

constexpr Verb verbs[] = {
    {"run", run_run, "Make a container of an image and run it"},
    {"exec", run_exec, "Run a command in a running container"},
    {"ps", run_ps, "List containers"},
    {"logs", run_logs, "Show what a container has written"},
    {"pull", run_any_pull, "Download an image from a registry"},
    {"push", run_any_push, "Upload an image to a registry"},
    {"images", run_any_images, "List images"},
    {"build", run_build, "Build an image from a Dockerfile"},
    {"attach", run_attach, "Attach to a running container"},
    {"commit", run_commit, "Make an image of a container"},
    {"cp", run_cp, "Copy files between a container and here"},
    {"create", run_create, "Make a container"},
    {"diff", run_diff, "Show which files of a container have changed"},
    {"events", run_events, "Show what happens, as it happens"},
    {"export", run_export, "Write a container's files to a tar archive"},
    {"history", run_any_history, "Show what an image was made by"},
    {"import", run_any_import, "Make an image of a root file system in a tar archive"},
    {"info", run_info, "Show what the engine is and has"},
    {"inspect", run_inspect, "Show all that is known of something"},
    {"kill", run_kill, "Kill running containers"},
    {"load", run_any_load, "Load images from a tar archive"},
    {"login", run_login, "Sign in to a registry"},
    {"logout", run_logout, "Forget the credentials for a registry"},
    {"pause", run_pause, "Stop all processes of containers where they are"},
    {"port", run_port, "Show which ports are published where"},
    {"rename", run_rename, "Give a container another name"},
    {"restart", run_restart, "Restart containers"},
    {"rm", run_remove, "Remove containers"},
    {"rmi", run_any_image_remove, "Remove images"},
    {"save", run_any_save, "Save images to a tar archive"},
    {"search", run_search, "Search a registry for images"},
    {"start", run_start, "Start containers that have ended"},
    {"stats", run_stats, "Show what containers use, live"},
    {"stop", run_stop, "Stop running containers"},
    {"tag", run_any_tag, "Give an image another name"},
    {"top", run_top, "Show the processes of a container"},
    {"unpause", run_unpause, "Let the processes of paused containers go on"},
    {"update", run_update, "Change the limits of containers"},
    {"version", run_version, "Show versions"},
    {"wait", run_wait, "Wait until containers have ended, and print their exit codes"},
    {"check", run_check, "Show which of the kernel's features are there"},
    {"completion", run_completion, "Print a shell's completions (bash, zsh or fish)"},
    {"__complete", run_complete, ""},
};

constexpr Verb container_verbs[] = {
    {"attach", run_attach, "Attach to a running container"},
    {"commit", run_commit, "Make an image of a container"},
    {"cp", run_cp, "Copy files between a container and here"},
    {"create", run_create, "Make a container"},
    {"diff", run_diff, "Show which files of a container have changed"},
    {"exec", run_exec, "Run a command in a running container"},
    {"export", run_export, "Write a container's files to a tar archive"},
    {"inspect", run_container_inspect, "Show all that is known of containers"},
    {"kill", run_kill, "Kill running containers"},
    {"logs", run_logs, "Show what a container has written"},
    {"ls", run_ps, "List containers"},
    {"list", run_ps, ""},
    {"ps", run_ps, ""},
    {"pause", run_pause, "Stop all processes of containers where they are"},
    {"port", run_port, "Show which ports are published where"},
    {"prune", run_container_prune, "Remove all stopped containers"},
    {"rename", run_rename, "Give a container another name"},
    {"restart", run_restart, "Restart containers"},
    {"rm", run_remove, "Remove containers"},
    {"remove", run_remove, ""},
    {"run", run_run, "Make a container of an image and run it"},
    {"start", run_start, "Start containers that have ended"},
    {"stats", run_stats, "Show what containers use, live"},
    {"stop", run_stop, "Stop running containers"},
    {"top", run_top, "Show the processes of a container"},
    {"unpause", run_unpause, "Let the processes of paused containers go on"},
    {"update", run_update, "Change the limits of containers"},
    {"wait", run_wait, "Wait until containers have ended, and print their exit codes"},
};

constexpr Verb image_verbs[] = {
    {"build", run_build, ""},
    {"commit", run_image_commit, "Make an image of what was written to a mounted one"},
    {"export", run_image_export, "Write an image's root file system to a tar archive"},
    {"history", run_image_history, "Show what an image was made by"},
    {"import", run_image_import, "Make an image of a root file system in a tar archive"},
    {"inspect", run_image_inspect_any, "Show all that is known of images, as JSON"},
    {"load", run_image_load, "Load images from a tar archive"},
    {"ls", run_image_images, "List images"},
    {"list", run_image_images, ""},
    {"mount", run_image_mount, "Mount an image's root file system"},
    {"prune", run_image_prune_any, "Remove images nobody uses"},
    {"pull", run_image_pull, "Download an image from a registry"},
    {"push", run_image_push, "Upload an image to a registry"},
    {"rm", run_image_remove_any, "Remove images"},
    {"remove", run_image_remove_any, ""},
    {"save", run_image_save, "Save images to a tar archive"},
    {"tag", run_image_tag, "Give an image another name"},
    {"umount", run_image_unmount, "Undo `image mount`"},
    {"unmount", run_image_unmount, ""},
    {"verify", run_image_verify, "Check that the store holds what it says"},
};

constexpr Verb volume_verbs[] = {
    {"create", run_volume_create, "Make a volume"},
    {"inspect", run_volume_inspect, "Show all that is known of volumes"},
    {"ls", run_volume_list, "List volumes"},
    {"list", run_volume_list, ""},
    {"prune", run_volume_prune, "Remove volumes that no container uses"},
    {"rm", run_volume_remove, "Remove volumes"},
    {"remove", run_volume_remove, ""},
};

constexpr Verb network_verbs[] = {
    {"connect", run_network_connect, "Connect a container to a network"},
    {"create", run_network_create, "Make a network"},
    {"disconnect", run_network_disconnect, "Disconnect a container from a network"},
    {"inspect", run_network_inspect, "Show all that is known of networks"},
    {"ls", run_network_list, "List networks"},
    {"list", run_network_list, ""},
    {"policy ls", run_policy_list, "List policies"},
    {"policy rm", run_policy_remove, "Remove a policy"},
    {"policy set", run_policy_set, "Say who may talk to whom"},
    {"policy show", run_policy_show, "Show a policy"},
    {"policy stats", run_policy_stats, "Show what the rules of a policy have decided"},
    {"prune", run_network_prune, "Remove networks that no container uses"},
    {"rm", run_network_remove, "Remove networks"},
    {"remove", run_network_remove, ""},
    {"trace", run_network_trace, "Show what policies decide, as it happens"},
};

constexpr Verb system_verbs[] = {
    {"df", run_disk_use, "Show what takes how much of the disk"},
    {"events", run_events, "Show what happens, as it happens"},
    {"info", run_info, "Show what the engine is and has"},
    {"prune", run_system_prune, "Remove what nobody uses"},
};

constexpr Group groups[] = {
    {"container", "Manage containers", std::begin(container_verbs), std::end(container_verbs)},
    {"image", "Manage images", std::begin(image_verbs), std::end(image_verbs)},
    {"network", "Manage networks", std::begin(network_verbs), std::end(network_verbs)},
    {"system", "Manage the engine", std::begin(system_verbs), std::end(system_verbs)},
    {"volume", "Manage volumes", std::begin(volume_verbs), std::end(volume_verbs)},
};

std::string listed(const Verb* begin, const Verb* end) {
  size_t width = 0;
  for (const Verb* verb = begin; verb != end; ++verb) width = std::max(width, verb->name.size());
  std::string text;
  for (const Verb* verb = begin; verb != end; ++verb) {
    // Other spellings of a verb are not listed.
    if (verb->summary.empty()) continue;
    text +=
        cat("  ", verb->name, std::string(width + 2 - verb->name.size(), ' '), verb->summary, '\n');
  }
  return text;
}

Result<int> run_group(const Group& group, Session& session, const Arguments& words) {
  if (words.size() < 2 || words[1] == "--help" || words[1] == "-h" || words[1] == "help") {
    const std::string text = cat("usage: nacelle ", group.name, " VERB ...\n\n", group.summary,
                                 ".\n\nverbs:\n", listed(group.begin, group.end));
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  // A verb may be two words: "policy set".
  const std::string two = words.size() > 2 ? cat(words[1], ' ', words[2]) : std::string();
  for (const Verb* verb = group.begin; verb != group.end; ++verb) {
    if (verb->name != words[1] && verb->name != two) continue;
    return verb->run(session, Arguments(words.begin() + (verb->name == two ? 3 : 2), words.end()));
  }
  std::fprintf(stderr, "nacelle: unknown verb '%s %s'; see nacelle %s --help\n", words[0].c_str(),
               words[1].c_str(), words[0].c_str());
  return exit_usage;
}

}  // namespace

const AllVerbs& all_verbs() {
  static constexpr AllVerbs all{std::begin(verbs), std::end(verbs), std::begin(groups),
                                std::end(groups)};
  return all;
}

std::string verbs_help() {
  std::string text = cat("verbs:\n", listed(std::begin(verbs), std::end(verbs)), "\ngroups:\n");
  for (const Group& group : groups) {
    text += cat("  ", group.name, std::string(12 - group.name.size(), ' '), group.summary, '\n');
  }
  return text;
}

Result<int> run_words(Session& session, const Arguments& words) {
  for (const Verb& verb : verbs) {
    if (verb.name == words[0]) {
      return verb.run(session, Arguments(words.begin() + 1, words.end()));
    }
  }
  for (const Group& group : groups) {
    if (group.name == words[0]) return run_group(group, session, words);
  }
  std::fprintf(stderr, "nacelle: unknown verb '%s'; see nacelle --help\n", words[0].c_str());
  return exit_usage;
}

}  // namespace nacelle::cli
