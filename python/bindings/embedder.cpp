// Embedder: texts to vectors.
#include "m2bert/infer/embedder.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/search/quantize.h"
#include "python/bindings/bind.h"
#include "python/bindings/model.h"
#include "python/bindings/runtime.h"
#include "python/bindings/texts.h"

namespace m2bert::python {
namespace {

class Embedder {
 public:
  Embedder(const std::string& model, const nb::dict& arguments)
      : device_(device_named(Options(arguments).get<std::string>("device"))), embedder_(load(model, Options(arguments))) {}

  // Vectors [n, dim]. options: of this call, by the names of Call. texts_hint: n, if it is known.
  nb::object embed(nb::iterator texts, const nb::dict& options, size_t texts_hint, const nb::object& progress) const {
    const Call call = call_of(Options(options));
    infer::VectorForm form = embedder_->form(call.normalize, call.dimensions);
    if (call.normalize_cut) form.normalize_last = *call.normalize_cut;
    const auto width = static_cast<size_t>(form.dim);
    std::vector<float> vectors;
    vectors.reserve(texts_hint * width);
    each_window(std::move(texts), call, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      vectors.resize((first + window.texts()) * width);
      embed_window(window, first, form, stop, vectors.data() + first * width);
    });
    const size_t rows = vectors.size() / width;
    return to_numpy(std::move(vectors), rows, width);
  }

  // The states of each text's tokens: a list of arrays [tokens, hidden].
  nb::list token_embeddings(nb::iterator texts, const nb::dict& options, const nb::object& progress) const {
    const Call call = call_of(Options(options));
    std::vector<std::vector<float>> states;
    each_window(std::move(texts), call, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      states.resize(first + window.texts());
      for (const infer::TextBatch& batch : window.batches) {
        if (stop()) return;
        embedder_->each_row_of_states(batch, [&](size_t row, std::span<const float> values) {
          states[first + batch.texts[row]].assign(values.begin(), values.end());
        });
      }
    });
    const auto hidden = static_cast<size_t>(pretrained().config.hidden_size);
    nb::list arrays;
    for (std::vector<float>& of_text : states) {
      const size_t tokens = of_text.size() / hidden;
      arrays.append(to_numpy(std::move(of_text), tokens, hidden));
    }
    return arrays;
  }

  const char* device() const { return device_ == mx::Device::gpu ? "gpu" : "cpu"; }
  int dim() const { return embedder_->dim(); }
  int max_length() const { return embedder_->batcher().options().max_length; }
  int batch_size() const { return embedder_->batcher().options().batch_size; }
  std::string prompt() const { return embedder_->batcher().options().prompt; }
  std::string pooling() const { return models::name(embedder_->pooling()); }
  bool normalize() const { return embedder_->normalize(); }
  const models::Pretrained& pretrained() const { return embedder_->pretrained(); }

 private:
  // How the vectors of one call are made, where it differs from the model's options.
  struct Call {
    std::optional<std::string> prompt;
    std::optional<int> batch_size, dimensions;
    std::optional<bool> normalize, normalize_cut;  // the whole vector, and again its first values (`dimensions`)
  };

  static Call call_of(const Options& options) {
    return {options.get<std::string>("prompt"), options.get<int>("batch_size"), options.get<int>("dimensions"),
            options.get<bool>("normalize"), options.get<bool>("normalize_cut")};
  }

  std::unique_ptr<infer::Embedder> load(const std::string& model, const Options& options) const {
    const models::LoadOptions loading = load_options(options);
    const infer::EmbedOptions embedding = embed_options(options);
    return computed(device_, [&](const Stop&) { return std::make_unique<infer::Embedder>(load_model(model, loading), embedding); });
  }

  void each_window(nb::iterator texts, const Call& call, const nb::object& progress, const UseWindow& use) const {
    TextWindows windows(batcher_with(embedder_->batcher(), call.prompt, call.batch_size), std::move(texts));
    for_each_window(windows, device_, progress, use);
  }

