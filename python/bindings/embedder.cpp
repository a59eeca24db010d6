// Embedder: texts to vectors.
#include "m2bert/infer/embedder.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>

#include "m2bert/checkpoint/tensor_file.h"
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

  // How the vectors of one call are made, where it differs from the model's options.
  struct Call {
    std::optional<std::string> prompt;
    std::optional<int> batch_size, dimensions;
    std::optional<bool> normalize;
  };

  // Vectors [n, dim]. texts_hint: n, if it is known.
  nb::object embed(nb::iterator texts, const Call& call, size_t texts_hint, const nb::object& progress) const {
    const infer::VectorForm form = embedder_->form(call.normalize, call.dimensions);
    const auto width = static_cast<size_t>(form.dim);
    std::vector<float> vectors;
    vectors.reserve(texts_hint * width);
    each_window(std::move(texts), call, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      vectors.resize((first + window.texts()) * width);
      embed(window, first, form, stop, vectors.data() + first * width);
    });
    const size_t rows = vectors.size() / width;
    return to_numpy(std::move(vectors), rows, width);
  }

  // The states of each text's tokens: a list of arrays [tokens, hidden].
  nb::list token_embeddings(nb::iterator texts, const Call& call, const nb::object& progress) const {
    std::vector<std::vector<float>> states;
    each_window(std::move(texts), call, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      states.resize(first + window.texts());
      for (const infer::TextBatch& batch : window.batches) {
        if (stop()) return;
        embedder_->each_row_of_states(
            batch, [&](size_t row, std::span<const float> values) { states[first + batch.texts[row]].assign(values.begin(), values.end()); });
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

  int dim() const { return embedder_->dim(); }
  int max_length() const { return embedder_->batcher().options().max_length; }
  int batch_size() const { return embedder_->batcher().options().batch_size; }
  std::string prompt() const { return embedder_->batcher().options().prompt; }
  std::string pooling() const { return models::name(embedder_->pooling()); }
  bool normalize() const { return embedder_->normalize(); }
  const models::Pretrained& pretrained() const { return embedder_->pretrained(); }

 private:
  std::unique_ptr<infer::Embedder> load(const std::string& model, const Options& options) const {
    const models::LoadOptions loading = load_options(options);
    const infer::EmbedOptions embedding = embed_options(options);
    return computed(device_, [&](const Stop&) { return std::make_unique<infer::Embedder>(load_model(model, loading), embedding); });
  }

  template <class Use>
  void each_window(nb::iterator texts, const Call& call, const nb::object& progress, Use use) const {
    TextWindows windows(batcher_with(embedder_->batcher(), call.prompt, call.batch_size), std::move(texts));
    uint64_t first = 0;
    while (const auto window = windows.next()) {
      compute(device_, [&](const Stop& stop) { use(*window, first, stop); });
      first += window->texts();
      report_progress(progress, first);
    }
  }

  // Writes the vectors of the window's texts [texts, form.dim]; stops early if it is told to.
  void embed(const infer::Window& window, uint64_t first, const infer::VectorForm& form, const Stop& stop, float* vectors) const {
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

}  // namespace

void bind_embedder(nb::module_& m) {
  nb::class_<Embedder>(m, "Embedder")
      .def(nb::init<const std::string&, const nb::dict&>(), "model"_a, "options"_a)
      .def(
          "embed",
          [](const Embedder& self, nb::iterator texts, size_t texts_hint, std::optional<std::string> prompt, std::optional<int> batch_size,
             std::optional<bool> normalize, std::optional<int> dimensions,
             const nb::object& progress) { return self.embed(std::move(texts), {prompt, batch_size, dimensions, normalize}, texts_hint, progress); },
          "texts"_a, "texts_hint"_a = 0, "prompt"_a = nb::none(), "batch_size"_a = nb::none(), "normalize"_a = nb::none(),
          "dimensions"_a = nb::none(), "progress"_a = nb::none())
      .def(
          "token_embeddings",
          [](const Embedder& self, nb::iterator texts, std::optional<std::string> prompt, std::optional<int> batch_size,
             const nb::object& progress) { return self.token_embeddings(std::move(texts), {prompt, batch_size, {}, {}}, progress); },
          "texts"_a, "prompt"_a = nb::none(), "batch_size"_a = nb::none(), "progress"_a = nb::none())
      .def_prop_ro("dim", &Embedder::dim)
      .def_prop_ro("max_length", &Embedder::max_length)
      .def_prop_ro("batch_size", &Embedder::batch_size)
      .def_prop_ro("prompt", &Embedder::prompt)
      .def_prop_ro("pooling", &Embedder::pooling)
      .def_prop_ro("normalize", &Embedder::normalize)
      .def_prop_ro("hidden_size", [](const Embedder& self) { return self.pretrained().config.hidden_size; })
      .def_prop_ro("dtype", [](const Embedder& self) { return checkpoint::dtype_name(self.pretrained().dtype); })
      .def_prop_ro("prompts", [](const Embedder& self) { return self.pretrained().prompts; })
      .def_prop_ro("default_prompt", [](const Embedder& self) { return self.pretrained().default_prompt; })
      .def_prop_ro("similarity", [](const Embedder& self) { return self.pretrained().similarity; });
}

}  // namespace m2bert::python
