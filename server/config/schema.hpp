// What a key of the configuration is: the one description from which parsing, faults, --help and
// the table in docs/configuration.md are made. Internal to server/config; used by one thread at
// start-up.
//
// A Schema<T> is a list of keys, each of which reads and writes one field of a T. Lists of objects
// (listeners, rules) are keys whose items have a schema of their own.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "server/config/config.hpp"
#include "server/config/suggest.hpp"
#include "server/config/words.hpp"

namespace millrace::server {

using Json = nlohmann::ordered_json;

// Where the faults of one value go: knows the path and the origin of what is being read.
class FaultSink {
 public:
  FaultSink(std::vector<ConfigFault>& faults, std::string path, std::string origin)
      : faults_(faults), path_(std::move(path)), origin_(std::move(origin)) {}

  FaultSink at(std::string_view part) const {
    const bool dot = !path_.empty() && !part.empty() && part.front() != '[';
    return {faults_, path_ + (dot ? "." : "") + std::string(part), origin_};
  }
  void add(std::string message) const { faults_.push_back({path_, std::move(message), origin_}); }
  const std::string& path() const { return path_; }
  // Whether there is a fault of the key, given by its whole path.
  bool has_fault_of(std::string_view path) const { return is_at_fault(faults_, path); }

 private:
  std::vector<ConfigFault>& faults_;
  std::string path_;
  std::string origin_;
};

// Limits of a number, both inclusive.
struct Limits {
  double min = 0;
  double max = 0;
};

// "3", "\"x\"", "an object": what stands there, for a fault's message.
inline std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

std::string shown_number(double value);
std::string shown_limits(Limits limits);

template <class Field>
struct IsOptional : std::false_type {};
template <class Value>
struct IsOptional<std::optional<Value>> : std::true_type {};

// One overload a kind of field. Each leaves `field` alone when it adds a fault.
inline void parse_field(bool& field, const Json& value, Limits, const FaultSink& faults) {
  if (!value.is_boolean()) return faults.add("must be true or false, not " + shown(value));
  field = value.get<bool>();
}

inline void parse_field(std::string& field, const Json& value, Limits, const FaultSink& faults) {
  if (!value.is_string()) return faults.add("must be text, not " + shown(value));
  if (value.get_ref<const std::string&>().find('\0') != std::string::npos) {
    return faults.add("must not contain a zero byte");
  }
  field = value.get<std::string>();
}

// One text, or a list of them.
inline void parse_field(std::vector<std::string>& field, const Json& value, Limits limits,
                        const FaultSink& faults) {
  if (!value.is_array() && !value.is_string()) {
    return faults.add("must be text or a list of texts, not " + shown(value));
  }
  const Json list = value.is_array() ? value : Json::array({value});
  std::vector<std::string> read(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    parse_field(read[i], list[i], limits, faults.at("[" + std::to_string(i) + "]"));
  }
  field = std::move(read);
}

inline void parse_field(double& field, const Json& value, Limits limits, const FaultSink& faults) {
  if (!value.is_number()) return faults.add("must be a number, not " + shown(value));
  const double number = value.get<double>();
  if (!(number >= limits.min && number <= limits.max)) {
    return faults.add("must be " + shown_limits(limits) + ", not " + shown(value));
  }
  field = number;
}

template <std::unsigned_integral Number>
requires(!std::same_as<Number, bool>) void parse_field(Number& field, const Json& value,
                                                       Limits limits, const FaultSink& faults) {
  if (!value.is_number_integer()) {
    const std::string meant = value.is_string() ? size_suggestion(value.get<std::string>()) : "";
    return faults.add("must be a whole number, not " + shown(value) + meant);
  }
  const bool negative = !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  const auto number = value.get<std::uint64_t>();
  if (negative || static_cast<double>(number) < limits.min ||
      static_cast<double>(number) > limits.max) {
    return faults.add("must be " + shown_limits(limits) + ", not " + shown(value));
  }
  field = static_cast<Number>(number);
}

template <class Enum>
requires std::is_enum_v<Enum>
void parse_field(Enum& field, const Json& value, Limits, const FaultSink& faults) {
  std::vector<std::string> words;
  // A variable or --set gives 1.3 as a number.
  const std::string given = value.is_string()   ? value.get<std::string>()
                            : value.is_number() ? value.dump()
                                                : "";
  for (const auto& [word, candidate] : Words<Enum>::list) {
    if (given == word) {
      field = candidate;
      return;
    }
    words.emplace_back(word);
  }
  const std::string meant = value.is_string() ? suggestion(value.get<std::string>(), words) : "";
  faults.add("must be one of " + words_of<Enum>() + ", not " + shown(value) + meant);
}

template <class Value>
void parse_field(std::optional<Value>& field, const Json& value, Limits limits,
                 const FaultSink& faults) {
  if (value.is_null()) {
    field.reset();
    return;
  }
  Value inner = field.value_or(Value());
  parse_field(inner, value, limits, faults);
  field = inner;
}

template <class Field>
Json render_field(const Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    return std::string(word_of(field));
  } else if constexpr (IsOptional<Field>::value) {
    return field ? render_field(*field) : Json(nullptr);
  } else if constexpr (std::same_as<Field, std::vector<std::string>>) {
    return field.size() == 1 ? Json(field.front()) : Json(field);
  } else {
    return Json(field);
  }
}