  // Writes the vectors of the window's texts [texts, form.dim]; stops early if it is told to.
  void embed_window(const infer::Window& window, uint64_t first, const infer::VectorForm& form, const Stop& stop, float* vectors) const {
    const auto width = static_cast<std::ptrdiff_t>(form.dim);
    for (const infer::TextBatch& batch : window.batches) {
      if (stop()) return;
      const std::vector<float> rows = embedder_->embed(batch, window.prompt_tokens, form);
      for (size_t row = 0; row < batch.texts.size(); ++row) {
        const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(row) * width;
        if (!std::all_of(begin, begin + width, [](float value) { return std::isfinite(value); }))
          throw infer::NotFiniteError(first + batch.texts[row], pretrained());
        std::copy(begin, begin + width, vectors + static_cast<std::ptrdiff_t>(batch.texts[row]) * width);
      }
    }
  }

  mx::Device device_;
  std::unique_ptr<infer::Embedder> embedder_;
};

// float32 [n, dim] -> int8 or uint8 [n, bytes]. The ranges of int8 and uint8 are [2, dim], lowest and highest; without them, the vectors'.
nb::object quantize(const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& vectors, const std::string& precision,
                    const std::optional<nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>& ranges) {
  const size_t rows = vectors.shape(0), dim = vectors.shape(1);
  const std::span<const float> values(vectors.data(), rows * dim);
  const search::Precision kind = search::precision_named(precision);
  search::Ranges ends;
  if (ranges) {
    require(ranges->shape(0) == 2 && ranges->shape(1) == dim, "ranges: wants an array of shape (2, ", dim, ")");
    ends = {{ranges->data(), ranges->data() + dim}, {ranges->data() + dim, ranges->data() + 2 * dim}};
  } else if (search::is_scalar(kind)) {
    search::widen(ends, values, dim);
  }
  const search::Quantizer quantizer(kind, dim, ends);
  std::vector<uint8_t> bytes = quantizer.encode(values);
  if (kind == search::Precision::uint8 || kind == search::Precision::ubinary)
    return to_numpy(std::move(bytes), rows, quantizer.row_bytes());
  return to_numpy(std::vector<int8_t>(bytes.begin(), bytes.end()), rows, quantizer.row_bytes());
}

}  // namespace

void bind_embedder(nb::module_& m) {
  nb::class_<Embedder>(m, "Embedder")
      .def(nb::init<const std::string&, const nb::dict&>(), "model"_a, "options"_a)
      .def("embed", &Embedder::embed, "texts"_a, "call"_a, "texts_hint"_a, "progress"_a.none())
      .def("token_embeddings", &Embedder::token_embeddings, "texts"_a, "call"_a, "progress"_a.none())
      .def_prop_ro("device", &Embedder::device)
      .def_prop_ro("dim", &Embedder::dim)
      .def_prop_ro("max_length", &Embedder::max_length)
      .def_prop_ro("batch_size", &Embedder::batch_size)
      .def_prop_ro("prompt", &Embedder::prompt)
      .def_prop_ro("pooling", &Embedder::pooling)
      .def_prop_ro("normalize", &Embedder::normalize)
      .def_prop_ro("hidden_size", [](const Embedder& self) { return self.pretrained().config.hidden_size; })
      .def_prop_ro("dtype", [](const Embedder& self) { return checkpoint::dtype_name(self.pretrained().dtype); })
      .def_prop_ro("dynamic_padding", [](const Embedder& self) { return self.pretrained().dynamic_padding; })
      .def_prop_ro("prompts", [](const Embedder& self) { return self.pretrained().prompts; })
      .def_prop_ro("default_prompt", [](const Embedder& self) { return self.pretrained().default_prompt; })
      .def_prop_ro("tokenizer", [](const Embedder& self) { return self.pretrained().tokenizer; })
      .def_prop_ro("similarity", [](const Embedder& self) { return self.pretrained().similarity; });
  m.def("quantize", &quantize, "vectors"_a, "precision"_a, "ranges"_a = nb::none());
}

}  // namespace m2bert::python
