// Classifier: texts to labels.
#include "m2bert/infer/classifier.h"

#include <nanobind/stl/vector.h>

#include "python/bindings/bind.h"
#include "python/bindings/model.h"
#include "python/bindings/runtime.h"
#include "python/bindings/texts.h"

namespace m2bert::python {
namespace {

const char* name_of(infer::ClassTask task) {
  switch (task) {
    case infer::ClassTask::single_label: return "single_label";
    case infer::ClassTask::multi_label: return "multi_label";
    case infer::ClassTask::regression: return "regression";
  }
  return "";
}

class Classifier {
 public:
  Classifier(const std::string& model, const nb::dict& arguments)
      : device_(device_named(Options(arguments).get<std::string>("device"))), classifier_(load(model, Options(arguments))) {}

  // The scores [n, labels] of texts or pairs of texts, and which of them were truncated [n].
  nb::tuple classify(nb::iterator texts, bool pairs, const nb::object& progress) const {
    infer::Classes all;
    TextWindows windows(classifier_->batcher(), std::move(texts), pairs);
    for_each_window(windows, device_, progress, [&](const infer::Window& window, uint64_t first, const Stop& stop) {
      const infer::Classes part = classifier_->classify(window, first, stop);
      all.scores.insert(all.scores.end(), part.scores.begin(), part.scores.end());
      all.truncated.insert(all.truncated.end(), part.truncated.begin(), part.truncated.end());
    });
    const size_t rows = all.truncated.size();
    return nb::make_tuple(to_numpy(std::move(all.scores), rows, classifier_->labels().size()), to_numpy(std::move(all.truncated), rows));
  }

  const infer::Classifier& classifier() const { return *classifier_; }

 private:
  std::unique_ptr<infer::Classifier> load(const std::string& model, const Options& options) const {
    const models::LoadOptions loading = load_options(options);
    const infer::EmbedOptions batching = embed_options(options);
    return computed(device_, [&](const Stop&) { return std::make_unique<infer::Classifier>(load_model(model, loading), batching); });
  }

  mx::Device device_;
  std::unique_ptr<infer::Classifier> classifier_;
};

}  // namespace

void bind_classifier(nb::module_& m) {
  nb::class_<Classifier>(m, "Classifier")
      .def(nb::init<const std::string&, const nb::dict&>(), "model"_a, "options"_a)
      .def("classify", &Classifier::classify, "texts"_a, "pairs"_a, "progress"_a.none())
      .def_prop_ro("task", [](const Classifier& self) { return name_of(self.classifier().task()); })
      .def_prop_ro("labels", [](const Classifier& self) { return self.classifier().labels(); })
      .def_prop_ro("max_length", [](const Classifier& self) { return self.classifier().batcher().options().max_length; })
      .def_prop_ro("tokenizer", [](const Classifier& self) { return self.classifier().pretrained().tokenizer; });
}

}  // namespace m2bert::python