template <class Field>
std::string type_name() {
  if constexpr (std::same_as<Field, bool>) {
    return "true or false";
  } else if constexpr (std::same_as<Field, std::string>) {
    return "text";
  } else if constexpr (std::same_as<Field, std::vector<std::string>>) {
    return "text or list of texts";
  } else if constexpr (std::same_as<Field, double>) {
    return "number";
  } else if constexpr (std::is_enum_v<Field>) {
    return words_of<Field>();
  } else if constexpr (IsOptional<Field>::value) {
    return type_name<typename Field::value_type>();
  } else {
    return "whole number";
  }
}

template <class Field>
constexpr bool is_text() {
  return std::same_as<Field, std::string> || std::same_as<Field, std::optional<std::string>>;
}

// Defaults of an item that depend on what else it says.
template <class Item>
void prepare_item(Item&, const Json&) {}
void prepare_item(ListenerConfig& listener, const Json& value);  // its port, by its transport

// "rules[2].filter": list, index, field.
struct ItemPath {
  std::string list;
  std::size_t index = 0;
  std::string field;
};
bool parse_item_path(std::string_view path, ItemPath& out);

// Whether a running server takes a new value over on SIGHUP.
enum class Takes : std::uint8_t { restart, reload };

// A field of the items of a list; "rules[j].filter" for one of a list in an item.
struct ItemField {
  std::string path, type, limits, fallback, help;
  bool text;
};

template <class T>
struct Key {
  std::string path;
  std::string type;
  std::string limits;  // empty: none beyond the type
  std::string help;
  Takes takes = Takes::restart;
  bool text = false;  // a command line's value is taken as it stands
  std::function<void(T&, const Json&, const FaultSink&)> parse;
  std::function<Json(const T&)> render;
  std::function<void(T&, const T&)> copy;
  // Lists of objects alone: one field of one item; and the items' fields, for the tables.
  std::function<void(T&, std::size_t, std::string_view, const Json&, const FaultSink&)> parse_item;
  std::vector<ItemField> item_fields;
};

template <class T>
class Schema {
 public:
  template <class Access>
  Schema& key(std::string path, Access access, std::string help, Takes takes = Takes::restart) {
    return key(std::move(path), access, Limits{}, std::move(help), takes);
  }

  template <class Access>
  Schema& key(std::string path, Access access, Limits limits, std::string help,
              Takes takes = Takes::restart) {
    using Field = std::remove_cvref_t<decltype(access(std::declval<T&>()))>;
    Key<T> key;
    key.path = std::move(path);
    key.type = type_name<Field>();
    if (limits.max > 0) key.limits = shown_limits(limits);
    key.help = std::move(help);
    key.takes = takes;
    key.text = is_text<Field>();
    key.parse = [=](T& target, const Json& value, const FaultSink& faults) {
      parse_field(access(target), value, limits, faults);
    };
    key.render = [=](const T& target) { return render_field(access(target)); };
    key.copy = [=](T& target, const T& source) { access(target) = access(source); };
    keys_.push_back(std::move(key));
    return *this;
  }

  template <class Access, class Item>
  Schema& list(std::string path, Access access, const Schema<Item>& items, std::size_t items_max,
               std::string help, Takes takes = Takes::restart);

  const Key<T>* find(std::string_view path) const {
    for (const Key<T>& key : keys_) {
      if (key.path == path) return &key;
    }
    return nullptr;
  }
  bool is_section(std::string_view path) const {
    for (const Key<T>& key : keys_) {
      if (key.path.size() > path.size() && key.path.starts_with(path) &&
          key.path[path.size()] == '.') {
        return true;
      }
    }
    return false;
  }
  std::vector<std::string> paths() const {
    std::vector<std::string> paths;
    for (const Key<T>& key : keys_) paths.push_back(key.path);
    return paths;
  }
  // Of keys, and of the sections that they stand in.
  std::vector<std::string> names() const {
    std::vector<std::string> names = paths();
    for (const Key<T>& key : keys_) {
      for (auto dot = key.path.find('.'); dot != std::string::npos;
           dot = key.path.find('.', dot + 1)) {
        names.push_back(key.path.substr(0, dot));
      }
    }
    return names;
  }
  const std::vector<Key<T>>& keys() const { return keys_; }

