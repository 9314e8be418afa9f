// Any bytes as what the engine, a predecessor or a log worker could have sent: refused, or decoded
// and the same when encoded again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "codec/flat.h"
#include "container/cgroup_wire.h"
#include "core/messages.h"
#include "core/packet.h"
#include "core/record.h"
#include "logs/messages.h"

using namespace nacelle;

namespace {

template <class Message>
void try_one(std::string_view bytes) {
  const auto message = codec::flat::decode<Message>(bytes, "fuzz");
  if (message && codec::flat::encode(*message) != bytes) std::abort();
}

template <class... Message>
void try_all(std::string_view bytes) {
  (try_one<Message>(bytes), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  core::RawPacket raw;
  raw.bytes = bytes;
  uint64_t request = 0;
  const auto packet = core::parse_packet(std::move(raw), request);
  const std::string_view payload = packet ? std::string_view(packet->payload) : bytes;
  try_all<core::StartRequest, core::ExecRequest, core::SignalRequest, core::FreezeRequest,
          core::UpdateRequest, core::ResizeRequest, core::AttachRequest, core::ForgetRequest,
          core::PoolRequest, core::ListRequest, core::ParkedRequest, core::UpgradeRequest,
          core::CloseInputRequest, core::ConnectRequest, core::DisconnectRequest,
          core::NamesRequest, core::ShutdownRequest, core::ErrorReply, core::ListRequest::Reply,
          logs::Drained, logs::ClientLeft, logs::LogTrouble, logs::InputEnded>(payload);
  (void)core::decode_record(payload);
  if (const auto plan = container::decode_cgroup_plan(payload)) {
    if (container::encode_cgroup_plan(*plan) != payload) std::abort();
  }
  return 0;
}
