#include "cli/nacelle/transfer.h"

#include <unistd.h>

#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/terminal.h"
#include "codec/base64.h"
#include "image/registry_config.h"

namespace nacelle::cli {

void show_status(ProgressDisplay& display, const Datum& line) {
  const std::string& status = line["status"].text();
  if (status.empty()) return;
  const std::string& id = line["id"].text();
  const Datum& progress = line["progressDetail"];
  // A line about one layer changes in place; "Pulling from x" has the tag for an id.
  if (id.empty()) {
    display.say(status);
  } else if (progress.is_null() || status.starts_with("Pulling from")) {
    display.say(cat(id, ": ", status));
  } else {
    display.line({.id = id,
                  .status = status,
                  .done = static_cast<uint64_t>(progress["current"].integer()),
                  .total = static_cast<uint64_t>(progress["total"].integer())});
  }
}

Result<TransferOutcome> show_transfer(Api& api, const Api::Request& request, Shown where) {
  TransferOutcome outcome;
  using Style = ProgressDisplay::Style;
  const int fd = where == Shown::Errors ? STDERR_FILENO : STDOUT_FILENO;
  const Style style = where == Shown::Nowhere ? Style::Quiet
                      : is_terminal(fd)       ? Style::Bars
                                              : Style::Lines;
  ProgressDisplay display(style, where == Shown::Errors ? stderr : stdout);
  TRY(api.each_line(request, [&](const Datum& line) -> Result<bool> {
    const Datum& detail = line["errorDetail"];
    if (!detail.is_null() || !line["error"].text().empty()) {
      const std::string& message = detail["message"].text();
      return fail(Kind::Internal, message.empty() ? line["error"].text() : message);
    }
    if (const std::string& id = line["aux"]["ID"].text(); !id.empty()) outcome.id = id;
    if (const std::string& text = line["stream"].text(); !text.empty()) {
      std::string_view said = text;
      while (said.ends_with('\n')) said.remove_suffix(1);
      if (!said.empty()) display.say(said);
      return true;
    }
    show_status(display, line);
    return true;
  }));
  display.finish();
  return outcome;
}

std::string registry_auth(const oci::Reference& name, bool push) {
  const auto use = push ? image::RegistryUse::Push : image::RegistryUse::Pull;
  const auto found = image::registry_open_request(name, use, {});
  Datum auth = Datum::object();
  if (found && !found->endpoints.empty()) {
    const auto& endpoint = found->endpoints.back();
    if (!endpoint.username.empty()) {
      auth.set("username", endpoint.username).set("password", endpoint.password);
    }
    if (!endpoint.identity_token.empty()) auth.set("identitytoken", endpoint.identity_token);
    if (!auth.members().empty()) auth.set("serveraddress", name.registry);
  }
  // The alphabet of URLs.
  std::string text = codec::to_base64(auth.json());
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

Result<> pull_by_engine(Api& api, std::string_view name, std::string_view platform, Shown where) {
  const oci::Reference reference = TRY(oci::parse_reference(name));
  Target target("/images/create");
  target.with("fromImage", reference.familiar_name());
  target.with("tag", reference.digest.empty() ? reference.tag : reference.digest);
  target.maybe("platform", platform);
  TRY(show_transfer(api,
                    {.method = "POST",
                     .target = target,
                     .headers = {{"X-Registry-Auth", registry_auth(reference, false)}}},
                    where));
  return {};
}

}  // namespace nacelle::cli
