// Reads requests from stdin, one per line, and answers each with a line.
//   m2bert-parity-tokenize encode [FILE|FOLDER] < requests > results
//   request:  first pair? max_length side strategy specials, then hex of the first and second text, tab-separated
//   result:   ids, type ids, masks, special masks, offsets (begin:end), truncated; tab-separated, values comma-separated
//   m2bert-parity-tokenize decode [FILE|FOLDER]: request: skip_special_tokens, ids; result: hex of the text
//   m2bert-parity-tokenize time [FILE|FOLDER] ROUNDS THREADS: length-prefixed documents ("SIZE\n" and bytes); prints the seconds of each
//   round
#include "m2bert/error.h"
#include "m2bert/tokenize/wordpiece.h"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

using namespace m2bert;

namespace {

std::vector<std::string> split(const std::string& line, char mark) {
  std::vector<std::string> parts(1);
  for (char c : line) {
    if (c == mark) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

std::string to_hex(const std::string& text) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned char c : text) out += digits[c >> 4], out += digits[c & 15];
  return out;
}

template <class Values>
void print(std::string& out, const Values& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (i) out += ',';
    out += std::to_string(values[i]);
  }
  out += '\t';
}

void print(std::string& out, const tokenize::Encoding& encoding) {
  print(out, encoding.ids);
  print(out, encoding.type_ids);
  print(out, encoding.attention_mask);
  print(out, encoding.special_tokens_mask);
  for (size_t i = 0; i < encoding.offsets.size(); ++i) {
    if (i) out += ',';
    out += std::to_string(encoding.offsets[i].first) + ':' + std::to_string(encoding.offsets[i].second);
  }
  out += encoding.truncated ? "\t1\n" : "\t0\n";
}

tokenize::EncodeOptions options_of(const std::vector<std::string>& fields) {
  tokenize::EncodeOptions options;
  if (fields[1] != "-") options.max_length = std::stoull(fields[1]);
  options.truncation_side = fields[2] == "left" ? tokenize::TruncationSide::left : tokenize::TruncationSide::right;
  options.truncation = fields[3] == "only_first"    ? tokenize::Truncation::only_first
                       : fields[3] == "only_second" ? tokenize::Truncation::only_second
                                                    : tokenize::Truncation::longest_first;
  options.add_special_tokens = fields[4] == "1";
  return options;
}

void encode(const tokenize::WordPiece& tokenizer) {
  std::string line, out;
  while (std::getline(std::cin, line)) {
    const auto fields = split(line, '\t');
    require(fields.size() == 7, "a request has ", fields.size(), " fields, wants 7");
    out.clear();
    try {
      const auto options = options_of(fields);
      if (fields[0] == "1") print(out, tokenizer.encode_pair(from_hex(fields[5]), from_hex(fields[6]), options));
      else print(out, tokenizer.encode(from_hex(fields[5]), options));
    } catch (const Error& error) {
      out = std::string("error\t") + error.what() + "\n";
    }
    std::fwrite(out.data(), 1, out.size(), stdout);
  }
}

void decode(const tokenize::WordPiece& tokenizer) {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto fields = split(line, '\t');
    std::vector<int32_t> ids;
    for (const auto& id : split(fields.at(1), ',')) {
      if (!id.empty()) ids.push_back(std::stoi(id));
    }
    std::puts(to_hex(tokenizer.decode(ids, fields[0] == "1")).c_str());
  }
}

void time_rounds(const tokenize::WordPiece& tokenizer, int threads) {
  std::vector<std::string> texts;
  std::string line;
  // "SIZE\n" and bytes for each document; then one line "go" for each round.
  while (std::getline(std::cin, line) && line != "end") {
    std::string text(std::stoull(line), '\0');
    std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
    texts.push_back(std::move(text));
  }
  while (std::getline(std::cin, line)) {
    const auto start = std::chrono::steady_clock::now();
    const auto encodings = tokenizer.encode_batch(texts, {}, threads);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    size_t tokens = 0;
    uint64_t hash = 0;
    for (const auto& encoding : encodings) {
      tokens += encoding.ids.size();
      for (int32_t id : encoding.ids) hash = hash * 31 + static_cast<uint64_t>(id);
    }
    std::printf("%.9f %zu %llu\n", seconds.count(), tokens, static_cast<unsigned long long>(hash));
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string mode = argc > 1 ? argv[1] : "";
    const std::string path = argc > 2 ? argv[2] : "-";
    const auto tokenizer = path == "-" ? tokenize::WordPiece::builtin() : tokenize::WordPiece::from_file(path);
    if (mode == "encode") encode(tokenizer);
    else if (mode == "decode") decode(tokenizer);
    else if (mode == "time") time_rounds(tokenizer, argc > 3 ? std::stoi(argv[3]) : 1);
    else fail("usage: m2bert-parity-tokenize encode|decode|time [FILE|FOLDER|-] [THREADS]");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
