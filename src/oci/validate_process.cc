#include <algorithm>

#include "oci/validate.h"
#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

constexpr uint32_t sched_fifo = 1, sched_rr = 2, sched_iso = 4, sched_deadline = 6;

Result<> validate_user(const User& user) {
  constexpr std::string_view not_an_id = "4294967295 is no id";
  if (user.uid == id_invalid) return wrong("process.user.uid", not_an_id);
  if (user.gid == id_invalid) return wrong("process.user.gid", not_an_id);
  for (size_t i = 0; i < user.additional_gids.size(); ++i) {
    if (user.additional_gids[i] == id_invalid) {
      return wrong(element("process.user.additionalGids", i), not_an_id);
    }
  }
  if (user.umask && *user.umask > 0777) {
    return wrong("process.user.umask", cat(*user.umask, ": out of range 0..511"));
  }
  if (!user.username.empty()) return wrong("process.user.username", "is for Windows only");
  return {};
}

Result<> validate_rlimits(const std::vector<Rlimit>& rlimits) {
  uint32_t seen = 0;
  for (size_t i = 0; i < rlimits.size(); ++i) {
    const Rlimit& rlimit = rlimits[i];
    const uint32_t bit = 1u << rlimit.resource;
    if (seen & bit) return wrong(element("process.rlimits", i, ".type"), "given twice");
    seen |= bit;
    if (rlimit.soft > rlimit.hard) {
      return wrong(element("process.rlimits", i, ".soft"), "greater than hard");
    }
  }
  return {};
}

Result<> validate_scheduler(const Scheduler& scheduler) {
  const bool realtime = scheduler.policy == sched_fifo || scheduler.policy == sched_rr;
  if (scheduler.policy == sched_iso) {
    return wrong("process.scheduler.policy", "'SCHED_ISO': no kernel has it");
  }
  if (scheduler.nice < -20 || scheduler.nice > 19) {
    return wrong("process.scheduler.nice", cat(scheduler.nice, ": out of range -20..19"));
  }
  if (realtime && (scheduler.priority < 1 || scheduler.priority > 99)) {
    return wrong("process.scheduler.priority", cat(scheduler.priority, ": out of range 1..99"));
  }
  if (!realtime && scheduler.priority != 0) {
    return wrong("process.scheduler.priority", "is for SCHED_FIFO and SCHED_RR only");
  }
  if (scheduler.policy == sched_deadline) {
    if (scheduler.runtime_ns > scheduler.deadline_ns) {
      return wrong("process.scheduler.runtime", "greater than deadline");
    }
    // The kernel takes a period of 0 for the deadline.
    if (scheduler.period_ns != 0 && scheduler.deadline_ns > scheduler.period_ns) {
      return wrong("process.scheduler.deadline", "greater than period");
    }
    return {};
  }
  constexpr std::string_view only_deadline = "is for SCHED_DEADLINE only";
  if (scheduler.runtime_ns != 0) return wrong("process.scheduler.runtime", only_deadline);
  if (scheduler.deadline_ns != 0) return wrong("process.scheduler.deadline", only_deadline);
  if (scheduler.period_ns != 0) return wrong("process.scheduler.period", only_deadline);
  return {};
}

Result<> validate_affinity(const ExecCpuAffinity& affinity) {
  constexpr std::string_view complaint = "not a list of processors such as '0-3,7'";
  if (!affinity.initial.empty() && !is_number_list(affinity.initial)) {
    return wrong("process.execCPUAffinity.initial", complaint);
  }
  if (!affinity.final_.empty() && !is_number_list(affinity.final_)) {
    return wrong("process.execCPUAffinity.final", complaint);
  }
  return {};
}

}  // namespace

Result<> validate(const Process& process) {
  if (!process.cwd.starts_with('/')) return wrong("process.cwd", "must be absolute");
  if (process.args.empty()) return wrong("process.args", "must not be empty");
  if (process.args.front().empty()) return wrong("process.args[0]", "must not be empty");
  TRY(validate_environment(process.env, "process.env"));
  TRY(validate_user(process.user));
  TRY(validate_rlimits(process.rlimits));
  if (const auto score = process.oom_score_adj; score && (*score < -1000 || *score > 1000)) {
    return wrong("process.oomScoreAdj", cat(*score, ": out of range -1000..1000"));
  }
  if (process.scheduler) TRY(validate_scheduler(*process.scheduler));
  if (const auto& io = process.io_priority; io && (io->priority < 0 || io->priority > 7)) {
    return wrong("process.ioPriority.priority", cat(io->priority, ": out of range 0..7"));
  }
  if (process.exec_cpu_affinity) TRY(validate_affinity(*process.exec_cpu_affinity));
  return {};
}

}  // namespace nacelle::oci
