#include "m2bert/data/mds_index.h"

#include <algorithm>
#include <unordered_set>

#include "m2bert/data/mds_encoding.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 31;
constexpr uint64_t kMaxShardBytes = UINT32_MAX;  // a shard's offsets have 32 bits

// ---- reading ----

void check_keys(const io::Tree& tree, const std::vector<std::string>& keys) {
  if (!tree.is_map()) tree.wants("a map");
  for (const io::Tree::Member* member : tree.unknown(keys))
    fail(member->value.where(), "this key of a shard is not known here; was the index written by another version of streaming?");
}

MdsFile read_file_info(const io::Tree& tree) {
  check_keys(tree, {"basename", "bytes", "hashes"});
  MdsFile file;
  file.name = tree.at("basename").string();
  const std::string wrong = io::why_unsafe(file.name);
  require(wrong.empty(), tree.at("basename").where(), "the name '", io::printable(file.name), "' ", wrong, "; nothing is read from it");
  file.bytes = static_cast<uint64_t>(tree.at("bytes").integer(0, INT64_MAX));
  if (const io::Tree* hashes = tree.find("hashes"); hashes && !hashes->is_null())
    for (const auto& [name, value] : hashes->members()) file.hashes[name] = value.string();
  return file;
}

std::optional<uint64_t> read_size(const io::Tree& tree, const MdsColumn& column) {
  const auto size = tree.is_null() ? std::nullopt : std::optional(static_cast<uint64_t>(tree.integer(0, kMaxShardBytes)));
  const auto encoding = known_mds_encoding(column.encoding);
  if (!encoding) return size;
  // The Python package reads 0 as no fixed size.
  require(size.value_or(0) == encoding->size().value_or(0), tree.where(), "column ", column.name, " has the encoding ", column.encoding,
          ", whose values take ", encoding->size() ? std::to_string(*encoding->size()) : "no fixed number of", " bytes");
  return encoding->size();
}

std::vector<MdsColumn> read_columns(const io::Tree& shard) {
  const auto& names = shard.at("column_names").items();
  const auto& encodings = shard.at("column_encodings").items();
  const auto& sizes = shard.at("column_sizes").items();
  require(names.size() == encodings.size() && names.size() == sizes.size(), shard.where(), "has ", names.size(), " column_names, ",
          encodings.size(), " column_encodings and ", sizes.size(), " column_sizes");
  std::vector<MdsColumn> columns;
  for (size_t i = 0; i < names.size(); ++i) {
    MdsColumn column{names[i].string(), encodings[i].string(), std::nullopt};
    for (const MdsColumn& before : columns)
      require(before.name != column.name, names[i].where(), "there are two columns '", io::printable(column.name), "'");
    column.size = read_size(sizes[i], column);
    columns.push_back(std::move(column));
  }
  require(!columns.empty(), shard.where(), "has no columns");
  return columns;
}

void check_sizes(const io::Tree& tree, const MdsShardInfo& info) {
  require(info.raw.bytes <= kMaxShardBytes, tree.where(), "a shard has less than 4 GiB, this one ", info.raw.bytes, " bytes");
  // The sample count, and samples + 1 offsets.
  require(info.raw.bytes >= 8 && info.samples <= (info.raw.bytes - 8) / 4, tree.where(), info.samples, " samples do not fit in ",
          info.raw.bytes, " bytes");
}

// What index and shard say alike.
MdsShardInfo read_header(const io::Tree& tree) {
  require(tree.at("version").integer() == 2, tree.at("version").where(), "only version 2 is read");
  const std::string& format = tree.at("format").string();
  require(format == "mds", tree.at("format").where(), "shards of the format '", io::printable(format), "' are not read, only mds");
  MdsShardInfo info;
  info.columns = read_columns(tree);
  info.compression = tree.get<std::string>("compression", "");
  info.hashes = tree.get<std::vector<std::string>>("hashes", {});
  if (const io::Tree* limit = tree.find("size_limit")) info.size_limit = *limit;
  return info;
}

MdsShardInfo read_shard(const io::Tree& tree) {
  check_keys(tree, {"column_encodings", "column_names", "column_sizes", "compression", "format", "hashes", "raw_data", "samples",
                    "size_limit", "version", "zip_data"});
  MdsShardInfo info = read_header(tree);
  info.samples = static_cast<uint64_t>(tree.at("samples").integer(0, INT64_MAX));
  info.raw = read_file_info(tree.at("raw_data"));
  const io::Tree* packed = tree.find("zip_data");
  if (packed && !packed->is_null()) info.packed = read_file_info(*packed);
  require(info.packed.has_value() == !info.compression.empty(), tree.where(),
          "compression and zip_data belong together; this shard has one of them alone");
  require(!info.packed || info.packed->name != info.raw.name, tree.where(), "raw_data and zip_data have the same name");
  check_sizes(tree, info);
  return info;
}

