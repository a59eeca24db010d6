// FillMask: predictions for [MASK].
#include "m2bert/infer/fill_mask.h"

#include "python/bindings/bind.h"
#include "python/bindings/model.h"
#include "python/bindings/runtime.h"
#include "python/bindings/texts.h"

namespace m2bert::python {
namespace {

nb::dict dict_of(const infer::FilledMask& mask) {
  nb::list guesses;
  for (const infer::Guess& guess : mask.guesses) {
    nb::dict values;
    values["token"] = guess.token;
    values["id"] = guess.id;
    values["probability"] = guess.probability;
    guesses.append(values);
  }
  nb::dict filled;
  filled["position"] = mask.position;
  filled["guesses"] = guesses;
  return filled;
}

class FillMask {
 public:
  FillMask(const std::string& model, const nb::dict& arguments)
      : device_(device_named(Options(arguments).get<std::string>("device"))), fill_mask_(load(model, Options(arguments))) {}

  // A list for each text, of a dict for each mask.
  nb::list fill(nb::iterator texts, int top_k, const nb::object& progress) const {
    std::vector<std::vector<infer::FilledMask>> all;
    TextWindows windows(fill_mask_->batcher(), std::move(texts));
    for_each_window(windows, device_, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      for (auto& masks : fill_mask_->fill(window, first, top_k, stop)) all.push_back(std::move(masks));
    });
    nb::list results;
    for (const auto& masks : all) {
      nb::list filled;
      for (const infer::FilledMask& mask : masks) filled.append(dict_of(mask));
      results.append(filled);
    }
    return results;
  }

  const infer::FillMask& fill_mask() const { return *fill_mask_; }

 private:
  std::unique_ptr<infer::FillMask> load(const std::string& model, const Options& options) const {
    models::LoadOptions loading = load_options(options);
    loading.head = models::Head::masked_lm;
    const infer::EmbedOptions batching = embed_options(options);
    return computed(device_, [&](const Stop&) { return std::make_unique<infer::FillMask>(load_model(model, loading), batching); });
  }

  mx::Device device_;
  std::unique_ptr<infer::FillMask> fill_mask_;
};

}  // namespace

void bind_fill_mask(nb::module_& m) {
  nb::class_<FillMask>(m, "FillMask")
      .def(nb::init<const std::string&, const nb::dict&>(), "model"_a, "options"_a)
      .def("fill", &FillMask::fill, "texts"_a, "top_k"_a, "progress"_a.none())
      .def_prop_ro("max_length", [](const FillMask& self) { return self.fill_mask().batcher().options().max_length; })
      .def_prop_ro("tokenizer", [](const FillMask& self) { return self.fill_mask().pretrained().tokenizer; });
}

}  // namespace m2bert::python
