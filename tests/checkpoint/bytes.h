#pragma once
// Hand-made files for the tests of the readers: pickles opcode by opcode, zip archives and safetensors with any wrong field.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/io/file.h"

// Not inlined: the tests call these functions so often that compilers would take minutes.
namespace m2bert::checkpoint::test {

inline std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

[[gnu::noinline]] inline std::string little(uint64_t v, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(i < 8 ? v >> (8 * i) : 0);
  return out;
}

// A temporary folder.
class Folder {
 public:
  Folder() {
    path_ = std::filesystem::temp_directory_path() / ("m2bert_checkpoint_" + std::to_string(getpid()) + "_" + std::to_string(counter()++));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  static int& counter() {
    static int n = 0;
    return n;
  }
  std::filesystem::path path_;
};

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(M2BERT_SOURCE_DIR) / "tests" / "golden" / "checkpoint" / name;
}
inline std::filesystem::path shared_fixture(const std::string& name) {
  return std::filesystem::path(M2BERT_SOURCE_DIR) / ".." / "shared" / "fixtures" / name;
}

// The message of the Error that f throws; a test failure if it throws nothing.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// ---- pickles ----

[[gnu::noinline]] inline std::string proto(int n = 2) { return std::string("\x80") + static_cast<char>(n); }
[[gnu::noinline]] inline std::string text(const std::string& s) { return "X" + little(s.size(), 4) + s; }
[[gnu::noinline]] inline std::string integer(int64_t v) {
  return v >= 0 && v < 256 ? "K" + little(static_cast<uint64_t>(v), 1) : "\x8a\x08" + little(static_cast<uint64_t>(v), 8);
}
[[gnu::noinline]] inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
[[gnu::noinline]] inline std::string tuple(const std::string& items) { return "(" + items + "t"; }
[[gnu::noinline]] inline std::string integers(const std::vector<int64_t>& v) {
  std::string out;
  for (auto i : v) out += integer(i);
  return tuple(out);
}
// {key: value}
[[gnu::noinline]] inline std::string dict(const std::string& keys_and_values) { return "}(" + keys_and_values + "u"; }
[[gnu::noinline]] inline std::string call(const std::string& module, const std::string& name, const std::string& arguments) {
  return global(module, name) + tuple(arguments) + "R";
}

struct TensorSpec {
  std::string storage_class = "FloatStorage", key = "0";
  int64_t count = 6, first = 0;
  std::vector<int64_t> shape = {2, 3}, strides = {3, 1};
  std::string tail;  // of the persistent id
};
[[gnu::noinline]] inline std::string storage(const TensorSpec& t = {}) {
  return tuple(text("storage") + global("torch", t.storage_class) + text(t.key) + text("cpu") + integer(t.count) + t.tail) + "Q";
}
[[gnu::noinline]] inline std::string tensor(const TensorSpec& t = {}) {
  return call("torch._utils", "_rebuild_tensor_v2",
              storage(t) + integer(t.first) + integers(t.shape) + integers(t.strides) + "\x89" + call("collections", "OrderedDict", ""));
}
[[gnu::noinline]] inline std::string tensor_dict(const TensorSpec& t = {}) { return proto() + dict(text("w") + tensor(t)) + "."; }

// ---- zip archives ----

struct ZipPart {
  std::string name, bytes;
  // Wrong values; -1: the correct one.
  int64_t crc = -1, packed = -1, plain = -1, header_at = -1, local_plain = -1;
  int method = 0, flags = 0;
  std::string local_name;  // empty: name
};

struct ZipLies {
  int64_t directory_at = -1, directory_size = -1, entries = -1;
  std::string comment, before_end;
};

[[gnu::noinline]] inline std::string zip(const std::vector<ZipPart>& parts, const ZipLies& lies = {}) {
  std::string out, directory;
  for (const auto& p : parts) {
    auto or_truth = [](int64_t lie, uint64_t truth) { return lie < 0 ? truth : static_cast<uint64_t>(lie); };
    uint64_t at = out.size();
    uint64_t crc = or_truth(p.crc, crc32(0, p.bytes.data(), p.bytes.size()));
    uint64_t packed = or_truth(p.packed, p.bytes.size()), plain = or_truth(p.plain, p.bytes.size());
    std::string local = p.local_name.empty() ? p.name : p.local_name;
    auto method = static_cast<uint64_t>(p.method), flags = static_cast<uint64_t>(p.flags);
    out += "PK\3\4" + little(20, 2) + little(flags, 2) + little(method, 2) + little(0, 4) + little(crc, 4) + little(packed, 4) +
           little(or_truth(p.local_plain, plain), 4) + little(local.size(), 2) + little(0, 2) + local + p.bytes;
    directory += "PK\1\2" + little(20, 2) + little(20, 2) + little(flags, 2) + little(method, 2) + little(0, 4) + little(crc, 4) +
                 little(packed, 4) + little(plain, 4) + little(p.name.size(), 2) + little(0, 12) + little(or_truth(p.header_at, at), 4) +
                 p.name;
  }
  uint64_t at = lies.directory_at < 0 ? out.size() : static_cast<uint64_t>(lies.directory_at);
  uint64_t size = lies.directory_size < 0 ? directory.size() : static_cast<uint64_t>(lies.directory_size);
  uint64_t count = lies.entries < 0 ? parts.size() : static_cast<uint64_t>(lies.entries);
  return out + directory + lies.before_end + "PK\5\6" + little(0, 4) + little(count, 2) + little(count, 2) + little(size, 4) +
         little(at, 4) + little(lies.comment.size(), 2) + lies.comment;
}

[[gnu::noinline]] inline std::string floats(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    auto v = static_cast<float>(i);
    out.append(reinterpret_cast<const char*>(&v), 4);
  }
  return out;
}
// A PyTorch file around a pickle, with storage "0" of six floats unless others are given.
[[gnu::noinline]] inline std::string torch_zip(const std::string& pickle, std::vector<ZipPart> data = {{"a/data/0", floats(6)}},
                                               const std::string& byteorder = "little", const std::string& version = "3\n") {
  std::vector<ZipPart> parts = {{"a/data.pkl", pickle}, {"a/byteorder", byteorder}};
  parts.insert(parts.end(), data.begin(), data.end());
  parts.push_back({"a/version", version});
  return zip(parts);
}

// ---- the legacy format ----

[[gnu::noinline]] inline std::string legacy_head(bool little_endian = true, int protocol = 1001) {
  std::string magic = "\x80\x02\x8a\x0a" + std::string("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + ".";
  return magic + proto() + "M" + little(static_cast<uint64_t>(protocol), 2) + "." + proto() +
         dict(text("protocol_version") + integer(1) + text("little_endian") + (little_endian ? "\x88" : "\x89")) + ".";
}
[[gnu::noinline]] inline std::string legacy_file(const std::string& pickle,
                                                 const std::vector<std::pair<std::string, std::string>>& storages = {
                                                     {"0", little(6, 8) + floats(6)}}) {
  std::string keys = proto() + "](", data;
  for (const auto& [key, bytes] : storages) {
    keys += text(key);
    data += bytes;
  }
  return legacy_head() + pickle + keys + "e." + data;
}
inline TensorSpec legacy_spec(TensorSpec t = {}) {
  t.tail = "N";  // no view
  return t;
}

// ---- safetensors ----

[[gnu::noinline]] inline std::string safetensors(const std::string& header, const std::string& data) {
  return little(header.size(), 8) + header + data;
}

}  // namespace m2bert::checkpoint::test
