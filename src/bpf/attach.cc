#include "bpf/attach.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cerrno>
#include <string>
#include <vector>

#include "sys/netlink.h"

namespace nacelle::bpf {
namespace {

using sys::NetworkSide;

constexpr uint32_t filter_priority = 1, filter_handle = 1;

tcmsg at_interface(uint32_t index) {
  tcmsg fixed{};
  fixed.tcm_family = AF_UNSPEC;
  fixed.tcm_ifindex = static_cast<int>(index);
  return fixed;
}

Result<> ensure_clsact(sys::NetlinkSocket& socket, uint32_t index) {
  tcmsg fixed = at_interface(index);
  fixed.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  fixed.tcm_parent = TC_H_CLSACT;
  sys::NetlinkRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, fixed);
  request.put_name(TCA_KIND, "clsact");
  Result<> made = socket.change(std::move(request), "adding a clsact queueing discipline");
  if (!made && made.error().error_number() == EEXIST) return {};
  return made;
}

}  // namespace

Result<> ensure_attached_by_filter(uint32_t index, const Fd& program, NetworkSide side,
                                   std::string_view name) {
  sys::NetlinkSocket socket = TRY(sys::NetlinkSocket::open());
  TRY(ensure_clsact(socket, index));
  tcmsg fixed = at_interface(index);
  fixed.tcm_handle = filter_handle;
  fixed.tcm_parent =
      TC_H_MAKE(TC_H_CLSACT, side == NetworkSide::Ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  fixed.tcm_info = TC_H_MAKE(filter_priority << 16, htons(ETH_P_ALL));
  sys::NetlinkRequest request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.put_name(TCA_KIND, "bpf");
  const auto descriptor = static_cast<uint32_t>(program.get());
  std::string with_end(name);
  with_end += '\0';
  request.put(TCA_OPTIONS | NLA_F_NESTED,
              sys::netlink_attribute_number(TCA_BPF_FD, descriptor) +
                  sys::netlink_attribute(TCA_BPF_NAME, with_end) +
                  sys::netlink_attribute_number(TCA_BPF_FLAGS, uint32_t{TCA_BPF_FLAG_ACT_DIRECT}));
  return socket.change(std::move(request), "adding a BPF filter");
}

Result<> ensure_attached_by_tcx(uint32_t index, const Fd& program, NetworkSide side,
                                std::string_view name) {
  const auto present = sys::query_interface_programs(index, side);
  for (const uint32_t id : present.value_or(std::vector<uint32_t>())) {
    const Result<Fd> other = sys::open_program(id);
    if (!other || TRY(sys::read_program_name(*other)) != name) continue;
    Result<> replaced = sys::attach_to_interface(index, program, side, &*other);
    // It is this very program.
    if (!replaced && replaced.error().error_number() == EEXIST) return {};
    return replaced;
  }
  return sys::attach_to_interface(index, program, side);
}

Result<> ensure_attached(uint32_t index, const Fd& program, NetworkSide side,
                         std::string_view name) {
  Result<> attached = ensure_attached_by_filter(index, program, side, name);
  if (attached) return attached;
  const int reason = attached.error().error_number();
  // No such discipline, or no such filter.
  if (reason != ENOENT && reason != EOPNOTSUPP && reason != EINVAL) return attached;
  if (ensure_attached_by_tcx(index, program, side, name)) return {};
  return attached;
}

}  // namespace nacelle::bpf
