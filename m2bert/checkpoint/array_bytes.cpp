#include "m2bert/checkpoint/array_bytes.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/checkpoint/text.h"
#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

constexpr size_t piece = size_t{1} << 20;

}  // namespace

mx::Shape shape_of(const TensorInfo& tensor, const std::string& file) {
  mx::Shape shape;
  for (int64_t n : tensor.shape) {
    require(n <= std::numeric_limits<int32_t>::max(), file, ": tensor '", printable(tensor.name), "' has a dimension of ", n,
            "; MLX supports at most 2147483647");
    shape.push_back(static_cast<int32_t>(n));
  }
  return shape;
}

NewArray new_array(const TensorInfo& tensor, const std::string& file) {
  mx::Dtype dtype = to_mlx_dtype(tensor.dtype, file + ": " + printable(tensor.name));
  mx::Shape shape = shape_of(tensor, file);
  auto data = mx::allocator::malloc(std::max<size_t>(tensor.nbytes, 1));
  auto buffer = data.buffer();
  auto* memory = static_cast<std::byte*>(buffer.raw_ptr());
  require(memory != nullptr, file, ": out of memory for tensor '", printable(tensor.name), "' of ", tensor.nbytes, " bytes");
  return {mx::array(std::move(data), std::move(shape), dtype), {memory, static_cast<size_t>(tensor.nbytes)}};
}

void read_into(const io::RandomFile& file, uint64_t offset, std::span<std::byte> out, uint32_t* crc) {
  while (!out.empty()) {
    auto part = out.first(std::min(piece, out.size()));
    file.read(offset, part);
    if (crc) *crc = crc32(*crc, part.data(), part.size());
    offset += part.size();
    out = out.subspan(part.size());
  }
}

void clean_bools(std::span<std::byte> bytes) {
  for (auto& b : bytes) b = b == std::byte{0} ? std::byte{0} : std::byte{1};
}

std::vector<WrittenArray> written_arrays(const TensorMap& tensors, const std::string& file) {
  std::unordered_map<std::uintptr_t, mx::array> contiguous;  // by id, so that tied arrays stay tied
  std::unordered_set<std::string> names;
  std::vector<mx::array> all;
  for (const auto& [name, array] : tensors) {
    require(!name.empty() && valid_utf8(name), file, ": a tensor's name '", printable(name), "' is empty or not UTF-8");
    require(names.insert(name).second, file, ": two tensors with the name '", printable(name), "'");
    all.push_back(contiguous.try_emplace(array.id(), mx::contiguous(array)).first->second);
  }
  mx::eval(all);
  std::map<std::tuple<const void*, size_t, int>, size_t> seen;
  std::vector<WrittenArray> out;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto* data = all[i].nbytes() ? all[i].data<std::byte>() : nullptr;
    std::tuple key{static_cast<const void*>(data), all[i].nbytes(), static_cast<int>(all[i].dtype().val())};
    size_t first = i;
    if (data) {
      auto [it, added] = seen.emplace(key, i);
      if (!added && all[it->second].shape() == all[i].shape()) first = it->second;
    }
    out.push_back({tensors[i].first, all[i], {data, all[i].nbytes()}, first});
  }
  return out;
}

}  // namespace m2bert::checkpoint
