#include "api/build_outputs.h"

#include <optional>
#include <string_view>
#include <utility>

#include "api/body_pipe.h"
#include "base/text.h"
#include "codec/json.h"
#include "oci/reference.h"

namespace nacelle::api {
namespace {

using codec::json::in_quotes;
using engine::BuiltImage;

// What is handed to the client, and how that is shown.
enum class Handed : uint8_t { Files, FilesArchive, DockerArchive, OciArchive };
struct HandedType {
  std::string_view type;
  Handed handed;
  const char* vertex;
};
constexpr HandedType handed_types[] = {
    {"local", Handed::Files, "exporting to client directory"},
    {"tar", Handed::FilesArchive, "exporting to client tarball"},
    {"docker", Handed::DockerArchive, "exporting to docker image format"},
    {"oci", Handed::OciArchive, "exporting to oci image format"},
};
const HandedType* find_type(std::string_view type) {
  for (const HandedType& each : handed_types) {
    if (each.type == type) return &each;
  }
  return nullptr;
}

std::string_view attribute(const BuildOutput& output, const char* name) {
  const auto found = output.attributes.find(name);
  return found == output.attributes.end() ? std::string_view() : found->second;
}
bool is_on(const BuildOutput& output, const char* name) {
  const std::string_view value = attribute(output, name);
  return output.attributes.contains(name) && value != "false" && value != "0";
}

// Of those that would change what is handed out; others are a client's own, or change nothing.
bool is_understood(std::string_view name, std::string_view value) {
  if (name == "compression") return value == "gzip";
  if (name == "tar") return value != "false" && value != "0";
  if (name == "platform-split") return value == "false" || value == "0";
  if (name == "mode") return value == "copy";
  return name != "source-date-epoch" && !name.starts_with("annotation");
}

ring::Task<std::vector<oci::Reference>> names_of(const BuildOutput* output) {
  std::vector<oci::Reference> names;
  std::string_view rest = attribute(*output, "name");
  while (!rest.empty()) {
    names.push_back(co_await oci::parse_reference(take_until(rest, ',')));
  }
  co_return names;
}

void report_image(const BuiltImage& built, const std::vector<oci::Reference>& names,
                  OutputReport& report) {
  std::string all;
  for (const oci::Reference& name : names) all += cat(all.empty() ? "" : ",", name.text());
  if (!all.empty()) report["image.name"] = all;
  report["containerimage.config.digest"] = built.id().text();
}

// Into the store. --------------------------------------------------------------------------------

ring::Task<> store_image(engine::Engine* engine, const BuildSession* session, BuildJournal* journal,
                         const BuiltImage* built, const BuildOutput* output, OutputReport* report) {
  const std::string id = built->id().text();
  const std::string vertex = journal->begin("exporting to image");
  const std::vector<oci::Reference> names = co_await names_of(output);
  report_image(*built, names, *report);
  (*report)["containerimage.digest"] = id;
  std::string note = cat("writing image ", id);
  for (const oci::Reference& name : names) {
    co_await engine->images->tag(id, name);
    engine->events->publish("image", "tag", id, {{"name", name.familiar()}});
    note += cat(", naming to ", name.text());
    if (is_on(*output, "push")) {
      BuildJournal::Transfers transfers(*journal, vertex);
      co_await engine->images->push(name, transfers, co_await session->credentials(name.registry));
    }
  }
  journal->finish(vertex, note);
}

// To the client. ---------------------------------------------------------------------------------

ring::Task<> write_archive(engine::Engine* engine, const BuiltImage* built, Handed handed,
                           std::vector<oci::Reference> names, const Fd* into) {
  image::Images& images = *engine->images;
  if (handed == Handed::Files || handed == Handed::FilesArchive) {
    return images.export_tree(built->record, built->source_date_epoch, *into);
  }
  using Form = image::Images::ArchiveForm;
  const Form form = handed == Handed::DockerArchive ? Form::Docker : Form::Oci;
  return images.save(built->record, std::move(names), form, *into);
}

// How it went is known before whoever reads `into` sees its end.
ring::Task<> produce(engine::Engine* engine, const BuiltImage* built, Handed handed,
                     std::vector<oci::Reference> names, Fd into, std::optional<Result<>>* outcome) {
  *outcome =
      co_await ring::as_result(write_archive(engine, built, handed, std::move(names), &into));
}

ring::Task<> hand_to_client(engine::Engine* engine, const BuildSession* session,
                            BuildJournal* journal, const BuiltImage* built,
                            const BuildOutput* output, size_t number, OutputReport* report) {
  const HandedType* type = find_type(output->type);
  const std::string vertex = journal->begin(type->vertex);
  std::vector<oci::Reference> names;
  BuildSession::Parcel parcel;
  parcel.output = number;
  if (type->handed == Handed::DockerArchive || type->handed == Handed::OciArchive) {
    names = co_await names_of(output);
    report_image(*built, names, *report);
    (*report)["containerimage.digest"] = built->record.descriptor.digest.text();
    for (const auto& [key, value] : *report) {
      parcel.metadata.emplace_back(cat("exporter-md-", key), value);
    }
  }
  const auto give = [&](const Fd& archive, std::function<Result<>()> whole) {
    parcel.archive = &archive;
    parcel.produced = std::move(whole);
    return type->handed == Handed::Files ? session->give_files(std::move(parcel))
                                         : session->give_archive(std::move(parcel));
  };
  co_await write_output(engine, built, output, std::move(names), give);
  journal->finish(vertex);
}

}  // namespace

Result<> check_outputs(const std::vector<BuildOutput>& outputs) {
  for (const BuildOutput& output : outputs) {
    if (output.is_stored()) continue;
    if (find_type(output.type) == nullptr) {
      return fail(Kind::Unsupported, cat("exporter ", in_quotes(output.type),
                                         " could not be found: this builder has image, local, "
                                         "tar, docker and oci"));
    }
    for (const auto& [name, value] : output.attributes) {
      if (is_understood(name, value)) continue;
      return fail(Kind::Unsupported, cat("output type=", output.type, ": ", name, "=", value,
                                         " is not supported by this builder"));
    }
  }
  return {};
}

ring::Task<> write_output(engine::Engine* engine, const BuiltImage* built,
                          const BuildOutput* output, std::vector<oci::Reference> names,
                          ArchiveUse use) {
  Pipe pipe = co_await open_pipe();
  std::optional<Result<>> outcome;
  ring::Scope producing(engine->loop, [](const Error&) {});
  producing.start(produce(engine, built, find_type(output->type)->handed, std::move(names),
                          std::move(pipe.write_end), &outcome));
  const Result<> used = co_await ring::as_result(
      use(pipe.read_end, [&] { return outcome.value_or(fail(Kind::Cancelled, "cancelled")); }));
  producing.cancel();
  co_await producing.join();
  co_await Result<>(used);
}

ring::Task<OutputReport> hand_out(engine::Engine* engine, const BuildSession* session,
                                  BuildJournal* journal, const BuiltImage* built,
                                  const std::vector<BuildOutput>* outputs) {
  OutputReport report;
  for (size_t number = 0; number < outputs->size(); ++number) {
    const BuildOutput& output = (*outputs)[number];
    if (output.is_stored()) {
      co_await store_image(engine, session, journal, built, &output, &report);
    } else {
      co_await hand_to_client(engine, session, journal, built, &output, number, &report);
    }
  }
  co_return report;
}

}  // namespace nacelle::api
