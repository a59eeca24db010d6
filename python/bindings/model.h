#pragma once
// Loading models with options that Python gives, and what all models have in common.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/infer/embedder.h"

namespace m2bert::python {

namespace nb = nanobind;

// Keyword arguments by name. None means the default.
class Options {
 public:
  explicit Options(nb::dict values) : values_(std::move(values)) {}

  // nullopt if the option is absent or None. TypeError, which names it, for another type.
  template <class T>
  std::optional<T> get(const char* name) const {
    const nb::object value = values_.get(name, nb::none());
    if (value.is_none()) return std::nullopt;
    T result;
    if (!nb::try_cast<T>(value, result, false)) wrong_type(name, value);
    return result;
  }
  template <class T>
  T get(const char* name, T otherwise) const {
    return get<T>(name).value_or(otherwise);
  }

 private:
  [[noreturn]] static void wrong_type(const char* name, nb::handle value);
  nb::dict values_;
};

// config, tokenizer, dtype, allow_missing, allow_unexpected.
models::LoadOptions load_options(const Options& options);

// Loads a model, and warns of missing and unexpected weights where the options allow them. On the processor, the C library then keeps freed
// buffers (m2bert/memory.h). Needs no GIL.
models::Pretrained load_model(const std::string& path, const models::LoadOptions& options);

// pad, max_length, batch_size, truncation_side, reference_cut, pooling, normalize, dimensions, prompt.
infer::EmbedOptions embed_options(const Options& options);

// "right" or "left".
tokenize::TruncationSide truncation_side_named(const std::string& name);

// The batcher with another prompt or batch size where they are given.
infer::Batcher batcher_with(const infer::Batcher& batcher, const std::optional<std::string>& prompt, std::optional<int> batch_size);

// A numpy array [rows, columns], or [rows] if columns is absent, that owns the values.
template <class T>
nb::object to_numpy(std::vector<T> values, size_t rows, std::optional<size_t> columns = std::nullopt) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  const nb::capsule owner(owned.release(), [](void* all) noexcept { delete static_cast<std::vector<T>*>(all); });
  const size_t shape[2] = {rows, columns.value_or(1)};
  return nb::cast(nb::ndarray<nb::numpy, T>(data, columns ? 2 : 1, shape, owner));
}

}  // namespace m2bert::python