// ---- writing: keys and spaces as in Python's json.dumps(sort_keys=True) ----

std::string quoted(const std::string& text) {
  std::string out;
  io::append_json_string(out, text);
  return out;
}

template <class Items, class Shown>
std::string json_list(const Items& items, Shown shown) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "[" : ", ") + shown(item);
  return out.empty() ? "[]" : out + "]";
}

std::string size_text(const MdsColumn& column) { return column.size ? std::to_string(*column.size) : "null"; }

std::string columns_text(const MdsShardInfo& info) {
  const auto& columns = info.columns;
  return "\"column_encodings\": " + json_list(columns, [](const MdsColumn& c) { return quoted(c.encoding); }) +
         ", \"column_names\": " + json_list(columns, [](const MdsColumn& c) { return quoted(c.name); }) +
         ", \"column_sizes\": " + json_list(columns, size_text) +
         ", \"compression\": " + (info.compression.empty() ? "null" : quoted(info.compression)) +
         ", \"format\": \"mds\", \"hashes\": " + json_list(info.hashes, quoted);
}

std::string file_text(const MdsFile& file) {
  std::string hashes;
  for (const auto& [name, value] : file.hashes) hashes += (hashes.empty() ? "" : ", ") + quoted(name) + ": " + quoted(value);
  return "{\"basename\": " + quoted(file.name) + ", \"bytes\": " + std::to_string(file.bytes) + ", \"hashes\": {" + hashes + "}}";
}

std::string shard_text(const MdsShardInfo& info) {
  return "{" + columns_text(info) + ", \"raw_data\": " + file_text(info.raw) + ", \"samples\": " + std::to_string(info.samples) +
         ", \"size_limit\": " + io::to_json(info.size_limit) +
         ", \"version\": 2, \"zip_data\": " + (info.packed ? file_text(*info.packed) : "null") + "}";
}

}  // namespace

std::optional<size_t> MdsShardInfo::find_column(std::string_view name) const {
  const auto found = std::find_if(columns.begin(), columns.end(), [&](const MdsColumn& column) { return column.name == name; });
  return found == columns.end() ? std::nullopt : std::optional(static_cast<size_t>(found - columns.begin()));
}

size_t MdsShardInfo::column(std::string_view name) const {
  if (const auto found = find_column(name)) return *found;
  std::string names;
  for (const MdsColumn& column : columns) names += (names.empty() ? "" : ", ") + io::printable(column.name, 60);
  fail(raw.name, ": has no column '", io::printable(name), "'; it has ", names);
}

uint64_t MdsIndex::samples() const {
  uint64_t sum = 0;
  for (const MdsShardInfo& shard : shards) sum += shard.samples;
  return sum;
}

MdsIndex parse_mds_index(std::string_view text, const std::string& name) {
  const io::Tree tree = io::parse_json(text, name);
  require(tree.is_map() && tree.contains("version") && tree.contains("shards"), name,
          ": is no index of an MDS data set (a map with version and shards)");
  require(tree.at("version").integer() == 2, tree.at("version").where(), "only version 2 is read");
  MdsIndex index;
  std::unordered_set<std::string> names;
  for (const io::Tree& shard : tree.at("shards").items()) {
    index.shards.push_back(read_shard(shard));
    const MdsShardInfo& info = index.shards.back();
    for (const std::string& file : {info.raw.name, info.packed ? info.packed->name : ""})
      require(file.empty() || names.insert(file).second, shard.where(), "two shards have the name '", io::printable(file), "'");
  }
  return index;
}

MdsIndex read_mds_index(const std::filesystem::path& file) { return parse_mds_index(io::read_file(file, kMaxIndexBytes), file.string()); }

std::string mds_index_text(const MdsIndex& index) { return "{\"shards\": " + json_list(index.shards, shard_text) + ", \"version\": 2}"; }

std::string mds_shard_header(const MdsShardInfo& info) {
  return "{" + columns_text(info) + ", \"size_limit\": " + io::to_json(info.size_limit) + ", \"version\": 2}";
}

MdsShardInfo parse_mds_shard_header(std::string_view text, const std::string& name) {
  const io::Tree tree = io::parse_json(text, name);
  check_keys(tree, {"column_encodings", "column_names", "column_sizes", "compression", "format", "hashes", "size_limit", "version"});
  return read_header(tree);
}

}  // namespace m2bert::data
