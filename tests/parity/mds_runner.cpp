// Reads and writes MDS data sets with the library, for test_mds.py.
//   m2bert-parity-mds read FOLDER           prints a JSON line per sample: {"column": {"stored": HEX, "value": VALUE}}
//   m2bert-parity-mds write FOLDER < SPEC   {"columns": {NAME: ENCODING}, "compression", "hashes", "size_limit", "samples": [{NAME:
//   VALUE}]}
// A VALUE is {"text"}, {"hex"} of bytes, {"integer"} as digits, {"float64"} as the hex of its bits, {"array": [TYPE, SHAPE, HEX]} or
// {"json"}.
#include <bit>
#include <cstring>
#include <iostream>
#include <iterator>

#include "m2bert/data/mds_stream.h"
#include "m2bert/data/mds_writer.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace {

using namespace m2bert;
using data::MdsEncoding;

std::string to_hex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) (out += kHex[static_cast<unsigned char>(c) >> 4]) += kHex[c & 15];
  return out;
}

std::string from_hex(const std::string& text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) out += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return out;
}

std::string bits_of(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  return to_hex({reinterpret_cast<const char*>(&bits), sizeof bits});
}

io::Tree tree_of(const data::MdsValue& value, MdsEncoding::Kind kind) {
  if (const auto* text = std::get_if<std::string>(&value))
    return kind == MdsEncoding::Kind::bytes ? io::Tree{{"hex", to_hex(*text)}} : io::Tree{{"text", *text}};
  if (const auto* number = std::get_if<int64_t>(&value)) return {{"integer", std::to_string(*number)}};
  if (const auto* number = std::get_if<uint64_t>(&value)) return {{"integer", std::to_string(*number)}};
  if (const auto* number = std::get_if<double>(&value)) return {{"float64", bits_of(*number)}};
  if (const auto* tree = std::get_if<io::Tree>(&value)) return {{"json", *tree}};
  const auto& array = std::get<data::MdsArray>(value);
  const io::Tree shape = io::Tree::list({array.shape.begin(), array.shape.end()});
  return {{"array", io::Tree::list({std::string(data::name_of(array.type)), shape, to_hex(array.bytes)})}};
}

data::MdsType type_named(const std::string& name) { return *data::known_mds_encoding("ndarray:" + name)->type; }

data::MdsValue value_of(const io::Tree& tree) {
  if (const auto* text = tree.find("text")) return text->string();
  if (const auto* hex = tree.find("hex")) return from_hex(hex->string());
  if (const auto* digits = tree.find("integer")) {
    if (digits->string().starts_with('-')) return int64_t{std::stoll(digits->string())};
    return uint64_t{std::stoull(digits->string())};
  }
  if (const auto* hex = tree.find("float64")) {
    double value;
    std::memcpy(&value, from_hex(hex->string()).data(), sizeof value);
    return value;
  }
  if (const auto* json = tree.find("json")) return *json;
  const auto& parts = tree.at("array").items();
  return data::MdsArray{type_named(parts[0].string()), parts[1].as<std::vector<uint64_t>>(), from_hex(parts[2].string())};
}

void read_data(const std::string& folder) {
  const data::MdsStream stream({.local = folder, .keep_raw = false});
  for (size_t i = 0; i < stream.index().shards.size(); ++i) {
    const auto shard = stream.open(i);
    for (uint64_t sample = 0; sample < shard->samples(); ++sample) {
      io::Tree line = io::Tree::map();
      for (size_t column = 0; column < shard->info().columns.size(); ++column) {
        const auto& [name, encoding, size] = shard->info().columns[column];
        const data::MdsValue value = shard->value(sample, column);
        const auto kind = data::parse_mds_encoding(encoding, name).kind;
        line.set(name, {{"stored", to_hex(shard->field(sample, column))}, {"value", tree_of(value, kind)}});
      }
      std::cout << io::to_json(line) << "\n";
    }
  }
}

void write_data(const std::string& folder) {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const io::Tree spec = io::parse_json(text, "the specification");
  data::MdsFormat format;
  for (const auto& [name, encoding] : spec.at("columns").members()) format.columns.push_back({name, encoding.string(), {}});
  format.compression = spec.get<std::string>("compression", "");
  format.hashes = spec.get<std::vector<std::string>>("hashes", {});
  format.size_limit = spec.get_optional<uint64_t>("size_limit");
  format = data::mds_format(format);
  data::MdsWriter writer(folder, format);
  for (const io::Tree& sample : spec.at("samples").items()) {
    std::vector<data::MdsValue> values;
    for (const data::MdsColumn& column : format.columns) values.push_back(value_of(sample.at(column.name)));
    writer.write(values);
  }
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    require(argc == 3, "usage: m2bert-parity-mds read|write FOLDER");
    (std::string(argv[1]) == "read" ? read_data : write_data)(argv[2]);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
