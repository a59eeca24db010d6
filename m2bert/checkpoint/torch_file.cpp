#include "m2bert/checkpoint/torch_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/checkpoint/array_bytes.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/checkpoint/torch_index.h"
#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/checkpoint/zip_writer.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

TorchIndex index_of(const std::filesystem::path& file) {
  io::MappedFile map(file);  // unmapped before any value is read, so that its pages do not add to the memory of the weights
  return read_torch_index(map.bytes(), file.string());
}

class TorchFile : public TensorFile {
 public:
  explicit TorchFile(const std::filesystem::path& file) : name_(file.string()), index_(index_of(file)), file_(file) {
    std::map<std::string, size_t> views;
    for (size_t i = 0; i < index_.tensors.size(); ++i) {
      const auto& t = index_.tensors[i];
      infos_.push_back({t.name, t.dtype, t.shape, t.count * static_cast<uint64_t>(t.itemsize), "data/" + index_.storages[t.storage].key});
      by_name_.emplace(t.name, i);
      ++views[view_key(t)];
    }
    for (auto& [key, uses] : views)
      if (uses > 1) shared_.insert(key);
    for (auto& o : index_.skipped) skipped_.push_back({o.path, o.what, o.tensor});
    scalars_.insert(index_.scalars.begin(), index_.scalars.end());
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::string format() const override { return index_.format; }
  const std::vector<SkippedObject>& skipped() const override { return skipped_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::map<std::string, std::string>& scalars() const override { return scalars_; }

  mx::array read(const TensorInfo& info) override {
    auto it = by_name_.find(info.name);
    require(it != by_name_.end(), name_, ": holds no tensor '", printable(info.name), "'");
    const auto& t = index_.tensors[it->second];
    std::string key = view_key(t);
    if (auto cached = cache_.find(key); cached != cache_.end()) return cached->second;
    mx::array a = read_values(t, infos_[it->second]);
    if (shared_.contains(key)) cache_.emplace(key, a);
    return a;
  }

 private:
  // Equal for tensors that are the same view of the same storage.
  static std::string view_key(const TorchTensor& t) {
    std::string key = std::to_string(t.storage) + ":" + std::to_string(t.first) + ":" + t.dtype;
    for (auto n : t.shape) key += "," + std::to_string(n);
    key += ";";
    for (auto n : t.strides) key += "," + std::to_string(n);
    if (t.conj) key += ";conj";
    if (t.neg) key += ";neg";
    return key;
  }

  mx::array read_values(const TorchTensor& t, const TensorInfo& info) {
    auto [array, bytes] = new_array(info, name_);
    const auto& s = index_.storages[t.storage];
    auto itemsize = static_cast<uint64_t>(t.itemsize);
    if (t.count > 0 && t.contiguous()) {
      bool whole = bytes.size() == s.bytes;
      uint32_t crc = 0;
      read_into(file_, s.offset + t.first * itemsize, bytes, whole && s.crc ? &crc : nullptr);
      if (whole && s.crc) check_crc(t.storage, crc);
      else verify(t.storage);
    } else if (t.count > 0) {
      gather(t, bytes);
      verify(t.storage);
    }
    if (t.dtype == "bool") clean_bools(bytes);
    if (t.conj || t.neg) apply_bits(t, bytes);
    return array;
  }
  // Flips the signs that PyTorch's lazy bits stand for. A complex value is two floats, and its conjugate negates the second.
  static void apply_bits(const TorchTensor& t, std::span<std::byte> bytes) {
    const bool complex = t.dtype.starts_with("complex");
    const size_t part = static_cast<size_t>(t.itemsize) / (complex ? 2 : 1);
    for (size_t i = 0; i < bytes.size() / part; ++i) {
      const bool imaginary = complex && i % 2 == 1;
      if (t.neg != (t.conj && imaginary)) bytes[(i + 1) * part - 1] ^= std::byte{0x80};
    }
  }
  // Reads the range of the storage that a strided view spans, and copies the view's values.
  void gather(const TorchTensor& t, std::span<std::byte> out) const {
    auto itemsize = static_cast<size_t>(t.itemsize);
    uint64_t last = 0;
    for (size_t i = 0; i < t.shape.size(); ++i) last += static_cast<uint64_t>(t.shape[i] - 1) * static_cast<uint64_t>(t.strides[i]);
    std::vector<std::byte> range(static_cast<size_t>(last + 1) * itemsize);
    read_into(file_, index_.storages[t.storage].offset + t.first * itemsize, range);
    std::vector<int64_t> at(t.shape.size(), 0);
    uint64_t from = 0;
    for (uint64_t i = 0; i < t.count; ++i) {
      std::memcpy(out.data() + i * itemsize, range.data() + from * itemsize, itemsize);
      for (size_t d = t.shape.size(); d-- > 0;) {
        from += static_cast<uint64_t>(t.strides[d]);
        if (++at[d] < t.shape[d]) break;
        from -= static_cast<uint64_t>(t.strides[d]) * static_cast<uint64_t>(t.shape[d]);
        at[d] = 0;
      }
    }
  }
  void check_crc(size_t storage, uint32_t crc) {
    const auto& s = index_.storages[storage];
    require(crc == *s.crc, name_, ": byte ", s.offset, ": storage '", s.key, "' is damaged (checksum differs); get the file again");
    verified_.insert(storage);
  }
  // Reads a whole storage once for its checksum, if only a part of it was needed.
  void verify(size_t storage) {
    const auto& s = index_.storages[storage];
    if (!s.crc || verified_.contains(storage)) return;
    std::vector<std::byte> piece(static_cast<size_t>(std::min<uint64_t>(s.bytes, 1 << 20)));
    uint32_t crc = 0;
    for (uint64_t at = 0; at < s.bytes; at += piece.size()) {
      auto part = std::span(piece).first(static_cast<size_t>(std::min<uint64_t>(piece.size(), s.bytes - at)));
      read_into(file_, s.offset + at, part, &crc);
    }
    check_crc(storage, crc);
  }

  std::string name_;
  TorchIndex index_;
  io::RandomFile file_;
  std::vector<TensorInfo> infos_;
  std::vector<SkippedObject> skipped_;
  std::map<std::string, std::string> metadata_, scalars_;
  std::unordered_map<std::string, size_t> by_name_;
  std::unordered_set<std::string> shared_;            // views that several tensors have
  std::unordered_map<std::string, mx::array> cache_;  // those that were read
  std::unordered_set<size_t> verified_;
};

// Writes the few opcodes of protocol 2 that a dict of tensors needs.
class Pickler {
 public:
  Pickler() { out_ = "\x80\x02"; }
  void op(char c) { out_ += c; }
  void text(const std::string& s) {
    op('X');
    little(s.size(), 4);
    out_ += s;
  }
  void integer(uint64_t v) {
    if (v < 256) return op('K'), little(v, 1);
    if (v < 65536) return op('M'), little(v, 2);
    if (v <= 0x7fffffff) return op('J'), little(v, 4);
    out_ += "\x8a\x09";  // nine bytes, so that the sign bit stays clear
    little(v, 8);
    op('\0');
  }
  void global(const std::string& module, const std::string& name) { out_ += "c" + module + "\n" + name + "\n"; }
  template <class List>
  void tuple(const List& values) {
    op('(');
    for (auto v : values) integer(static_cast<uint64_t>(v));
    op('t');
  }
  void storage(const std::string& module, const std::string& cls, size_t key, uint64_t count) {
    op('(');
    text("storage");
    global(module, cls);
    text(std::to_string(key));
    text("cpu");
    integer(count);
    op('t');
    op('Q');
  }
  std::string done() {
    op('.');
    return std::move(out_);
  }

 private:
  void little(uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(v >> (8 * i));
  }
  std::string out_;
};

// The storage class of a dtype; empty if only an untyped storage holds it.
std::string storage_class(mx::Dtype dtype) {
  static const std::map<std::string, std::string> classes = {
      {"float32", "FloatStorage"}, {"float64", "DoubleStorage"}, {"float16", "HalfStorage"},          {"bfloat16", "BFloat16Storage"},
      {"int64", "LongStorage"},    {"int32", "IntStorage"},      {"int16", "ShortStorage"},           {"int8", "CharStorage"},
      {"uint8", "ByteStorage"},    {"bool", "BoolStorage"},      {"complex64", "ComplexFloatStorage"}};
  auto it = classes.find(dtype_name(dtype));
  return it == classes.end() ? "" : it->second;
}

void pickle_tensor(Pickler& p, const WrittenArray& w, size_t key) {
  const auto& shape = w.array.shape();
  std::vector<uint64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * static_cast<uint64_t>(std::max(shape[i], 1));
  std::string cls = storage_class(w.array.dtype());
  p.global("torch._utils", cls.empty() ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
  p.op('(');
  if (cls.empty()) p.storage("torch.storage", "UntypedStorage", key, w.bytes.size());
  else p.storage("torch", cls, key, w.array.size());
  p.integer(0);
  p.tuple(shape);
  p.tuple(strides);
  p.op('\x89');  // requires_grad False
  p.global("collections", "OrderedDict");
  p.op(')');
  p.op('R');
  if (cls.empty()) {
    p.global("torch", dtype_name(w.array.dtype()));
    p.op('}');
  }
  p.op('t');
  p.op('R');
}

std::string pickle_state(const std::vector<WrittenArray>& arrays, const std::vector<size_t>& keys) {
  Pickler p;
  p.op('}');
  p.op('(');
  p.text("state");
  p.op('}');
  p.text("model");
  p.op('}');
  p.op('(');
  for (size_t i = 0; i < arrays.size(); ++i) {
    p.text("model." + arrays[i].name);
    pickle_tensor(p, arrays[i], keys[i]);
  }
  p.op('u');
  p.op('s');
  p.text("rng");
  p.op(']');
  p.op('u');
  return p.done();
}

}  // namespace

std::unique_ptr<TensorFile> open_torch_file(const std::filesystem::path& file) { return std::make_unique<TorchFile>(file); }

void save_composer_pt(const std::filesystem::path& file, const TensorMap& model_state) {
  auto arrays = written_arrays(model_state, file.string());
  std::vector<size_t> keys;
  size_t storages = 0;
  for (size_t i = 0; i < arrays.size(); ++i) keys.push_back(arrays[i].first == i ? storages++ : keys[arrays[i].first]);
  io::AtomicFile out(file);
  ZipWriter zip(out);
  zip.add("archive/data.pkl", pickle_state(arrays, keys));
  zip.add("archive/byteorder", std::string_view("little"));
  for (size_t i = 0; i < arrays.size(); ++i)
    if (arrays[i].first == i) zip.add("archive/data/" + std::to_string(keys[i]), arrays[i].bytes);
  zip.add("archive/version", std::string_view("3\n"));
  zip.finish();
  out.commit();
}

}  // namespace m2bert::checkpoint