  // Reads the key or the section at `path` ("" is everything); `faults` stands at the same place.
  void parse(T& target, const std::string& path, const Json& value, const FaultSink& faults) const {
    if (const Key<T>* key = find(path)) return key->parse(target, value, faults);
    if (ItemPath item; parse_item_path(path, item)) {
      const Key<T>* list = find(item.list);
      if (list == nullptr || !list->parse_item) {
        return faults.add("there is no list \"" + item.list + "\"");
      }
      return list->parse_item(target, item.index, item.field, value, faults);
    }
    if (!path.empty() && !is_section(path)) {
      return faults.add("unknown key" + suggestion(path, names()));
    }
    if (!value.is_object()) return faults.add("must be an object, not " + shown(value));
    for (const auto& [name, member] : value.items()) {
      parse(target, path.empty() ? name : path + "." + name, member, faults.at(name));
    }
  }

  Json render(const T& source) const {
    Json object = Json::object();
    for (const Key<T>& key : keys_) object[key.path] = key.render(source);
    return object;
  }

 private:
  std::vector<Key<T>> keys_;
};

template <class T>
template <class Access, class Item>
Schema<T>& Schema<T>::list(std::string path, Access access, const Schema<Item>& items,
                           std::size_t items_max, std::string help, Takes takes) {
  Key<T> key;
  key.path = std::move(path);
  key.type = "list of objects";
  key.limits = "at most " + std::to_string(items_max);
  key.help = std::move(help);
  key.takes = takes;
  key.parse = [=](T& target, const Json& value, const FaultSink& faults) {
    if (!value.is_array()) return faults.add("must be a list, not " + shown(value));
    if (value.size() > items_max) {
      return faults.add("has " + std::to_string(value.size()) + " items; at most " +
                        std::to_string(items_max) + " are allowed");
    }
    std::vector<Item> read(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      prepare_item(read[i], value[i]);
      items.parse(read[i], "", value[i], faults.at("[" + std::to_string(i) + "]"));
    }
    access(target) = std::move(read);
  };
  key.parse_item = [=](T& target, std::size_t index, std::string_view field, const Json& value,
                       const FaultSink& faults) {
    if (index >= access(target).size()) {
      return faults.add("there is no such item; the list has " +
                        std::to_string(access(target).size()));
    }
    items.parse(access(target)[index], std::string(field), value, faults);
  };
  key.render = [=](const T& source) {
    Json list = Json::array();
    for (const Item& item : access(source)) list.push_back(items.render(item));
    return list;
  };
  key.copy = [=](T& target, const T& source) { access(target) = access(source); };
  const Item fresh;
  for (const Key<Item>& field : items.keys()) {
    const Json fallback = field.render(fresh);
    key.item_fields.push_back({field.path, field.type, field.limits,
                               fallback.is_null() ? "" : fallback.dump(), field.help, field.text});
    for (const ItemField& inner : field.item_fields) {
      key.item_fields.push_back({field.path + "[j]." + inner.path, inner.type, inner.limits,
                                 inner.fallback, inner.help, inner.text});
    }
  }
  keys_.push_back(std::move(key));
  return *this;
}

// The description of all keys.
const Schema<Config>& config_schema();

// What only several keys together can get wrong: relations, references, files. `faults` has those of
// reading; of the keys that could not be read no more is said.
void validate_config(const Config& config, std::vector<ConfigFault>& faults);
void check_listeners(const Config& config, const FaultSink& faults);
// A listener beyond loopback needs a decision about who may connect.
void check_exposure(const Config& config, const FaultSink& faults);
void check_upstreams(const Config& config, const FaultSink& faults);
// False: what says which names are verified, and how, could not be read.
bool knows_who_is_verified(const FaultSink& faults);
// "listeners[2]".
std::string item_path(std::string_view list, std::size_t index);
void check_readable(const std::string& file, const FaultSink& faults);
void check_address_ranges(const std::vector<std::string>& ranges, const FaultSink& faults);
bool is_ipv4_address(const std::string& host);
inline constexpr std::size_t socket_bytes_max = 107;  // of the path of a Unix socket (sockaddr_un)

}  // namespace millrace::server
