#include "build/mount.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "build/dockerfile_words.h"
#include "codec/json.h"
#include "codec/quantity.h"

namespace nacelle::build {
namespace {

using codec::json::in_quotes;

constexpr std::array<std::pair<std::string_view, MountType>, 5> types = {{
    {"bind", MountType::Bind},
    {"cache", MountType::Cache},
    {"tmpfs", MountType::Tmpfs},
    {"secret", MountType::Secret},
    {"ssh", MountType::Ssh},
}};
constexpr std::array<std::pair<std::string_view, Sharing>, 3> sharings = {{
    {"shared", Sharing::Shared},
    {"private", Sharing::Private},
    {"locked", Sharing::Locked},
}};

template <class Value, size_t count>
std::optional<Value> find_name(const std::array<std::pair<std::string_view, Value>, count>& table,
                               std::string_view name) {
  const std::string lower = to_lower(name);
  for (const auto& [known, value] : table) {
    if (known == lower) return value;
  }
  return std::nullopt;
}

std::string_view name_of(MountType type) {
  for (const auto& [name, value] : types) {
    if (value == type) return name;
  }
  return "mount";
}

std::unexpected<Error> invalid(std::string complaint) {
  return fail(Kind::Invalid, std::move(complaint));
}

// One line of CSV: fields may stand in double quotes, in which two of them are one.
Result<std::vector<std::string>> split_csv(std::string_view text) {
  std::vector<std::string> fields;
  for (bool more = true; more;) {
    std::string& field = fields.emplace_back();
    const bool quoted = text.starts_with('"');
    if (quoted) text.remove_prefix(1);
    while (!text.empty() && (quoted || text[0] != ',')) {
      if (text[0] == '"') {
        if (!quoted) return invalid("a quote in the middle of a field");
        text.remove_prefix(1);
        if (!text.starts_with('"')) {
          if (!text.empty() && text[0] != ',') return invalid("text behind a closing quote");
          field += '\0';  // closed; taken off below
          break;
        }
      }
      field += text[0];
      text.remove_prefix(1);
    }
    if (quoted) {
      if (!field.ends_with('\0')) return invalid("a quote that is not closed");
      field.pop_back();
    }
    more = text.starts_with(',');
    if (more) text.remove_prefix(1);
  }
  return fields;
}

std::optional<bool> parse_bool(std::string_view text) {
  for (const std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

// What the fields of one mount said, beside the mount itself.
struct Reader {
  Mount mount;
  bool said_read_only = false;
  bool said_sharing = false;

  Result<> unexpected_key(std::string_view key) const {
    return invalid(
        cat("unexpected key ", in_quotes(key), " for mount type '", name_of(mount.type), "'"));
  }

  Result<> set_flag(std::string_view key, std::string_view value, bool& into) {
    const auto parsed = parse_bool(value);
    if (!parsed) return invalid(cat("invalid value for ", key, ": ", in_quotes(value)));
    into = *parsed;
    return {};
  }

  Result<> set_access(std::string_view key, std::string_view value) {
    said_read_only = true;
    bool on = true;
    TRY(set_flag(key, value, on));
    mount.read_only = (key == "readonly" || key == "ro") ? on : !on;
    return {};
  }

  Result<> set_number(std::string_view key, std::string_view value, std::optional<uint32_t>& into) {
    into = parse_number<uint32_t>(value, key == "mode" ? 8 : 10);
    if (!into) return invalid(cat("invalid value ", in_quotes(value), " for ", key));
    return {};
  }

  Result<> set_type(std::string_view value) {
    const auto type = find_name(types, value);
    if (!type) return invalid(cat("unsupported mount type ", in_quotes(value)));
    mount.type = *type;
    return {};
  }

  Result<> set_sharing(std::string_view value) {
    const auto sharing = find_name(sharings, value);
    if (!sharing) return invalid(cat("unsupported sharing value ", in_quotes(value)));
    mount.sharing = *sharing;
    said_sharing = true;
    return {};
  }

  Result<> set_size(std::string_view value) {
    const auto bytes = codec::parse_size(value);
    if (!bytes || *bytes < 0) return invalid(cat("invalid value for size: ", in_quotes(value)));
    mount.size = *bytes;
    return {};
  }

  Result<> set(std::string_view key, std::string value) {
    const bool secret = mount.type == MountType::Secret || mount.type == MountType::Ssh;
    if (key == "type") return set_type(value);
    if (key == "readonly" || key == "ro" || key == "readwrite" || key == "rw")
      return set_access(key, value);
    if (key == "sharing") return set_sharing(value);
    if (key == "mode") return set_number(key, value, mount.mode);
    if (key == "uid") return set_number(key, value, mount.uid);
    if (key == "gid") return set_number(key, value, mount.gid);
    if (key == "required")
      return secret ? set_flag(key, value, mount.required) : unexpected_key(key);
    if (key == "size")
      return mount.type == MountType::Tmpfs ? set_size(value) : unexpected_key(key);
    if (key == "env" && mount.type != MountType::Secret) return unexpected_key(key);
    // All that is left is text.
    std::string* const into = text_for(key);
    if (into == nullptr) return invalid(cat("unexpected key ", in_quotes(key)));
    *into = std::move(value);
    return {};
  }

  std::string* text_for(std::string_view key) {
    if (key == "from") return &mount.from;
    if (key == "source" || key == "src") return &mount.source;
    if (key == "target" || key == "dst" || key == "destination") return &mount.target;
    if (key == "id") return &mount.id;
    if (key == "env") return &mount.environment;
    return nullptr;
  }

  // What only all fields together say.
  Result<> check() {
    const bool has_owner = mount.type == MountType::Cache || mount.type == MountType::Secret ||
                           mount.type == MountType::Ssh;
    const std::string_view type = name_of(mount.type);
    for (const auto& [key, value] : {std::pair{"mode", mount.mode}, std::pair{"uid", mount.uid},
                                     std::pair{"gid", mount.gid}}) {
      if (value && !has_owner) return invalid(cat(key, " not allowed for '", type, "' mounts"));
    }
    if (said_sharing && mount.type != MountType::Cache)
      return invalid(cat("sharing not allowed for '", type, "' mounts"));
    if (!said_read_only)
      mount.read_only = mount.type != MountType::Cache && mount.type != MountType::Tmpfs;
    if (mount.type == MountType::Secret) return check_secret();
    if (mount.type == MountType::Ssh && !mount.source.empty())
      return invalid("ssh does not support source");
    return {};
  }

  // A secret's `source` is an older word for its id.
  Result<> check_secret() {
    if (!mount.from.empty()) return invalid("secret mount should not have a from");
    if (!mount.source.empty() && !mount.id.empty())
      return invalid("both source and id can't be set");
    if (mount.source.empty() && mount.target.empty() && mount.id.empty())
      return invalid("invalid secret mount: one of id, source, target required");
    return {};
  }
};

struct Field {
  std::string key;
  std::optional<std::string> value;
};

Result<std::vector<Field>> split_fields(std::string_view text) {
  std::vector<Field> fields;
  for (std::string& text_of_field : TRY(split_csv(text))) {
    const size_t equals = text_of_field.find('=');
    Field field{.key = to_lower(std::string_view(text_of_field).substr(0, equals)), .value = {}};
    if (equals != std::string::npos) field.value = text_of_field.substr(equals + 1);
    if (!field.value) {
      const bool may_stand_alone = field.key == "readonly" || field.key == "ro" ||
                                   field.key == "readwrite" || field.key == "rw" ||
                                   field.key == "required";
      if (!may_stand_alone)
        return invalid(cat("invalid field ", in_quotes(text_of_field), ": must be key=value"));
      field.value = "true";
    }
    if (field.key == "from" && field.value->contains('$'))
      return invalid("'from' doesn't support variable expansion, define alias stage instead");
    fields.push_back(std::move(field));
  }
  return fields;
}

}  // namespace

Result<Mount> read_mount(std::string_view text, const WordExpander& expander) {
  Reader reader;
  for (Field& field : TRY(split_fields(text))) {
    TRY(reader.set(field.key, TRY(expander(*field.value))));
  }
  TRY(reader.check());
  reader.mount.text = text;
  reader.mount.complete = true;
  return std::move(reader.mount);
}

Result<Mount> read_mount_unexpanded(std::string_view text) {
  // Without any of these, expansion changes nothing.
  if (text.find_first_of("$'\"\\`") == text.npos) return parse_mount(text);
  Mount mount;
  mount.text = text;
  for (const Field& field : TRY(split_fields(text))) {
    if (field.key == "from") mount.from = *field.value;
  }
  return mount;
}

Result<Mount> parse_mount(std::string_view text) {
  return read_mount(
      text, [](std::string_view value) -> Result<std::string> { return std::string(value); });
}

}  // namespace nacelle::build
