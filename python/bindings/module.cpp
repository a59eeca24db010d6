// m2bert._core, the extension module: the groups of bindings, and the errors of C++ as Python's.
#include "python/bindings/bind.h"

#include "m2bert/error.h"
#include "m2bert/version.h"

NB_MODULE(_core, m) {
  namespace nb = nanobind;
  using namespace m2bert::python;
  nb::module_::import_("mlx.core");  // registers mx.array, which arguments and results share
  nb::exception<m2bert::Error>(m, "Error", PyExc_ValueError);
  m.attr("__version__") = M2BERT_VERSION;
  bind_runtime(m);
  bind_tokenizer(m);
  bind_classifier(m);
  bind_embedder(m);
  bind_fill_mask(m);
  bind_checkpoint(m);
  bind_metrics(m);
  bind_ops(m);
  bind_train(m);
}
