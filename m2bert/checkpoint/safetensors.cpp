#include "m2bert/checkpoint/safetensors.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_map>

#include "m2bert/checkpoint/array_bytes.h"
#include "m2bert/checkpoint/dtype.h"
#include "m2bert/checkpoint/safetensors_header.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/memory.h"

namespace m2bert::checkpoint {
namespace {

// The mapped file, for as long as an array is a view of it.
class FileMemory {
 public:
  explicit FileMemory(const std::filesystem::path& file) : map_(file) { add_file_memory(map_.bytes().data(), map_.bytes().size()); }
  ~FileMemory() { remove_file_memory(map_.bytes().data()); }
  FileMemory(const FileMemory&) = delete;
  FileMemory& operator=(const FileMemory&) = delete;

  std::span<const std::byte> bytes() const { return map_.bytes(); }

 private:
  io::MappedFile map_;
};

// An array that is a view of the mapped file, which MLX neither writes to nor donates to another array. nullopt with a GPU, which has other
// buffers, and for unaligned values. MLX's CPU buffers begin with their size; here the header's size takes its place, and MLX reads it only
// to find out whether a buffer is much larger than its array.
std::optional<mx::array> view_of(const std::shared_ptr<const FileMemory>& file, uint64_t offset, mx::Dtype dtype, const mx::Shape& shape) {
  auto* begin = const_cast<std::byte*>(file->bytes().data());
  const std::byte* at = begin + offset;
  if (mx::is_available(mx::Device::gpu) || reinterpret_cast<std::uintptr_t>(at) % size_of(dtype) != 0) return {};
  mx::allocator::Buffer buffer(begin);
  auto* first = static_cast<std::byte*>(buffer.raw_ptr());
  if (first != begin + sizeof(size_t) || at < first) return {};
  auto data = [&] { return mx::allocator::Data(buffer, [file](mx::allocator::Buffer) {}); };
  mx::array view(data(), shape, dtype);
  view.set_data(data(), view.size(), view.strides(), view.flags(), at - first);
  return view;
}

constexpr uint64_t kSmallestView = uint64_t{64} << 10;  // bytes; smaller tensors are copied, so that they do not pin a page

class SafetensorsFile : public TensorFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& file)
      : name_(file.string()), file_(file), memory_(std::make_shared<FileMemory>(file)) {
    auto header = read_safetensors_header(memory_->bytes(), name_);
    metadata_ = std::move(header.metadata);
    for (auto& e : header.entries) {
      infos_.push_back({e.name, e.dtype, e.shape, e.bytes, "bytes/" + std::to_string(e.offset) + (e.bytes ? "" : "/" + e.name)});
      offsets_.emplace(e.name, e.offset);
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::string format() const override { return "safetensors"; }
  const std::vector<SkippedObject>& skipped() const override { return skipped_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::map<std::string, std::string>& scalars() const override { return scalars_; }

  mx::array read(const TensorInfo& info) override {
    auto it = offsets_.find(info.name);
    require(it != offsets_.end(), name_, ": holds no tensor '", printable(info.name), "'");
    if (info.dtype != "bool" && info.nbytes >= kSmallestView) {
      if (auto view = view_of(memory_, it->second, to_mlx_dtype(info.dtype, name_), shape_of(info, name_))) return *view;
    }
    auto [array, bytes] = new_array(info, name_);
    read_into(file_, it->second, bytes);
    if (info.dtype == "bool") clean_bools(bytes);
    return array;
  }

 private:
  std::string name_;
  io::RandomFile file_;
  std::shared_ptr<const FileMemory> memory_;
  std::vector<TensorInfo> infos_;
  std::vector<SkippedObject> skipped_;
  std::map<std::string, std::string> scalars_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, uint64_t> offsets_;
};

// Widest values first, so that every tensor is aligned to its value size, as the format requires.
std::vector<size_t> writing_order(const std::vector<WrittenArray>& arrays) {
  std::vector<size_t> order(arrays.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    size_t wa = arrays[a].array.itemsize(), wb = arrays[b].array.itemsize();
    return wa != wb ? wa > wb : arrays[a].name < arrays[b].name;
  });
  return order;
}

std::string make_header(const std::vector<WrittenArray>& arrays, const std::vector<size_t>& order,
                        const std::map<std::string, std::string>& metadata) {
  io::Tree header = io::Tree::map();
  io::Tree meta = io::Tree::map();
  for (const auto& [key, value] : metadata) meta.set(key, value);
  header.set("__metadata__", std::move(meta));
  uint64_t at = 0;
  for (size_t i : order) {
    const auto& w = arrays[i];
    io::Tree shape = io::Tree::list(), offsets = io::Tree::list();
    for (int n : w.array.shape()) shape.push_back(n);
    offsets.push_back(at);
    offsets.push_back(at + w.bytes.size());
    io::Tree entry = io::Tree::map();
    entry.set("dtype", *to_safetensors_dtype(dtype_name(w.array.dtype())));
    entry.set("shape", std::move(shape));
    entry.set("data_offsets", std::move(offsets));
    header.set(w.name, std::move(entry));
    at += w.bytes.size();
  }
  std::string text = io::to_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& file) { return std::make_unique<SafetensorsFile>(file); }

void save_safetensors(const std::filesystem::path& file, const TensorMap& tensors, const std::map<std::string, std::string>& metadata) {
  auto arrays = written_arrays(tensors, file.string());
  auto meta = metadata;
  meta.emplace("format", "pt");
  std::map<size_t, std::string> stored;  // WrittenArray::first -> the alphabetically first name
  for (const auto& w : arrays) {
    require(w.name != "__metadata__", file.string(), ": no tensor can have the name __metadata__");
    auto [it, added] = stored.emplace(w.first, w.name);
    if (!added) it->second = std::min(it->second, w.name);
  }
  std::vector<size_t> order;
  for (size_t i : writing_order(arrays)) {
    const auto& name = stored.at(arrays[i].first);
    if (arrays[i].name == name) order.push_back(i);
    else meta.emplace(arrays[i].name, name);
  }
  std::string header = make_header(arrays, order, meta);
  io::AtomicFile out(file);
  uint64_t length = header.size();
  char text[8];
  for (int i = 0; i < 8; ++i) text[i] = static_cast<char>(length >> (8 * i));
  out.write(text, 8);
  out.write(header.data(), header.size());
  for (size_t i : order) out.write(arrays[i].bytes.data(), arrays[i].bytes.size());
  out.commit();
}

}  // namespace m2bert::checkpoint
